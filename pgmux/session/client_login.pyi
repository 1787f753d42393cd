"""A client's log-in, from its first byte until it is admitted, refused, or known to want a cancel."""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Final, Protocol

from pgmux.config.notations import TlsMode
from pgmux.protocol.startup import CancelRequest
from pgmux.session.arrival import Arrival
from pgmux.session.doors import Doors
from pgmux.session.introduction import Introduction
from pgmux.session.refusals import Refusal
from pgmux.session.secret import Credential, Secret
from pgmux.session.welcome import Welcome

ALPN_PROTOCOL: Final[str]

class Step(IntEnum):
    STARTUP = 0
    PASSWORD = 1
    SASL_INITIAL = 2
    SASL_FINAL = 3
    LOOKUP = 4
    AUTHENTICATED = 5
    ADMITTED = 6
    CANCEL = 7
    REFUSED = 8
    ENCRYPTING = 9

class Event(IntEnum):
    ENCRYPTION_DECLINED = 0
    CANCEL_ASKED = 1
    TRUSTED = 2
    PASSWORD_ASKED = 3
    SASL_ASKED = 4
    SASL_CHALLENGED = 5
    LOOKUP_ASKED = 6
    PROVED = 7
    GREETED = 8
    DENIED = 9
    ENCRYPTION_BEGUN = 10
    SECURED = 11

TRANSITIONS: Final[Mapping[tuple[Step, Event], Step]]

class StepError(Exception):
    """The caller asked for what TRANSITIONS does not have: a defect of pgmux, never of a client."""

class _Visitor(Protocol):
    def arrival(self) -> Arrival: ...

class ClientLogin:
    """One client's log-in. Feed it, send what it gives, look at `step`."""

    step: Step
    def __init__(self, doors: Doors, visitor: _Visitor | None = None, tls_mode: TlsMode = "disable") -> None:
        """`visitor` is asked for the client's Arrival when that is needed, once, after the handshake if there
        is one; None = nothing is known of it. `tls_mode`: client_tls_sslmode, as far as it holds here.
        """

    @property
    def introduction(self) -> Introduction | None: ...
    @property
    def cancel_request(self) -> CancelRequest | None: ...
    @property
    def refusal(self) -> Refusal | None: ...
    @property
    def reason(self) -> str:
        """Of a refusal, for the log; never sent to the client."""

    @property
    def settings(self) -> dict[str, str]:
        """What it wants set, `options` included; names in lower case. Not to be changed."""

    @property
    def credential(self) -> Credential | None:
        """By which PostgreSQL would let us in as this user; None where the proof yielded none."""

    @property
    def was_looked_up(self) -> bool: ...
    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken, and its handshake is done."""

    @property
    def is_direct(self) -> bool:
        """Whether TLS began without an SSLRequest."""

    @property
    def roles(self) -> Collection[str] | None: ...
    @property
    def _buffer(self) -> bytearray: ...
    @property
    def user(self) -> str:
        """Whom the client says it is; empty before it has said so."""

    @property
    def database(self) -> str:
        """Which database it wants."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """All that the client sent, as it sent it."""

    @property
    def options(self) -> str:
        """The start-up parameter `options` as it was sent; its settings are in `settings`."""

    @property
    def is_replication(self) -> bool:
        """Whether it wants a backend of its own, which speaks the replication protocol too."""

    @property
    def protocol_version(self) -> tuple[int, int]:
        """The one that is spoken, not the one asked for."""

    @property
    def arrival(self) -> Arrival:
        """How the client came in."""

    @property
    def wanted_roles(self) -> frozenset[str]:
        """At LOOKUP: the roles of which it is to be found out whether the user is a member."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the client. Never raises for what they hold; once AUTHENTICATED, keeps them."""

    def answer_lookup(self, secret: Secret | None, roles: Collection[str]) -> None:
        """Go on from LOOKUP: the user's secret, None where it has none or may not log in; and its roles."""

    def take_ciphertext(self) -> bytes:
        """At ENCRYPTING: what the client has already sent of the handshake, once."""

    def secure(self, protocol: str) -> None:
        """The handshake is done. `protocol`: what ALPN has chosen, which counts where TLS began directly."""

    def lose(self, reason: str) -> None:
        """The handshake has failed: nothing can be said to the client. `reason`: "" where it just left."""

    def take_outgoing(self) -> bytes:
        """Give what is to be sent now, once."""

    @property
    def rest(self) -> bytes:
        """What the client sent beyond its log-in: the beginning of its first query; empty before ADMITTED."""

    def admit(self, welcome: Welcome, pid: int, key: bytes) -> bytes:
        """Greet the client and give all that is now to be sent: what was outgoing, then the greeting."""

    def refuse(self, refusal: Refusal, detail: str | None = None, **values: str) -> bytes:
        """Refuse the client and give all that is now to be sent before the connection is closed."""

    def _move(self, event: Event) -> None: ...
