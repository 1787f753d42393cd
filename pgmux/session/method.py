"""How a client proves who it is: what auth_type or a rule of auth_hba_file demands.

| name            | the proof |
|-----------------|-----------|
| `trust`         | none |
| `reject`        | none suffices |
| `password`      | the password itself |
| `md5`           | the answer to a salt; SCRAM, for a user of whom a SCRAM verifier is known |
| `scram-sha-256` | SCRAM, bound to the TLS connection where the client can |
| `cert`          | a certificate whose name is the user's, or maps to it |
| `peer`          | a process on this machine, the name of whose account is the user's, or maps to it |

Here is only what can be judged at once, from the connection; the exchanges are client_login's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pgmux.session.arrival import Arrival
from pgmux.session.ident_map import IdentMap

METHODS: Final = ("trust", "reject", "password", "md5", "scram-sha-256", "cert", "peer")

NameOfUid = Callable[[int], str | None]  # the account's name on this machine; None = it has none


@dataclass(frozen=True, slots=True)
class Method:
    """What a client must show. Beside its own proof, a certificate may be demanded for any of them."""

    name: str  # one of METHODS
    names: IdentMap | None = None  # who may be whom; None = everybody is called like his user
    certificate: str = ""  # "verify-ca" = any of ours, "verify-full" = one with the user's name; "" = none
    is_by_subject: bool = False  # the certificate's name is its whole subject, not its CN
    line: int = 0  # of the rule in auth_hba_file; 0 = it comes from auth_type
    looks_at_connection: bool = field(init=False)  # the connection itself may be an objection
    is_settled_by_connection: bool = field(init=False)  # without an objection, nothing more is asked

    def __post_init__(self) -> None:
        looks = self.certificate != "" or self.name in ("cert", "peer", "reject")
        object.__setattr__(self, "looks_at_connection", looks)
        object.__setattr__(self, "is_settled_by_connection", self.name in ("trust", "cert", "peer"))

    def objection(self, arrival: Arrival, user: str, name_of_uid: NameOfUid) -> str:
        """Give why this connection cannot be `user`'s, whatever else it shows; "" where it can."""
        if self.name == "reject":
            return "the rule rejects"
        if self.name == "peer":
            return self._judge_peer(arrival, user, name_of_uid)
        demanded = "verify-full" if self.name == "cert" else self.certificate
        return self._judge_certificate(arrival, user, demanded) if demanded else ""

    def _judge_peer(self, arrival: Arrival, user: str, name_of_uid: NameOfUid) -> str:
        name = name_of_uid(arrival.peer_uid) if arrival.peer_uid >= 0 else None
        if name is None:
            return f"the account of the client's process (uid {arrival.peer_uid}) has no name"
        return self._judge_name(name, user, "the client's process belongs to")

    def _judge_certificate(self, arrival: Arrival, user: str, demanded: str) -> str:
        shown = arrival.encryption
        if shown is None or not shown.has_certificate:
            return "the client shows no certificate of ours"
        if demanded == "verify-ca":
            return ""
        name = shown.distinguished_name if self.is_by_subject else shown.common_name
        return self._judge_name(name, user, "the client's certificate is for")

    def _judge_name(self, name: str, user: str, who: str) -> str:
        if not name:
            return f"{who} nobody by name"
        if self.names is None:
            return "" if name == user else f'{who} "{name}"'
        return "" if self.names.allows(name, user) else f'{who} "{name}", which map "{self.names.name}" bars'
