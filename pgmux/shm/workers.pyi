"""Workers' records, and the inbox: how one process leaves another a backend, or an errand."""

from collections.abc import Sequence
from enum import IntEnum
from typing import TypedDict

from pgmux.shm.segment import Segment

class Errand(IntEnum):
    LOOK_FOR_GRANTS = 1
    OPEN_BACKENDS = 2
    REFUSE_WAITERS = 4
    BURY_BACKENDS = 8
    RELOAD = 16
    LOOK_AT_EARS = 32
    HEAR_ANSWERS = 64
    KILL_CLIENTS = 128
    DRAIN = 256
    LET_LEAVE = 512
    STAND_IN = 1024
    SHUT_DOORS = 2048
    EMIGRATE = 4096
    LOOK_INTO_INBOX = 8192

class WorkerState(IntEnum):
    STARTING = 0
    SERVING = 1
    DRAINING = 2
    LEFT = 3

class _WorkerRow(TypedDict):
    worker: int
    pid: int
    clients: int
    deaths: int
    drains: int
    started_at_us: int
    heartbeat_us: int
    listening: int
    cpu_us: int
    configuration: int
    is_accepting: bool
    coming: int
    state: int

class Workers:
    """The workers' records and inboxes. `bells` are their eventfds, made before the first fork."""

    def __init__(self, segment: Segment, bells: Sequence[int] = ()) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def bells(self) -> list[int]: ...
    def find_lightest(self, but: int) -> int | None:
        """The serving worker with the fewest clients, other than one; None = there is no other."""

    def load(self, worker: int) -> int:
        """How many clients a worker has, those included that are on their way to it."""

    def absent(self, but: int) -> list[int]:
        """The workers, other than one, that accept nobody now: gone, just born, or silent for a second."""

    def enter(self, worker: int, state: int) -> None:
        """By the worker: what it does now, a WorkerState."""

    def expect(self, worker: int, change: int) -> None:
        """A client is on its way to a worker (+1), has come or will not (-1)."""

    def take_errands(self, worker: int) -> int:
        """The errands asked of the worker, cleared by the asking."""

    def take_deliveries(self, worker: int) -> list[int]:
        """The slots that the worker was told of, cleared by the asking, in no order of time."""

    def try_sleep(self, worker: int) -> bool:
        """Announce that the worker is about to block. False = it must not: something has come."""

    def wake(self, worker: int) -> None:
        """The worker is no longer about to block."""

    def send_on_errand(self, worker: int, errands: int) -> None:
        """Ask one worker for errands, bits of Errand."""

    def send_all_on_errand(self, errands: int) -> None:
        """Ask every worker that runs for errands, bits of Errand."""

    def enlist(self, worker: int, pid: int) -> None:
        """By the supervisor, when it has forked the worker."""

    def dismiss(self, worker: int, *, in_order: bool = False) -> None:
        """By the supervisor, when the worker's process is gone: it died, or left in order, drained."""

    def beat(
        self, worker: int, clients: int, cpu_us: int = 0, configuration: int = 0, is_accepting: bool = True
    ) -> None:
        """By the worker, several times a second: it lives, has so many clients, so much processor time used,
        works by that configuration, and takes new clients or not."""

    def count_listening(self, worker: int, clients: int) -> None:
        """By the worker: so many of its clients LISTEN."""

    def silence_us(self, worker: int) -> int:
        """Microseconds since the worker's last heartbeat."""

    def read(self, worker: int) -> _WorkerRow:
        """A worker's record as a dict. Moments are CLOCK_MONOTONIC microseconds."""

def make_bells(count: int) -> list[int]:
    """One non-blocking eventfd a worker. See eventfd(2)."""
