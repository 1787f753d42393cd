"""Tenancies: which (database, user) a pool's record belongs to, and when it may be given to another."""

from pgmux.errors import PgmuxError
from pgmux.shm.board import Board
from pgmux.shm.leases import LeaseTable
from pgmux.shm.segment import Segment

class PoolsExhausted(PgmuxError):  # noqa: N818 -- a state of the pools
    """No record is left for another (database, user)."""

class Tenancies:
    """The tenancies of one segment, as seen by one process."""

    def __init__(self, segment: Segment, leases: LeaseTable, board: Board) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def place(self, database: bytes, user: bytes, pool_size: int, database_limit: int = 0) -> tuple[int, int]:
        """(pool, tenancy) of (database, user), made when there is none yet. Raises PoolsExhausted."""

    def tenancy(self, pool: int) -> int:
        """The tenancy of a pool now."""

    def names(self, pool: int) -> tuple[int, bytes, bytes] | None:
        """(tenancy, database, user) of a pool, of one moment; None when it is nobody's."""

    def try_join(self, pool: int, tenancy: int, worker: int) -> bool:
        """Count a client in the pool. False = the record has been given to another."""

    def give_up(self, pool: int, worker: int) -> None:
        """A client that was counted uses the pool no more."""

    def expel(self, worker: int) -> None:
        """A dead worker's clients use nothing any more. By the supervisor."""

    def guests(self, pool: int) -> int:
        """How many clients use the pool, in all workers."""

    def clients(self, kind: str, name: bytes) -> int:
        """How many clients use the pools of a database, or of a user (`kind`), in all workers."""

    def pools(self) -> list[int]:
        """The pools that belong to somebody."""
