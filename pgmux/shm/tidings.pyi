"""Tidings: what a pool's clients are told, in all workers: the welcome, and the trouble."""

from pgmux.shm.segment import Segment
from pgmux.shm.workers import Workers

class Tidings:
    """Those of all pools of one segment."""

    def __init__(self, segment: Segment, workers: Workers) -> None: ...
    def set_welcome(self, pool: int, welcome: bytes) -> None:
        """Keep a backend's ParameterStatus values (name\\0value\\0…) for clients that log in later."""

    def welcome(self, pool: int) -> bytes | None:
        """What set_welcome kept, or None when no backend of this pool was ever opened."""

    def set_trouble(self, pool: int, trouble: bytes, retry_after_us: int) -> None:
        """Why no backend can be opened, and when it may be tried again; empty = all is well."""

    def trouble(self, pool: int) -> tuple[bytes, int]:
        """(why the last log-in failed, microseconds until the next may be tried), (b"", 0) if all is well."""
