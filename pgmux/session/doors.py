"""What a client's log-in must know of the configuration: how to check whom, and which databases there are.

One `Doors` serves all log-ins of a worker; a reload makes a new one. It answers questions and does no I/O.

Nobody may find out by logging in which users exist. So a user without a usable secret gets a stand-in: a
secret of the kind that most users of the file have, which no password fits, the same at every attempt and in
every worker (derived with `mock_key`, which all workers must share and which should outlive a restart).
"""

import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from pgmux.errors import PgmuxError
from pgmux.protocol.scram import DEFAULT_ITERATIONS, ScramVerifier, derive_verifier
from pgmux.session.secret import Md5Hash, Password, Secret

AUTH_TYPES: Final = ("trust", "password", "md5", "scram-sha-256")
VIRTUAL_DATABASES: Final = frozenset({"pgmux", "pgbouncer"})  # the console's names, never PostgreSQL's
OWNERS: Final = (
    VIRTUAL_DATABASES  # names under which pgmux's own user is let in to the console without a proof
)


class Doors:
    """Answers to the questions of a log-in; what follows from them is `ClientLogin`'s business."""

    __slots__ = ("_has_database", "_iterations", "_kind", "_mock_key", "_secrets", "_verifiers", "auth_type")

    def __init__(
        self,
        auth_type: str,
        secrets: Mapping[str, Secret],
        has_database: Callable[[str], bool],
        mock_key: bytes,
    ) -> None:
        """`mock_key`: 16 or more random bytes, the same in all workers.

        Raises PgmuxError for an auth_type that is not among AUTH_TYPES.
        """
        if auth_type not in AUTH_TYPES:
            known = ", ".join(AUTH_TYPES)
            raise PgmuxError(f'auth_type "{auth_type}" is not supported yet, use one of {known}')
        self.auth_type = auth_type
        self._secrets = secrets
        self._has_database = has_database
        self._mock_key = mock_key
        self._verifiers: dict[str, ScramVerifier] = {}  # derived from plain passwords, by user
        kinds = Counter(type(secret) for secret in secrets.values())
        self._kind = kinds.most_common(1)[0][0] if kinds else ScramVerifier
        verifiers = [secret for secret in secrets.values() if isinstance(secret, ScramVerifier)]
        counts = Counter(verifier.iterations for verifier in verifiers)
        self._iterations = counts.most_common(1)[0][0] if counts else DEFAULT_ITERATIONS

    def has_database(self, name: str) -> bool:
        """Tell whether clients may connect to a database of this name."""
        return name in VIRTUAL_DATABASES or self._has_database(name)

    def find_secret(self, user: str) -> Secret | None:
        """Give the user's secret; None for an unknown user and for an empty password."""
        secret = self._secrets.get(user)
        return None if secret == Password(b"") else secret

    def stand_in(self, user: str) -> Secret:
        """Give the secret that an unknown user seems to have; no password fits it."""
        if self._kind is Md5Hash:
            return Md5Hash(self._mock(b"md5", user).hex()[:32].encode())
        if self._kind is Password:
            return Password(self._mock(b"password", user))
        return self.stand_in_verifier(user)

    def stand_in_verifier(self, user: str) -> ScramVerifier:
        """Give a verifier that no password fits."""
        stored_key, server_key = self._mock(b"stored key", user), self._mock(b"server key", user)
        return ScramVerifier(self._iterations, self._salt(user), stored_key, server_key)

    def find_verifier(self, user: str, secret: Secret | None) -> ScramVerifier | None:
        """Give what SCRAM checks this user against; None where the secret does not allow it.

        Slow (a millisecond) for a plain password at its first use.
        """
        if isinstance(secret, ScramVerifier):
            return secret
        if not isinstance(secret, Password):
            return None
        verifier = self._verifiers.get(user)
        if verifier is None:
            verifier = derive_verifier(secret.text, self._salt(user), self._iterations)
            self._verifiers[user] = verifier
        return verifier

    def _salt(self, user: str) -> bytes:
        return self._mock(b"salt", user)[:16]  # PostgreSQL's length

    def _mock(self, purpose: bytes, user: str) -> bytes:
        name = purpose + b"\0" + user.encode("utf-8", "surrogateescape")
        return hmac.digest(self._mock_key, name, "sha256")
