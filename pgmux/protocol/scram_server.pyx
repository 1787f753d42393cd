"""The side of SCRAM that checks; see scram.py for the other, and for what both are about.

Compiled, because a client that connects for each query proves itself each time: all that is left to compute
is two HMACs and a hash.
"""
from binascii import a2b_base64, b2a_base64
from hashlib import sha256
from hmac import compare_digest, digest as hmac_digest

from pgmux.protocol import scram
from pgmux.protocol.errors import ClientProtocolError
from pgmux.protocol.scram import ScramKeys, is_nonce

cdef str PLAIN = scram.MECHANISM
cdef str PLUS = scram.MECHANISM_PLUS
cdef tuple OFFER = (PLAIN,)
cdef tuple OFFER_WITH_PLUS = (PLUS, PLAIN)
cdef bytes CLIENT_BOUND = scram.BOUND


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
        return ScramKeys(iterations, salt, self.client_key, server_key)

    cpdef bytes challenge(self, bytes client_first, str mechanism=PLAIN):
        """Give server-first; `mechanism` is the client's choice. Raises ClientProtocolError."""
        cdef bytes flag, identity, bare, rest, client_nonce, server_first
        cdef bint is_bound = mechanism == PLUS
        if mechanism not in self.mechanisms:
            raise ClientProtocolError("the client selected an invalid SASL authentication mechanism")
        flag, _, rest = client_first.partition(b",")
        if is_bound != (flag == CLIENT_BOUND) or not is_bound and flag != b"n" and flag != b"y":
            raise ClientProtocolError("the SCRAM message and its mechanism differ about channel binding")
        if flag == b"y" and self.end_point:
            raise ClientProtocolError("somebody has hidden from the client that channel binding was on offer")
        identity, comma, bare = rest.partition(b",")
        if identity or not comma:
            raise ClientProtocolError("the SCRAM message asks to act for another user")
        attributes = bare.split(b",")
        if len(attributes) < 2 or attributes[0][:2] != b"n=" or attributes[1][:2] != b"r=":
            raise ClientProtocolError("malformed SCRAM message: user name and nonce are expected")
        client_nonce = attributes[1][2:]
        if not is_nonce(client_nonce):
            raise ClientProtocolError("malformed SCRAM message: invalid nonce")
        self.nonce = client_nonce + self.nonce
        self.channel_binding = base64(flag + b",," + (self.end_point if is_bound else b""))
        iterations, salt, _, _ = self.verifier
        server_first = b"r=%b,s=%b,i=%d" % (self.nonce, base64(salt), iterations)
        self.auth_message = bare + b"," + server_first
        return server_first

    cpdef bytes verify(self, bytes client_final):
        """Give server-final; None when the proof is wrong. Raises ClientProtocolError."""
        cdef bytes without_proof, proof, auth_message, claimed, client_key, stored_key, server_key
        without_proof, _, proof = client_final.rpartition(b",p=")
        attributes = without_proof.split(b",")
        if len(attributes) < 2 or attributes[0] != b"c=" + self.channel_binding:
            raise ClientProtocolError("malformed SCRAM response: the channel binding does not match")
        if attributes[1] != b"r=" + self.nonce:
            raise ClientProtocolError("invalid SCRAM response: the nonce does not match")
        try:
            claimed = a2b_base64(proof, strict_mode=True)
        except ValueError:
            raise ClientProtocolError("malformed SCRAM response: its proof is not base64") from None
        if len(claimed) != 32:
            raise ClientProtocolError("malformed SCRAM response: the proof must have 32 bytes")
        _, _, stored_key, server_key = self.verifier
        auth_message = self.auth_message + b"," + without_proof
        client_key = xor(claimed, hmac_digest(stored_key, auth_message, "sha256"))
        if not compare_digest(sha256(client_key).digest(), stored_key):
            return None
        self.client_key = client_key
        return b"v=" + base64(hmac_digest(server_key, auth_message, "sha256"))


cdef bytes base64(bytes data):
    return b2a_base64(data, newline=False)


cdef bytes xor(bytes left, bytes right):
    cdef char[32] both
    cdef int at
    for at in range(32):
        both[at] = left[at] ^ right[at]
    return both[:32]
