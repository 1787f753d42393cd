"""The baggage of a backend: what the sessions that used it have left there, and the next must know."""

from pgmux.shm.segment import Segment

class BaggageTable:
    """The baggage of every slot of one segment."""

    segment: Segment
    limit: int

    def __init__(self, segment: Segment) -> None: ...
    def settings(self, slot: int) -> bytes | None:
        """What is set on the backend beyond the log-in, as name\\0value\\0…; None when nobody knows."""

    def set_settings(self, slot: int, settings: bytes | None, digest: int) -> None:
        """Write down what is set now. `settings` None, or longer than can be kept: nobody knows."""

    def empty(self, slot: int) -> None:
        """As after a log-in."""

    def keep_prepared(self, slot: int, statement: bytes) -> None:
        """Note a statement id (16 bytes) as prepared."""

    def is_prepared(self, slot: int, statement: bytes) -> bool:
        """Whether a statement id is noted as prepared; it counts as used."""

    def drop_prepared(self, slot: int, statement: bytes) -> bool:
        """Whether a statement id was noted as prepared, and is no longer."""

    def oldest_prepared(self, slot: int) -> bytes | None:
        """The statement id that was not used for longest, or None."""

    def prepared_count(self, slot: int) -> int:
        """How many statements are prepared on the backend."""
