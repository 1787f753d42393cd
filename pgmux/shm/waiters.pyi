"""The wait queue: one ring of cells a pool, first come first served over all workers."""

from pgmux.shm.segment import Segment

class WaitQueue:
    """The wait queues of all pools of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def expel(self, worker: int) -> int:
        """Take every ticket of a dead worker out of every queue. Gives how many there were."""

    def try_park(self, pool: int, worker: int, now: int = 0) -> int | None:
        """A ticket, or None when the ring is full."""

    def try_leave(self, pool: int, ticket: int) -> bool:
        """Whether the ticket was still queued."""

    def is_queued(self, pool: int, ticket: int) -> bool:
        """Whether the ticket is queued: neither left nor popped."""

    def first(self, pool: int, now: int = 0) -> tuple[int, int, int] | None:
        """(ticket, worker, age in microseconds) of the oldest waiter, or None."""

    def try_pop(self, pool: int, ticket: int) -> bool:
        """Whether this call took the ticket out."""

    def waiting(self, pool: int) -> int:
        """How many clients wait: exactly, for which each ticket is looked at."""

    def places(self, pool: int, worker: int) -> dict[int, int]:
        """{ticket: how many wait before it, in all workers} of a worker's tickets in a pool's queue."""
