"""What the doctor finds out, as plain records: of these the report, the JSON and the alarms are made.

Times are seconds, sizes bytes, ages of snapshots transactions. None = not known: not told by this version of
PostgreSQL, not visible to this user, or not measurable from this machine.
"""

import msgspec


class Client(msgspec.Struct, frozen=True):
    """Who is behind a backend: an application's connection, to PostgreSQL or to pgmux."""

    address: str  # "10.0.0.7:51234", "local" for a Unix socket; "" = which of pgmux's clients is not known
    application: str
    is_through_pgmux: bool = False

    def __str__(self) -> str:
        name = f'"{self.application}"' if self.application else "an application without a name"
        place = f" at {self.address}" if self.address else ""
        return f"{name}{place}{' through pgmux' if self.is_through_pgmux else ''}"


class Backend(msgspec.Struct, frozen=True):
    """One client backend, from pg_stat_activity."""

    pid: int
    database: str
    user: str
    state: str  # PostgreSQL's words; "hidden" when this user may not see it
    client: Client
    state_s: float  # in this state for so long
    transaction_s: float | None = None  # None = outside a transaction
    snapshot_age: int | None = None  # transactions that came since what it still can see; None = holds none
    waits_for: str = ""  # wait_event_type, wait_event
    blocked_by: tuple[int, ...] = ()  # pids whose locks it waits for
    query: str = ""  # the beginning of the last one
    is_pgmuxs: bool = False  # of pgmux's own pool
    pss: int | None = None  # its share of all memory that it uses
    private: int | None = None  # what ends with it


class Holder(msgspec.Struct, frozen=True):
    """Who keeps old row versions alive: VACUUM removes none that are younger than the oldest snapshot."""

    kind: str  # "backend", "prepared transaction", "replication slot", "standby"
    name: str  # pid, global id, slot, standby
    snapshot_age: int
    held_s: float | None
    client: Client | None = None
    state: str = ""
    query: str = ""


class Server(msgspec.Struct, frozen=True):
    """The PostgreSQL server itself."""

    address: str
    version: str
    max_connections: int
    reserved: int  # for superusers and roles with pg_use_reserved_connections
    idle_in_transaction_timeout_s: float
    is_on_this_machine: bool
    cores: int | None  # that it may run on
    can_see_all: bool  # of other users' sessions

    @property
    def for_clients(self) -> int:
        """How many connections ordinary roles can have."""
        return self.max_connections - self.reserved


class PoolUse(msgspec.Struct, frozen=True):
    """What one (database, user) made of its backends while the doctor looked."""

    database: str
    user: str
    backends: int
    busy_at_most: int  # in a transaction at once
    pool_size: int  # that would do


class Advice(msgspec.Struct, frozen=True):
    """The pool that would do."""

    busy_at_most: int  # backends in a transaction at once, over all samples
    busy_on_average: float | None  # since the statistics were reset
    samples: int
    watched_s: float
    max_backends: int
    why: str
    saved_backends: int
    saved_bytes: int | None
    pools: tuple[PoolUse, ...] = ()


class PoolState(msgspec.Struct, frozen=True):
    """A pool of the pgmux that runs here."""

    database: str
    user: str
    pool_size: int
    backends: int
    waiting: int
    longest_wait_s: float
    trouble: str  # why the last log-in to PostgreSQL failed


class Pooler(msgspec.Struct, frozen=True):
    """The pgmux that runs here."""

    workers: int
    clients: int
    pools: tuple[PoolState, ...]


class Alarm(msgspec.Struct, frozen=True):
    """Something that should not stay as it is."""

    name: str
    text: str
    remedy: str


class Report(msgspec.Struct, frozen=True):
    """All about one server."""

    server: Server
    backends: tuple[Backend, ...]
    holders: tuple[Holder, ...]  # oldest snapshot first
    advice: Advice
    pooler: Pooler | None
    pooler_missing: str  # why pgmux's clients are not shown; "" when they are
    alarms: tuple[Alarm, ...]
