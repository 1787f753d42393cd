"""Homes: backends that one worker alone can use, and how another's clients do not starve beside them."""

from typing import Final

from pgmux.shm.pools import Pools

STAY_SECONDS: Final[float]

class Homes:
    """The homes of one segment's backends."""

    def __init__(self, pools: Pools) -> None: ...
    def settle(self, pool: int, *, is_homed: bool) -> None:
        """A backend of the pool was opened: whether it has a home, and so whether the next ones will."""

    def is_homed(self, pool: int) -> bool:
        """Whether the backends of a pool have homes."""

    def count(self, pool: int, worker: int) -> tuple[int, int, int]:
        """A pool's (backends; those being opened for the worker's clients; those that can serve them)."""

    def find_idle_abroad(self, pool: int, worker: int, scope: int) -> tuple[int, int, int] | None:
        """(slot, generation, home) of a backend that another worker could close to make room for `pool`.

        The one that has been idle longest; None when there is none, or when room is being made already.
        `scope` is what `Pools.open` said is full.
        """
