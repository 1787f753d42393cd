"""Pools over all workers: taking a backend, releasing it, handing it to who waits longest."""

from collections.abc import Sequence
from typing import Final, TypedDict

from pgmux.shm.baggage import BaggageTable
from pgmux.shm.board import Board
from pgmux.shm.leases import LeaseTable, Private, _SlotRow
from pgmux.shm.renewal import Renewal
from pgmux.shm.segment import Segment
from pgmux.shm.tenancies import Tenancies
from pgmux.shm.tidings import Tidings
from pgmux.shm.waiters import WaitQueue
from pgmux.shm.workers import Workers

FAVOUR_OWN_FOR_US: Final[int]
POOL_FULL: Final[int]
ALL_FULL: Final[int]
DATABASE_FULL: Final[int]
POOL_PAUSED: Final[int]

class _PoolRow(TypedDict):
    pool: int
    database: bytes
    user: bytes
    pool_size: int
    backends: int
    opening: int
    free: int
    waiting: int

class Pools:
    """All pools of one segment, as seen by one process."""

    def __init__(self, segment: Segment, bells: Sequence[int] = ()) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def leases(self) -> LeaseTable: ...
    @property
    def waiters(self) -> WaitQueue: ...
    @property
    def workers(self) -> Workers: ...
    @property
    def baggage(self) -> BaggageTable: ...
    @property
    def board(self) -> Board: ...
    @property
    def tenancies(self) -> Tenancies: ...
    @property
    def tidings(self) -> Tidings: ...
    @property
    def renewal(self) -> Renewal: ...
    def pause(self) -> None:
        """No new leases, in any worker, until `resume`: clients park. Transactions under way go on."""

    def resume(self) -> None:
        """Leases again; every worker serves who waits."""

    @property
    def is_paused(self) -> bool:
        """Whether the operator has paused all pools."""

    def is_pool_disabled(self, pool: int) -> bool:
        """Whether the operator lets no new client in to the pool's database."""

    @property
    def is_left(self) -> bool:
        """Whether a successor with another layout has taken over, so that only what is left goes on here."""

    def is_pool_paused(self, pool: int) -> bool:
        """Whether the operator has paused this pool: all of them, or its database."""

    def register(self, database: bytes, user: bytes, pool_size: int, database_limit: int = 0) -> int:
        """The index of the pool (database, user), made when there is none yet."""

    def database_record(self, pool: int) -> int:
        """The record of a pool's database, on the board."""

    def resize(self, pool: int, pool_size: int, database_limit: int = 0) -> None:
        """New limits for a pool. Backends beyond them are not closed at once."""

    def longest_wait_us(self, pool: int) -> int:
        """How long the pool's first waiting client has waited, microseconds; 0 when none does."""

    def open(self, pool: int, worker: int, reserve: int = 0, private: Private = ...) -> int:
        """An EMPTY slot, now OPENING for the worker; a negative constant at a limit, or in a pause.

        `reserve` backends may come on top of the pool's size. A private one is for one client alone and
        takes no place of the pool's.
        """

    def count(self, pool: int) -> tuple[int, int, int, int]:
        """A pool's (backends, those OPENING, those FREE, those in service: FREE, LEASED or GRANTED)."""

    def evict(self, pool: int, worker: int, within_database: bool = False) -> int:
        """Lease the backend of another pool that has been FREE longest and nobody waits for, so that
        its slot can serve `pool`. Gives the slot, or NO_SLOT."""

    def shut(self, slot: int, worker: int) -> bool:
        """CLOSE a slot this worker is opening or has leased. Whether it was the worker's."""

    def clear(self, slot: int, worker: int) -> bool:
        """The backend is gone: the slot is EMPTY, and whoever waits for room may open another."""

    def count_cancel(self, slot: int, more: int) -> None:
        """A cancel request for a backend of ours is on its way (+1), or has settled (-1)."""

    def rebuild(self) -> None:
        """Set the free bit of every FREE slot, from the words: a process may have died before it could."""

    def introduce(
        self, slot: int, backend_pid: int, key: bytes, expires_s: int = 0, home: int | None = None
    ) -> None:
        """Write down who the backend in a slot is, before its first lease."""

    def identity(self, slot: int) -> tuple[int, bytes]:
        """(PostgreSQL's pid, cancel key) of the backend in a slot."""

    def generation(self, slot: int) -> int:
        """The slot's generation now."""

    def try_take(self, pool: int, worker: int, favourite: int = -1) -> int | None:
        """A slot leased to the worker, or None."""

    def try_release(self, slot: int, worker: int) -> bool:
        """Whether the lease was the worker's to give up."""

    def may_serve_own(self, pool: int, worker: int, now: int) -> bool:
        """Whether a worker may serve a waiting client of its own next, without a hand-over."""

    def try_accept(self, slot: int, worker: int) -> bool:
        """Whether the slot was granted to the worker; it is leased to it now."""

    def try_adopt(self, slot: int, worker: int) -> bool:
        """OPENING becomes LEASED: the backend is logged in. Whether it was the worker's."""

    def read(self, pool: int) -> _PoolRow | None:
        """A pool's record as a dict, or None when the index is unused."""

    def describe_slot(self, slot: int) -> _SlotRow:
        """A slot as a dict."""
