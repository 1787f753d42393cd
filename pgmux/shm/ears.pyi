"""Ears: the one backend of a database that listens for the clients of all workers, and who holds it."""

from typing import TypedDict

from pgmux.shm.segment import Segment

class _EarRow(TypedDict):
    ear: int
    place: bytes
    worker: int | None
    epoch: int
    backend_pid: int
    channels: int
    opened_at_us: int
    losses: int

class Ears:
    """The ears of one segment, as seen by one process."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def count(self) -> int: ...
    def register(self, place: bytes) -> int:
        """The index of a place's ear, made when there is none yet."""

    def holder(self, ear: int) -> tuple[int | None, int]:
        """(the worker that holds the ear or None, epoch) at this instant."""

    def try_claim(self, ear: int, worker: int) -> int | None:
        """The epoch in which the ear is the worker's, or None: somebody holds it."""

    def release(self, ear: int, worker: int) -> bool:
        """Whether the ear was the worker's; it is nobody's now."""

    def fence(self, dead: int) -> list[int]:
        """Take from a dead worker the ears that it held. By the supervisor. Gives them."""

    def introduce(self, ear: int, backend_pid: int) -> None:
        """By the holder: the ear has a backend now, PostgreSQL's process `backend_pid`."""

    def lose(self, ear: int) -> None:
        """By the holder: its backend is gone."""

    def count_channels(self, ear: int, channels: int) -> None:
        """By the holder: its backend listens to so many."""

    def read(self, ear: int) -> _EarRow | None:
        """An ear as a dict, or None when the index is unused; opened_at_us is 0 while it has no backend."""

    def snapshot(self) -> list[_EarRow]:
        """Every ear in use, as dicts."""
