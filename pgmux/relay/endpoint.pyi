"""Both ends of the relay: clients, backends, and the lobby where clients wait."""

from enum import IntEnum

from pgmux.relay.tls import Tls
from pgmux.session.arrival import Arrival
from pgmux.session.client_login import ClientLogin
from pgmux.session.modes import PoolMode
from pgmux.session.secret import Credential
from pgmux.session.settings import SessionSettings

class ClientPhase(IntEnum):
    LOGIN = 0
    IDLE = 1
    PARKED = 2
    LEASED = 3
    LEAVING = 4
    GONE = 5

class Endpoint:
    """A socket and where its streams stand."""

    def __init__(self) -> None: ...
    @property
    def fd(self) -> int: ...
    @property
    def tls(self) -> Tls | None: ...

class Client(Endpoint):
    """An application's connection."""

    @property
    def login(self) -> ClientLogin | None:
        """Its log-in, until it is admitted."""

    @property
    def record(self) -> int: ...
    @property
    def phase(self) -> ClientPhase: ...
    settings: SessionSettings  # what its session has set now
    startup: SessionSettings  # what it had set at its log-in
    channels: frozenset[bytes] | None  # it listens to; None = none
    stays: bool  # it cannot be handed to another worker
    @property
    def is_unix(self) -> bool: ...
    @property
    def mode(self) -> PoolMode: ...
    @property
    def pins(self) -> int: ...
    @property
    def terminated(self) -> bool: ...
    @property
    def waited_us(self) -> int: ...
    @property
    def last_words(self) -> bytes | None: ...
    def address(self) -> tuple[str, int]:
        """(host, port) of the peer; ("unix", 0) for one on the Unix socket, ("", 0) for one that is gone."""

    def arrival(self) -> Arrival:
        """How it came in, for the rules."""

    def peer_uid(self) -> int:
        """The uid of the process that connected to the Unix socket (unix(7)); -1 when that is not known."""

class Backend(Endpoint):
    """This worker's view of one slot: its descriptor, and the conversation while it is leased."""

    def __init__(self, slot: int) -> None: ...
    @property
    def slot(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def pool(self) -> int: ...

class Greeting:
    """Where a client is let in, and what it is told: the same for all that introduce themselves alike."""

    def __init__(
        self,
        pool: int,
        tenancy: int,
        application_name: bytes,
        told: bytes,
        credential: Credential | None,
        edition: int,
        mode: PoolMode = ...,
        settings: SessionSettings = ...,
        unsure: frozenset[str] = ...,
    ) -> None: ...
    @property
    def pool(self) -> int: ...
    @property
    def tenancy(self) -> int: ...
    @property
    def application_name(self) -> bytes: ...
    @property
    def told(self) -> bytes:
        """ParameterStatus messages."""

    @property
    def credential(self) -> Credential | None: ...
    @property
    def edition(self) -> int: ...
    @property
    def mode(self) -> PoolMode: ...
    @property
    def settings(self) -> SessionSettings:
        """What the client asked for."""

    @property
    def unsure(self) -> frozenset[str] | None:
        """Settings whose spelling `told` could not know; None = there are none."""

class Lobby:
    """A pool's waiting clients in this worker, first come first served."""

    asked: bool
    wait_limit_us: int
    least: int  # min_pool_size: so many backends are kept, idle or not
    on_pin: int  # 0 allow, 1 warn, 2 reject
    most_pinned: int  # of its backends may be pinned at once
    login_user: str  # who logs in to PostgreSQL
    def __init__(self, pool: int) -> None: ...
    @property
    def pool(self) -> int: ...
    @property
    def waiting(self) -> int: ...
