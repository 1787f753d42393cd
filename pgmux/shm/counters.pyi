"""Counters and histograms: one row per (worker, pool), a single writer each, no atomics."""

from typing import Any, Final

from pgmux.shm.segment import Segment

NAMES: Final[tuple[str, ...]]
HISTOGRAMS: Final[tuple[str, ...]]

class CounterTable:
    """The counters of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def add(self, worker: int, pool: int, name: str, amount: int = 1) -> None:
        """Add to one counter of the worker's own row."""

    def read(self, worker: int, pool: int) -> dict[str, Any]:
        """One row as a dict; counters are ints, histograms lists of BUCKETS counts."""

    def sums(self, pool: int) -> dict[str, int]:
        """The same as `total`, without the histograms."""

    def total(self, pool: int) -> dict[str, Any]:
        """The rows of all workers for one pool, added up."""
