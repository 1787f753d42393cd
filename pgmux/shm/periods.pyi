"""Snapshots of the counters, one each stats_period: averages are the change since the one before the last."""

from pgmux.shm.segment import Segment

class Periods:
    """The snapshots of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def age_us(self) -> int:
        """Microseconds since the last snapshot, or since the start when there is none."""

    def take(self) -> None:
        """Take a snapshot of all pools' counters. By the supervisor."""

    def since(self, back: int = 1) -> int:
        """When the last snapshot but `back` was taken, CLOCK_MONOTONIC microseconds."""

    def read(self, pool: int, back: int = 1) -> dict[str, int]:
        """A pool's counters at that moment, by name."""
