"""What a client's log-in must know of the configuration: how to check whom, and which databases there are.

One `Doors` serves all log-ins of a worker; a reload makes a new one. It answers questions and does no I/O.

Nobody may find out by logging in which users exist. So a user without a usable secret gets a stand-in: a
secret of the kind that most users have, which no password fits, the same at every attempt and in every worker
(derived with `mock_key`, which all workers must share and which should outlive a restart). What costs time
for users that exist, to derive a verifier from a password, is done for those that do not, and kept as long.
"""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from pgmux.errors import PgmuxError
from pgmux.protocol.scram import DEFAULT_ITERATIONS, ScramVerifier, derive_verifier
from pgmux.session.arrival import Arrival
from pgmux.session.hba import Rules
from pgmux.session.method import Method, NameOfUid
from pgmux.session.secret import Md5Hash, Password, Secret

if TYPE_CHECKING:
    from pgmux.session.client_login import ClientLogin

AUTH_TYPES: Final = ("trust", "password", "md5", "scram-sha-256", "cert", "hba")
VIRTUAL_DATABASES: Final = frozenset({"pgmux", "pgbouncer"})  # the console's names, never PostgreSQL's
OWNERS: Final = (
    VIRTUAL_DATABASES  # names under which pgmux's own user is let in to the console without a proof
)
_MOST_DERIVED: Final = 10_000
_MOST_KNOWN: Final = 10_000


class Doors:
    """Answers to the questions of a log-in; what follows from them is `ClientLogin`'s business."""

    __slots__ = (
        "_counts",
        "_derived",
        "_has_database",
        "_kinds",
        "_mock_key",
        "_owner_uids",
        "_rules",
        "auth_type",
        "known_databases",
        "looks_up",
        "method",
        "name_of_uid",
        "secrets",
    )

    def __init__(
        self,
        auth_type: str,
        secrets: Mapping[str, Secret],
        has_database: Callable[[str], bool],
        mock_key: bytes,
        *,
        rules: Rules | None = None,
        name_of_uid: NameOfUid = lambda uid: None,
        looks_up: bool = False,
        owner_uids: Collection[int] = (),
    ) -> None:
        """`mock_key`: 16 or more random bytes, the same in all workers. `looks_up`: PostgreSQL is asked about
        users without a secret in `secrets`. `rules`: of auth_hba_file. `owner_uids`: pgmux's own accounts.

        Raises PgmuxError for an auth_type that is not among AUTH_TYPES, or hba without rules.
        """
        if auth_type not in AUTH_TYPES or (auth_type == "hba" and rules is None):
            raise PgmuxError(f'auth_type "{auth_type}" cannot be used, use one of {", ".join(AUTH_TYPES)}')
        self.auth_type = auth_type
        self.looks_up = looks_up
        self.name_of_uid = name_of_uid
        self.method = None if auth_type == "hba" else Method(auth_type)  # of everybody; None = choose_method
        self.secrets: Mapping[str, Secret | None] = {  # None = an empty password, by which nobody gets in
            user: None if secret == Password(b"") else secret for user, secret in secrets.items()
        }
        self.known_databases: set[str] = set()  # for which has_database was true
        self._rules = rules
        self._has_database = has_database
        self._mock_key = mock_key
        self._owner_uids = owner_uids
        self._derived: OrderedDict[tuple[str, bytes], ScramVerifier] = OrderedDict()  # by user and password
        self._kinds: Counter[type[Secret]] = Counter()
        self._counts: Counter[int] = Counter()  # of iterations
        for secret in secrets.values():
            self.learn(secret)

    @property
    def roles(self) -> frozenset[str]:
        """The roles on which it may depend which rule matches."""
        return self._rules.roles if self._rules is not None else frozenset()

    def choose_method(self, login: "ClientLogin") -> Method | None:
        """Give how this client is to prove who it is; None where no rule matches. Raises RolesWanted."""
        if self._rules is None:
            return self.method
        return self._rules.choose(login.arrival, login.database, login.user, login.roles)

    def has_database(self, name: str) -> bool:
        """Tell whether clients may connect to a database of this name."""
        if name not in VIRTUAL_DATABASES and not self._has_database(name):
            return False
        if len(self.known_databases) >= _MOST_KNOWN:
            self.known_databases.clear()  # strangers' names, where any will do
        self.known_databases.add(name)
        return True

    def is_owner(self, user: str, arrival: Arrival) -> bool:
        """Tell whether this is pgmux's own account, at the Unix socket, under one of the console's names."""
        return user in OWNERS and arrival.peer_uid in self._owner_uids

    def find_secret(self, user: str) -> Secret | None:
        """Give the user's secret; None for an unknown user and for an empty password."""
        return self.secrets.get(user)

    def learn(self, secret: Secret | None) -> None:
        """Take note of what secrets look like, so that stand-ins look alike."""
        if secret is not None:
            self._kinds[type(secret)] += 1
            if isinstance(secret, ScramVerifier):
                self._counts[secret.iterations] += 1

    @property
    def _kind(self) -> type[Secret]:
        return self._kinds.most_common(1)[0][0] if self._kinds else ScramVerifier

    @property
    def _iterations(self) -> int:
        return self._counts.most_common(1)[0][0] if self._counts else DEFAULT_ITERATIONS

    def stand_in(self, user: str) -> Secret:
        """Give the secret that an unknown user seems to have; no password fits it."""
        if self._kind is Md5Hash:
            return Md5Hash(self._mock(b"md5", user).hex()[:32].encode())
        if self._kind is Password:
            return Password(self._mock(b"password", user))
        return self.stand_in_verifier(user)

    def stand_in_verifier(self, user: str) -> ScramVerifier:
        """Give a verifier that no password fits."""
        if self._kind is Password:
            return self._derive(user, self._mock(b"password", user))
        stored_key, server_key = self._mock(b"stored key", user), self._mock(b"server key", user)
        return ScramVerifier(self._iterations, self._salt(user), stored_key, server_key)

    def find_verifier(self, user: str, secret: Secret | None) -> ScramVerifier | None:
        """Give what SCRAM checks this user against; None where the secret does not allow it.

        Slow (a millisecond) for a plain password at its first use.
        """
        if isinstance(secret, ScramVerifier):
            return secret
        return self._derive(user, secret.text) if isinstance(secret, Password) else None

    def _derive(self, user: str, password: bytes) -> ScramVerifier:
        """The verifier of a password: the same as last time, unless ten thousand others came in between."""
        verifier = self._derived.pop((user, password), None)
        if verifier is None:
            verifier = derive_verifier(password, self._salt(user), self._iterations)
            if len(self._derived) >= _MOST_DERIVED:
                self._derived.popitem(last=False)
        self._derived[user, password] = verifier
        return verifier

    def _salt(self, user: str) -> bytes:
        return self._mock(b"salt", user)[:16]  # PostgreSQL's length

    def _mock(self, purpose: bytes, user: str) -> bytes:
        name = purpose + b"\0" + user.encode("utf-8", "surrogateescape")
        return hmac.digest(self._mock_key, name, "sha256")
