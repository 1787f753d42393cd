"""The lease table: which worker may touch which backend, at this instant."""

from enum import IntEnum
from typing import Final, TypedDict

from pgmux.shm.segment import Segment

class Phase(IntEnum):
    EMPTY = 0
    OPENING = 1
    FREE = 2
    LEASED = 3
    GRANTED = 4
    CLOSING = 5

class Private(IntEnum):
    NOT_PRIVATE = 0
    PHYSICAL = 1
    LOGICAL = 2

class Verb(IntEnum):
    OPEN = 0
    ADOPT = 1
    TAKE = 2
    RELEASE = 3
    GRANT = 4
    ACCEPT = 5
    RECALL = 6
    RETURN = 7
    CLOSE = 8
    FENCE = 9
    CLEAR = 10

LAW: Final[tuple[tuple[Verb, tuple[Phase, ...], Phase, bool], ...]]

class _SlotRow(TypedDict):
    slot: int
    phase: Phase
    owner: int | None
    pool: int | None
    generation: int
    backend_pid: int
    opened_at_us: int
    leased_at_us: int
    released_at_us: int
    lease_count: int
    client: int
    home: int | None
    expires_s: int
    cancels: int
    pins: int
    private: Private
    address: bytes
    port: int
    local_address: bytes
    local_port: int
    tls: int  # 0 = not encrypted

class LeaseTable:
    """The lease words of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def count(self) -> int: ...
    def read(self, slot: int) -> tuple[Phase, int, int, int]:
        """(phase, owner, pool, generation) of a slot at this instant."""

    def try_move(
        self,
        slot: int,
        verb: Verb,
        owner: int,
        pool: int | None = None,
        phase: Phase | None = None,
        holder: int | None = None,
    ) -> bool:
        """Make one move from the slot's present word. False when it is illegal or was overtaken."""

    def snapshot(self) -> list[tuple[Phase, int, int, int]]:
        """Every slot as (phase, owner, pool, generation), read without disturbing anybody."""

    def introduce(
        self, slot: int, backend_pid: int, key: bytes, expires_s: int = 0, home: int | None = None
    ) -> None:
        """Write down who a backend is, before its first lease. `expires_s`: CLOCK_MONOTONIC, 0 = never."""

    def locate(
        self, slot: int, address: tuple[str, int], local_address: tuple[str, int], tls: int = 0
    ) -> None:
        """Write down where a backend's connection leads to, and from where: (host, port) each; and under what."""

    def identity(self, slot: int) -> tuple[int, bytes]:
        """(PostgreSQL's pid, cancel key) of the backend in a slot."""

    def describe(self, slot: int) -> _SlotRow:
        """A slot as a dict; times in CLOCK_MONOTONIC microseconds; owner and pool may be None."""

    def pins(self, slot: int) -> int:
        """Why the client of a slot keeps it beyond its transaction: bits of session.inquiry.Pin."""
