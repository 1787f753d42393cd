"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides, as PostgreSQL speaks them (RFC 5802, RFC 7677, RFC 5929).

Four messages: client-first, server-first, client-final, server-final. `ScramServer` (in scram_server.pyx)
checks a client against a verifier, `ScramClient` proves a password to a server and has it prove itself. Bytes
in, bytes out; each object serves one exchange. Hostile input raises the error of its sender
(ClientProtocolError, BackendProtocolError) and nothing else; a wrong proof is no error but the answer None.

PLUS binds the exchange to its TLS connection by the hash of the server's certificate (`end_point`), so that
nobody in between can pass it on. A client's good proof also yields the keys with which we can log in as it
where the same verifier is kept (`ScramServer.keys`): nobody's password needs to be stored for that.

Why not a library: those for Python refuse libpq's first message, whose user name is empty (PostgreSQL takes
the name from the start-up packet), and iteration counts below 4096, which PostgreSQL allows.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.saslprep import prepare_password

MECHANISM: Final = "SCRAM-SHA-256"
MECHANISM_PLUS: Final = "SCRAM-SHA-256-PLUS"  # with channel binding
DEFAULT_ITERATIONS: Final = 4096  # PostgreSQL's own
MAX_ITERATIONS: Final = 1_000_000  # so that nobody's number makes us compute for long
MAX_MESSAGE_BYTES: Final = 1024  # PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH
NONCE_BYTES: Final = 18  # of randomness, before base64

BOUND: Final = b"p=tls-server-end-point"  # how a message begins that binds itself to the TLS connection
_NONCE_CHARACTERS: Final = bytes(code for code in range(0x21, 0x7F) if code != ord(","))


class ScramVerifier(NamedTuple):
    """What a server keeps to check a password: not the password, and not enough to log in with elsewhere."""

    iterations: int
    salt: bytes
    stored_key: bytes  # 32 bytes
    server_key: bytes  # 32 bytes

    def __repr__(self) -> str:  # a secret, which must not get into a log by accident
        return "ScramVerifier(...)"


class ScramKeys(NamedTuple):
    """What proves a password by SCRAM to those who keep the verifier with this salt and count."""

    iterations: int
    salt: bytes
    client_key: bytes  # 32 bytes
    server_key: bytes  # 32 bytes

    def __repr__(self) -> str:  # as good as the password, to one server
        return "ScramKeys(...)"


class ScramKeysError(Exception):
    """The server's salt or iteration count is not that for which the keys were made."""


def format_verifier(verifier: ScramVerifier) -> str:
    """Give the form that PostgreSQL keeps in pg_authid.rolpassword."""
    salt, stored_key, server_key = (b64encode(part).decode() for part in verifier[1:])
    return f"{MECHANISM}${verifier.iterations}:{salt}${stored_key}:{server_key}"


def parse_verifier(text: str) -> ScramVerifier:
    """Give the verifier in `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.

    Raises ValueError, with a text that says which part is wrong and shows none of it.
    """
    mechanism, *parts = text.split("$")
    if mechanism != MECHANISM or len(parts) != 2:
        raise ValueError(f"it is not of the form {MECHANISM}$<iterations>:<salt>$<StoredKey>:<ServerKey>")
    iterations, _, salt = parts[0].partition(":")
    stored_key, _, server_key = parts[1].partition(":")
    verifier = ScramVerifier(
        _parse_iterations(iterations.encode("ascii", "replace")),
        _decode_base64(salt.encode("ascii", "replace"), "salt"),
        _decode_base64(stored_key.encode("ascii", "replace"), "StoredKey"),
        _decode_base64(server_key.encode("ascii", "replace"), "ServerKey"),
    )
    if len(verifier.stored_key) != 32 or len(verifier.server_key) != 32:
        raise ValueError("its StoredKey and ServerKey must have 32 bytes each")
    return verifier


def derive_verifier(password: bytes, salt: bytes, iterations: int) -> ScramVerifier:
    """Give the verifier of a password. Slow by design: about a millisecond for 4096 iterations."""
    keys = derive_keys(password, salt, iterations)
    return ScramVerifier(iterations, salt, hashlib.sha256(keys.client_key).digest(), keys.server_key)


class ScramClient:
    """The side that proves: `begin` gives client-first, `respond` client-final, `check` judges the server."""

    __slots__ = ("_end_point", "_nonce", "_secret", "_server_signature", "mechanism")

    def __init__(
        self,
        secret: bytes | ScramKeys,
        nonce: bytes,
        offered: Collection[str] = (MECHANISM,),
        end_point: bytes = b"",
    ) -> None:
        """`secret`: the password, or keys. `nonce`: fresh for every exchange; `make_nonce` gives one.

        `offered`: the server's mechanisms. `end_point`: of the TLS connection with it, b"" without TLS.
        """
        self._secret = secret
        self._nonce = nonce
        self._end_point = end_point
        self._server_signature = b""
        self.mechanism = MECHANISM_PLUS if end_point and MECHANISM_PLUS in offered else MECHANISM

    @property
    def _header(self) -> bytes:
        if self.mechanism == MECHANISM_PLUS:
            return BOUND + b",,"
        return b"y,," if self._end_point else b"n,,"  # y: we could bind, and the server says that it cannot

    def begin(self) -> bytes:
        """Give client-first; the user name in it is empty, as PostgreSQL knows it already."""
        return self._header + b"n=,r=" + self._nonce

    def respond(self, server_first: bytes) -> bytes:
        """Give client-final. Slow by design, with a password.

        Raises BackendProtocolError, also above MAX_ITERATIONS; ScramKeysError.
        """
        nonce, salt, iterations = self._parse_server_first(server_first)
        if not isinstance(self._secret, ScramKeys):
            keys = _remember_keys(self._secret, salt, iterations)
        elif (iterations, salt) == self._secret[:2]:
            keys = self._secret
        else:
            raise ScramKeysError
        bound_to = self._end_point if self.mechanism == MECHANISM_PLUS else b""
        without_proof = b"c=" + b64encode(self._header + bound_to) + b",r=" + nonce
        auth_message = b",".join((b"n=,r=" + self._nonce, server_first, without_proof))
        self._server_signature = _hmac(keys.server_key, auth_message)
        stored_key = hashlib.sha256(keys.client_key).digest()
        proof = _xor(keys.client_key, _hmac(stored_key, auth_message))
        return without_proof + b",p=" + b64encode(proof)

    def _parse_server_first(self, server_first: bytes) -> tuple[bytes, bytes, int]:
        attributes = server_first.split(b",")
        if [attribute[:2] for attribute in attributes[:3]] != [b"r=", b"s=", b"i="]:
            raise BackendProtocolError("malformed SCRAM challenge: nonce, salt and iterations are expected")
        nonce = attributes[0][2:]
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce) or not is_nonce(nonce):
            raise BackendProtocolError("invalid SCRAM challenge: the nonce does not continue ours")
        try:
            return nonce, _decode_base64(attributes[1][2:], "salt"), _parse_iterations(attributes[2][2:])
        except ValueError as error:
            raise BackendProtocolError(f"malformed SCRAM challenge: {error}") from None

    def check(self, server_final: bytes) -> None:
        """Raise BackendProtocolError unless the server has proved that it knows the password, too."""
        expected = b"v=" + b64encode(self._server_signature)
        if not self._server_signature or not hmac.compare_digest(server_final.split(b",")[0], expected):
            raise BackendProtocolError("the server could not prove in SCRAM that it knows the password")


def make_nonce(randomness: bytes) -> bytes:
    """Give a nonce from NONCE_BYTES random bytes."""
    return b64encode(randomness)


def is_nonce(text: bytes) -> bool:
    """Tell whether a text may be a nonce: printable, without commas, not empty."""
    return bool(text) and not text.strip(_NONCE_CHARACTERS)


def _parse_iterations(text: bytes) -> int:
    if not text.isdigit() or len(text) > 7 or not 1 <= int(text) <= MAX_ITERATIONS:
        raise ValueError(f"the iteration count must be a number from 1 to {MAX_ITERATIONS:,}")
    return int(text)


def _decode_base64(text: bytes, name: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data:
        raise ValueError(f"its {name} is not base64")
    return data


def derive_keys(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """Give the keys of a password. Slow by design: about a millisecond for 4096 iterations."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare_password(password), salt, iterations)
    return ScramKeys(iterations, salt, _hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


# A role has one salt, so all backends of a pool log in with the same keys, which a client may keep (RFC 5802
# section 5.1).
_remember_keys = lru_cache(maxsize=128)(derive_keys)


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(32, "big")
