"""The shared segment: one file, mapped by the supervisor, every worker and every reader."""

from collections.abc import Callable
from os import PathLike
from typing import Final, Self, TypeVar

from pgmux.errors import PgmuxError

_T = TypeVar("_T")

MAGIC: Final[bytes]
LAYOUT_VERSION: Final[int]
PAGE_BYTES: Final[int]
MAX_WORKERS: Final[int]
MAX_BACKENDS: Final[int]
SPARE_CLIENTS: Final[int]
MAX_POOLS: Final[int]

class SegmentError(PgmuxError):
    """The file is no segment of this version, or cannot be made."""

class Segment:
    """The mapped file. `Segment.create` for the supervisor, `Segment.attach` for readers."""

    @property
    def writable(self) -> bool: ...
    @classmethod
    def create(
        cls,
        path: str | PathLike[str],
        *,
        workers: int,
        backends: int,
        pools: int,
        clients: int,
        statements: int = 200,
    ) -> Self:
        """A new segment at `path` (mode 0600, replaced when there is one), mapped read-write."""

    @classmethod
    def attach(cls, path: str | PathLike[str], writable: bool = False) -> Self:
        """An existing segment, by default read-only. Raises SegmentError when it is none of this version."""

    def locked(self, work: Callable[[], _T]) -> _T:
        """What `work()` returns, called with the lock held. For tests and rare commands."""

    @property
    def worker_count(self) -> int:
        """Workers the segment was made for."""

    @property
    def slot_count(self) -> int:
        """Slots: max_backends."""

    @property
    def pool_count(self) -> int:
        """Pools that may exist at once."""

    @property
    def client_count(self) -> int:
        """Client records: max_client_conn and the spare ones."""

    @property
    def client_limit(self) -> int:
        """max_client_conn."""

    def sizes(self) -> dict[str, tuple[int, int]]:
        """{kind of record: (bytes of one, how many there are)}."""

    @property
    def created_at_us(self) -> int:
        """When it was created, CLOCK_MONOTONIC microseconds."""

    @property
    def total_bytes(self) -> int:
        """Size of the file; much of it may be holes."""
