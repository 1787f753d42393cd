"""What is known of a user's password, in one of three forms, and the checks that each form allows.

| form            | checks cleartext | answers or checks md5 | serves SCRAM            |
|-----------------|------------------|-----------------------|-------------------------|
| `Password`      | yes              | yes                   | yes, a verifier is derived |
| `Md5Hash`       | yes              | yes                   | no                      |
| `ScramVerifier` | yes, slowly      | no                    | yes, to check a client  |

All comparisons take the same time whatever they compare. No form shows itself in a log or traceback.
"""

import hashlib
import hmac
from typing import NamedTuple

from pgmux.protocol.scram import MECHANISM, ScramKeys, ScramVerifier, derive_keys, parse_verifier


class Password(NamedTuple):
    """A password as it is; an empty one never lets anybody in."""

    text: bytes

    def __repr__(self) -> str:
        return "Password(...)"


class Md5Hash(NamedTuple):
    """PostgreSQL's older form: the MD5 of password and user name."""

    digest: bytes  # 32 lower-case hexadecimal digits

    def __repr__(self) -> str:
        return "Md5Hash(...)"


Secret = Password | Md5Hash | ScramVerifier
Credential = Secret | ScramKeys  # with which a log-in elsewhere may succeed


def parse_secret(text: str) -> Secret:
    """Give the secret that a text holds, told apart as PostgreSQL and PgBouncer do it: by how it begins.

    Raises ValueError for what begins like a SCRAM verifier and is none.
    """
    if text.startswith(f"{MECHANISM}$"):
        return parse_verifier(text)
    digest = text[3:].lower()
    if text.startswith("md5") and len(digest) == 32 and not digest.strip("0123456789abcdef"):
        return Md5Hash(digest.encode())
    return Password(text.encode("utf-8", "surrogateescape"))


def hash_md5(user: str, password: bytes) -> Md5Hash:
    """Give the hash that PostgreSQL keeps for a password with password_encryption = md5."""
    return Md5Hash(_md5(password + user.encode("utf-8", "surrogateescape")))


def answer_md5(user: str, secret: Password | Md5Hash, salt: bytes) -> bytes:
    """Give the right answer to AuthenticationMD5Password (manual: "Message Flow, Start-up")."""
    if isinstance(secret, Password):
        secret = hash_md5(user, secret.text)
    return b"md5" + _md5(secret.digest + salt)


def check_md5_answer(user: str, secret: Password | Md5Hash, salt: bytes, answer: bytes) -> bool:
    """Tell whether a client's answer to AuthenticationMD5Password is the right one."""
    return hmac.compare_digest(answer, answer_md5(user, secret, salt))


def check_password(user: str, secret: Secret, password: bytes) -> bool:
    """Tell whether a password is the right one. Slow for a SCRAM verifier: about a millisecond."""
    return prove_password(user, secret, password) is not None


def prove_password(user: str, secret: Secret, password: bytes) -> Credential | None:
    """Give what a right password yields for a log-in as this user elsewhere; None for a wrong one."""
    if isinstance(secret, Password):
        return secret if hmac.compare_digest(password, secret.text) else None
    if isinstance(secret, Md5Hash):
        return secret if hmac.compare_digest(hash_md5(user, password).digest, secret.digest) else None
    keys = derive_keys(password, secret.salt, secret.iterations)
    stored_key = hashlib.sha256(keys.client_key).digest()
    return keys if hmac.compare_digest(stored_key, secret.stored_key) else None


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
