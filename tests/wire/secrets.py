"""The client's side of PostgreSQL's password methods: MD5 and SCRAM-SHA-256.

Source: PostgreSQL manual, "AuthenticationMD5Password", "SASL Authentication"; RFC 5802; RFC 7677.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os


def md5_answer(user: str, password: str, salt: bytes) -> str:
    inner = hashlib.md5(password.encode() + user.encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


class ScramClient:
    """One SCRAM-SHA-256 exchange without channel binding; the password is taken as it is, for ASCII."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._nonce = base64.b64encode(os.urandom(18)).decode()
        self._server_signature = b""

    def first(self) -> bytes:
        return f"n,,{self._first_bare()}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The answer to the server's first message. Raises ValueError if its nonce is not ours."""
        told = _attributes(server_first)
        if not told["r"].startswith(self._nonce) or told["r"] == self._nonce:
            raise ValueError(f"the server's nonce {told['r']} does not continue ours")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(told["s"]), int(told["i"]))
        client_key = _hmac(salted, b"Client Key")
        without_proof = f"c=biws,r={told['r']}"
        signed = f"{self._first_bare()},{server_first.decode()},{without_proof}".encode()
        self._server_signature = _hmac(_hmac(salted, b"Server Key"), signed)
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(key ^ sign for key, sign in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final: bytes) -> None:
        """Raises ValueError if the server did not prove that it knows the password."""
        told = _attributes(server_final)
        if base64.b64decode(told.get("v", "")) != self._server_signature:
            raise ValueError(f"the server's signature is wrong: {server_final!r}")

    def _first_bare(self) -> str:
        return f"n=,r={self._nonce}"  # PostgreSQL takes the user from the StartupMessage


def _attributes(message: bytes) -> dict[str, str]:
    return {part[0]: part[2:] for part in message.decode().split(",")}


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
