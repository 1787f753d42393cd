"""The proof of a secret that a client is asked for: a password, the answer to an md5 salt, or SCRAM.

A wrong password, an unknown user and a secret that does not suit the method go the same way to the end: who
cannot succeed is compared with a stand-in, and the `doubt` is for the log alone. What an answer says wrong
raises ClientProtocolError.

Sources: PostgreSQL's manual, chapter "Message Flow", "Start-up" and "SASL Authentication"; RFC 5802.
"""
import os

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from pgmux.protocol.scram_server cimport ScramServer, draw_nonce

from pgmux.protocol import messages, names, scram
from pgmux.protocol.errors import ClientProtocolError
from pgmux.protocol.scram import ScramVerifier
from pgmux.session.secret import check_md5_answer, prove_password

MAX_PASSWORD_BYTES = 65_535  # tokens instead of passwords may be long; PostgreSQL's limit is the same
MAX_MD5_BYTES = 64           # "md5", 32 digits and a terminator are 36
MAX_SASL_BYTES = scram.MAX_MESSAGE_BYTES + 64  # and the name of the mechanism
cdef Py_ssize_t LONGEST_PASSWORD = MAX_PASSWORD_BYTES, LONGEST_MD5 = MAX_MD5_BYTES, LONGEST_SASL = MAX_SASL_BYTES

_UNKNOWN = "no such user, or one without a secret"
_UNSUITABLE = "the secret of this user is an md5 hash, which SCRAM cannot use"

cdef bytes OFFER_SASL = messages.build_authentication_sasl([scram.MECHANISM])
cdef bytes OFFER_BOUND_SASL = messages.build_authentication_sasl([scram.MECHANISM_PLUS, scram.MECHANISM])
cdef bytes UNBOUND_CHOICE = scram.MECHANISM.encode() + b"\0"
cdef enum:
    SASL_CONTINUE = 11
    SASL_FINAL = 12


cdef class Proof:
    """One client's proof: what asks for it, and what its answers are worth."""

    def __cinit__(self, object doors, str user, object secret):
        self.doors = doors
        self.user = user
        self.secret = secret
        self.doubt = ""
        self.md5_salt = b""

    cdef bytes demand(self, str method, bytes end_point):
        """What asks for it: `is_sasl` tells how. `end_point`: of the TLS connection, b"" without."""
        if method == "scram-sha-256":
            return self.offer_sasl(end_point)
        if self.secret is None:
            self.secret = self.doors.stand_in(self.user)
            self.doubt = _UNKNOWN
        if method == "password":
            return messages.build_authentication_cleartext_password()
        if isinstance(self.secret, ScramVerifier):       # as PostgreSQL and PgBouncer do
            return self.offer_sasl(end_point)
        self.md5_salt = os.urandom(4)
        return messages.build_authentication_md5_password(self.md5_salt)

    cdef bytes offer_sasl(self, bytes end_point):
        verifier = self.secret
        if type(verifier) is not ScramVerifier:
            verifier = self.doors.find_verifier(self.user, self.secret)
        if verifier is None:
            verifier = self.doors.stand_in_verifier(self.user)
            self.doubt = _UNKNOWN if self.secret is None else _UNSUITABLE
        self.scram = ScramServer(verifier, draw_nonce(), end_point)
        return OFFER_BOUND_SASL if end_point else OFFER_SASL

    cdef bint is_sasl(self) noexcept:
        """Whether SCRAM is spoken."""
        return self.scram is not None

    cdef Py_ssize_t longest_answer(self) noexcept:
        """How long the message may be that answers, bytes."""
        if self.scram is not None:
            return LONGEST_SASL
        return LONGEST_MD5 if self.md5_salt else LONGEST_PASSWORD

    cdef bint check_password(self, bytes body) except -1:
        """Whether a password, or the answer to the salt, is right; a doubt is not looked at."""
        answer = messages.parse_password_message(body)
        if self.md5_salt:
            self.credential = self.secret
            return check_md5_answer(self.user, self.secret, self.md5_salt, answer)
        self.credential = prove_password(self.user, self.secret, answer)
        return self.credential is not None

    cdef bytes challenge(self, bytes body):
        """What answers SCRAM's first message."""
        cdef str mechanism = scram.MECHANISM
        cdef bytes client_first = unbound_client_first(body)
        if client_first is None:
            mechanism, client_first = messages.parse_sasl_initial_response(body)
        return authentication(SASL_CONTINUE, self.scram.challenge(client_first, mechanism))

    cdef bytes verify(self, bytes body):
        """What answers SCRAM's proof; None where it is wrong. Empty where it is right and there is a doubt."""
        server_final = self.scram.verify(body)
        if server_final is None:
            return None
        self.credential = self.scram.keys
        return b"" if self.doubt else authentication(SASL_FINAL, server_final)


cdef bytes take_answer(bytearray received, Py_ssize_t max_bytes):
    """Give the body of the client's PasswordMessage, and take it out; None while it is incomplete."""
    if received and received[0] != c"p":
        if received[0] == 0:
            raise ClientProtocolError("a second start-up packet")
        kind = bytes(received[:1])
        raise ClientProtocolError(f"expected a password message, got {names.FRONTEND.get(kind, repr(kind))}")
    cdef uint8_t *header = <uint8_t *>PyByteArray_AS_STRING(received)
    cdef Py_ssize_t length
    cdef bytes body
    if len(received) < 5:
        return None
    length = <int32_t>(<uint32_t>header[1] << 24 | header[2] << 16 | header[3] << 8 | header[4])
    if not 4 <= length <= max_bytes:
        raise ClientProtocolError(f"invalid message length {length}, at most {max_bytes} bytes are expected here")
    if len(received) <= length:
        return None
    body = PyBytes_FromStringAndSize(<char *>header + 5, length - 4)
    if len(received) == length + 1:
        PyByteArray_Resize(received, 0)
    else:
        del received[:length + 1]
    return body


cdef bytes authentication(uint8_t code, bytes data):
    """AuthenticationSASLContinue or AuthenticationSASLFinal."""
    cdef uint32_t length = <uint32_t>len(data) + 8
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, length + 1)
    cdef char *at = PyBytes_AS_STRING(whole)
    memcpy(at, b"R\0\0\0\0\0\0\0", 8)
    at[3] = length >> 8                      # a mechanism's messages are at most some hundred bytes
    at[4] = length & 0xFF
    at[8] = code
    memcpy(at + 9, PyBytes_AS_STRING(data), len(data))
    return whole


cdef bytes unbound_client_first(bytes body):
    """What messages.parse_sasl_initial_response gives for the mechanism of nearly all; None for any other."""
    cdef Py_ssize_t begin = len(UNBOUND_CHOICE) + 4
    cdef const uint8_t *size = <const uint8_t *>PyBytes_AS_STRING(body) + begin - 4
    if len(body) < begin or memcmp(PyBytes_AS_STRING(body), PyBytes_AS_STRING(UNBOUND_CHOICE), begin - 4) != 0:
        return None
    if size[0] or size[1] or (size[2] << 8 | size[3]) != len(body) - begin:
        return None
    return body[begin:]
