"""What one line of each panel is about. Durations are seconds, sizes bytes; None = not known."""

from dataclasses import dataclass

from pgmux.top.window import Traffic


@dataclass(frozen=True, slots=True)
class PoolLine:
    """A pool."""

    key: int
    database: str
    user: str
    clients: int
    active: int  # clients that have a backend
    waiting: int
    longest_wait: float
    backends: int
    idle: int  # backends that are free
    size: int
    traffic: Traffic
    why: str  # PostgreSQL's last log-in failed, or else a word why clients wait; "" = all is well


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker."""

    key: int
    pid: int
    clients: int
    cpu: float | None  # percent of one core
    rss: int | None
    restarts: int  # deaths, each of which had a successor
    drains: int
    age: float
    silence: float  # since its heart last beat


@dataclass(frozen=True, slots=True)
class ClientLine:
    """A client that has a backend, or waits for one."""

    key: int
    state: str  # "active", "waiting"
    since: float  # in this state for so long
    address: str
    application: str
    pool: str
    backend_pid: int | None
    pins: str  # why it keeps its backend beyond the transaction; "" = it does not
    worker: int | None  # None: one of the version before
    transactions: int  # so far
    connected: float
    number: int | None  # by which it can be killed; None = this pgmux does not number its clients


@dataclass(frozen=True, slots=True)
class BackendLine:
    """A backend."""

    key: int  # its slot
    pid: int
    phase: str
    since: float  # leased or free for so long
    pool: str
    client: str  # "" = none
    worker: int | None  # that has the lease
    leases: int
    age: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All of pgmux in a line or two."""

    path: str  # of the segment
    is_moving: bool  # some worker's heart beats
    is_paused: bool
    silence: float  # of the worker that was heard last
    workers: int
    workers_wanted: int
    clients: int
    clients_limit: int
    waiting: int
    pinned: int  # clients that keep their backend beyond their transaction
    longest: float  # how long who has had a backend longest has had it
    backends: int
    backends_limit: int
    transactions: float  # a second
    queries: float
    cpu: float | None  # of all workers, percent of one core
    rss: int | None


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at everything."""

    overview: Overview
    pools: list[PoolLine]
    workers: list[WorkerLine]
    clients: list[ClientLine]
    backends: list[BackendLine]
