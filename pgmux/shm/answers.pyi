"""Answers: what PostgreSQL said of a user (auth_query), for all workers, for a moment."""

from enum import IntEnum

from pgmux.shm.segment import Segment
from pgmux.shm.workers import Workers

class Verdict(IntEnum):
    HAVE = 0
    WAIT = 1
    ASK = 2

class Answers:
    """The answers of one segment, as seen by one process."""

    def __init__(self, segment: Segment, workers: Workers) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def consult(
        self, key: bytes, worker: int, fresh_us: int, patience_us: int
    ) -> tuple[Verdict, bytes | None]:
        """What to do about a question, and its answer if that is HAVE."""

    def tell(self, key: bytes, worker: int, answer: bytes) -> bool:
        """Share the answer to a question that was yours to ask. Whether there was room for it."""

    def give_up(self, key: bytes, worker: int) -> None:
        """A question that was yours to ask has no answer to be shared: others may ask it."""

    def distrust(self, key: bytes, older_than_us: int) -> None:
        """A proof has failed: an answer that is older than this is asked anew."""

    def expel(self, worker: int) -> None:
        """What a dead worker was asking, others may ask."""
