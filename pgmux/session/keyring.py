"""With what pgmux logs in to PostgreSQL as a user: a secret of auth_file, or what the user itself proved.

A client that logs in by SCRAM hands us, by its proof, the keys with which SCRAM can be done once more where
the same verifier is kept: at PostgreSQL, from which auth_query has it, or where auth_file holds a copy. So no
password needs to stand anywhere. Such keys are kept in this process's memory alone, as long as it lives.

RFC 5802 section 3 (ClientKey, ServerKey).
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from pgmux.protocol.scram import ScramVerifier
from pgmux.session.secret import Credential, Md5Hash, Password, Secret

_MOST_KEPT: Final = 10_000  # users; the one that logged in least recently goes first


class Keyring:
    """One worker's credentials, by user."""

    __slots__ = ("_proved", "_secrets")

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        """`secrets`: of auth_file."""
        self._secrets = secrets
        self._proved: OrderedDict[str, Credential] = OrderedDict()

    def reconfigure(self, secrets: Mapping[str, Secret]) -> None:
        """After a reload. What users proved is kept: PostgreSQL decides what it is worth."""
        self._secrets = secrets

    @property
    def users(self) -> Collection[str]:
        """Whose names it knows: those in auth_file, and those who have proved something."""
        return self._secrets.keys() | self._proved.keys()

    def keep(self, user: str, credential: Credential | None) -> None:
        """Keep what a user's log-in here has yielded, in place of what an earlier one did."""
        if credential is not None:
            self._proved[user] = credential
            self._proved.move_to_end(user)
            if len(self._proved) > _MOST_KEPT:
                self._proved.popitem(last=False)

    def may_open_for(self, user: str) -> bool:
        """Tell whether there is something that PostgreSQL may ask for."""
        return not isinstance(self.find(user), ScramVerifier | None)

    def find(self, user: str) -> Credential | None:
        """Give the best there is: a password, then what was proved, then whatever auth_file has."""
        secret = self._secrets.get(user)
        if isinstance(secret, Password):
            return secret
        proved = self._proved.get(user)
        if isinstance(secret, Md5Hash) and not isinstance(proved, Password):
            return secret  # SCRAM cannot have been proved against it
        if proved is None or isinstance(proved, ScramVerifier):
            return secret
        return proved
