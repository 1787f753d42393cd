"""The side of SCRAM that checks; see scram.py for the other, and for what both are about.

Compiled, because a client that connects for each query proves itself each time: all that is left to compute
is two HMACs and a hash.
"""
import os
from binascii import a2b_base64, b2a_base64
from hmac import compare_digest

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcpy

from pgmux.protocol.sha256 cimport DIGEST_BYTES, digest, hmac

from pgmux.protocol import scram
from pgmux.protocol.errors import ClientProtocolError
from pgmux.protocol.scram import ScramKeys

cdef str PLAIN = scram.MECHANISM
cdef str PLUS = scram.MECHANISM_PLUS
cdef tuple OFFER = (PLAIN,)
cdef tuple OFFER_WITH_PLUS = (PLUS, PLAIN)
cdef bytes CLIENT_BOUND = scram.BOUND
cdef bytes UNBOUND = b"biws", UNOFFERED = b"eSws"    # base64 of "n,," and of "y,,"
cdef object make_tuple = tuple.__new__               # a NamedTuple's own __new__ is Python
cdef enum:
    NONCE_BYTES = 18
    NONCES_AHEAD = 64
cdef bytes stock = b""           # of randomness for nonces
cdef Py_ssize_t drawn = 0        # bytes of it that were used


cdef class ScramServer:
    """The side that checks: `challenge` answers client-first, `verify` answers client-final.

    An object serves one exchange. A wrong proof is not an error but the answer None.
    """

    def __init__(self, verifier, bytes nonce, bytes end_point=b""):
        """`nonce`: fresh for every exchange, printable and without commas; `make_nonce` gives one.

        `end_point`: of our TLS connection with the client; where there is one, both mechanisms are on offer.
        """
        self.verifier = verifier
        self.nonce = nonce
        self.end_point = end_point
        self.auth_message = self.channel_binding = self.client_key = b""

    @property
    def mechanisms(self):
        """What is on offer, the preferred one first."""
        return OFFER_WITH_PLUS if self.end_point else OFFER

    @property
    def keys(self):
        """What the client has proved; None before its proof was right."""
        if not self.client_key:
            return None
        iterations, salt, _, server_key = self.verifier
        return make_tuple(ScramKeys, (iterations, salt, self.client_key, server_key))

    cpdef bytes challenge(self, bytes client_first, str mechanism=PLAIN):
        """Give server-first; `mechanism` is the client's choice. Raises ClientProtocolError."""
        cdef const char *text = PyBytes_AS_STRING(client_first)
        cdef Py_ssize_t end = len(client_first), identity, bare, nonce, nonce_end, at
        cdef bint is_bound = mechanism == PLUS
        cdef bytes flag, salt, server_first
        if not is_bound and mechanism != PLAIN or is_bound and not self.end_point:
            raise ClientProtocolError("the client selected an invalid SASL authentication mechanism")
        identity = comma(text, 0, end)
        flag = client_first[:identity]
        if is_bound != (flag == CLIENT_BOUND) or not is_bound and flag != b"n" and flag != b"y":
            raise ClientProtocolError("the SCRAM message and its mechanism differ about channel binding")
        if self.end_point and flag == b"y":
            raise ClientProtocolError("somebody has hidden from the client that channel binding was on offer")
        bare = identity + 2
        if bare > end or text[identity + 1] != c",":
            raise ClientProtocolError("the SCRAM message asks to act for another user")
        nonce = comma(text, bare, end) + 3
        if nonce > end or not begins(text + bare, b"n=") or not begins(text + nonce - 2, b"r="):
            raise ClientProtocolError("malformed SCRAM message: user name and nonce are expected")
        nonce_end = comma(text, nonce, end)
        for at in range(nonce, nonce_end):
            if not 0x21 <= text[at] <= 0x7E:
                raise ClientProtocolError("malformed SCRAM message: invalid nonce")
        if nonce == nonce_end:
            raise ClientProtocolError("malformed SCRAM message: invalid nonce")
        self.nonce = client_first[nonce:nonce_end] + self.nonce
        if is_bound:
            self.channel_binding = base64(flag + b",," + self.end_point)
        else:
            self.channel_binding = UNBOUND if flag == b"n" else UNOFFERED
        iterations, salt, _, _ = self.verifier
        server_first = b"r=%b,s=%b,i=%d" % (self.nonce, base64(salt), iterations)
        self.auth_message = b"%b,%b" % (client_first[bare:], server_first)
        return server_first

    cpdef bytes verify(self, bytes client_final):
        """Give server-final; None when the proof is wrong. Raises ClientProtocolError."""
        cdef const char *text = PyBytes_AS_STRING(client_final)
        cdef Py_ssize_t end = len(client_final) - 3, bound_end, nonce, nonce_end
        cdef uint8_t[DIGEST_BYTES] key
        cdef uint8_t[DIGEST_BYTES] signature
        cdef bytes without_proof, auth_message, stored_key, server_key
        cdef int at
        while end > 0 and not (begins(text + end, b",p") and text[end + 2] == c"="):
            end -= 1
        end = max(end, 0)
        bound_end = comma(text, 0, end)
        nonce = bound_end + 3
        nonce_end = comma(text, nonce, end)
        if bound_end == end or not begins(text, b"c=") or client_final[2:bound_end] != self.channel_binding:
            raise ClientProtocolError("malformed SCRAM response: the channel binding does not match")
        if nonce > end or not begins(text + nonce - 2, b"r=") or client_final[nonce:nonce_end] != self.nonce:
            raise ClientProtocolError("invalid SCRAM response: the nonce does not match")
        read_proof(client_final[end + 3:], key)
        _, _, stored_key, server_key = self.verifier
        without_proof = client_final[:end]
        auth_message = b"%b,%b" % (self.auth_message, without_proof)
        hmac(bytes_of(stored_key), bytes_of(auth_message), len(auth_message), signature)
        for at in range(DIGEST_BYTES):
            key[at] ^= signature[at]
        digest(key, DIGEST_BYTES, signature)
        if not compare_digest(signature[:DIGEST_BYTES], stored_key):
            return None
        self.client_key = key[:DIGEST_BYTES]
        hmac(bytes_of(server_key), bytes_of(auth_message), len(auth_message), signature)
        return b"v=" + base64(signature[:DIGEST_BYTES])


cdef bytes draw_nonce():
    """A nonce of NONCE_BYTES random ones, from a stock that is drawn many at a time."""
    global stock, drawn
    if drawn == len(stock):
        stock = os.urandom(NONCE_BYTES * NONCES_AHEAD)
        drawn = 0
    drawn += NONCE_BYTES
    return base64(stock[drawn - NONCE_BYTES:drawn])


def forget_stock():
    """In a new process: what its parent had drawn ahead is the parent's."""
    global stock, drawn
    stock, drawn = b"", 0


os.register_at_fork(after_in_child=forget_stock)


cdef inline Py_ssize_t comma(const char *text, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """Where the next comma is; `end` where there is none."""
    cdef const char *found = NULL
    if begin < end:
        found = <const char *>memchr(text + begin, c",", end - begin)
    return end if found == NULL else found - text


cdef inline bint begins(const char *text, const char *two) noexcept:
    """A bytes object ends with a zero byte, so two can be looked at wherever one is."""
    return text[0] == two[0] and text[1] == two[1]


cdef inline const uint8_t *bytes_of(bytes data) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(data)


cdef bytes base64(bytes data):
    return b2a_base64(data, newline=False)


cdef int read_proof(bytes proof, uint8_t *into) except -1:
    cdef bytes claimed
    try:
        claimed = a2b_base64(proof, strict_mode=True)
    except ValueError:
        raise ClientProtocolError("malformed SCRAM response: its proof is not base64") from None
    if len(claimed) != DIGEST_BYTES:
        raise ClientProtocolError("malformed SCRAM response: the proof must have 32 bytes")
    memcpy(into, PyBytes_AS_STRING(claimed), DIGEST_BYTES)
    return 0
