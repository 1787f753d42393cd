"""The replies a backend owes: one queue of requests, one table of which reply answers which."""

from typing import Final, Self

RULES: Final[dict[bytes, tuple[bytes, bytes]]]
ASYNCHRONOUS: Final[bytes]
ANSWERED: Final[bytes]
MARKERS: Final[bytes]
MARKS: Final[dict[str, int]]
VERDICTS: Final[dict[int, str]]

class Conversation:
    """The queue with a Python face, for tests: bytes of request types in, verdicts out."""

    def __init__(self) -> None: ...
    def send(self, requests: bytes, marks: int = 0) -> Self:
        """Push requests, one byte each, all with the same marks."""

    def receive(self, answers: bytes) -> bool:
        """True when every reply, one byte each, belonged to a request of the client's."""

    def judge(self, answers: bytes) -> list[tuple[str, bytes, int, int]]:
        """[(verdict's name, requests whose reply is faked before this one, notes kept, notes lapsed)]."""

    def take_faked(self) -> bytes:
        """The requests whose replies are to be made now."""

    @property
    def owed(self) -> bytes:
        """The requests not yet completed, oldest first."""

    @property
    def noted(self) -> int:
        """How many of them are noted."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is owed."""

    @property
    def needs_sync(self) -> bool:
        """Whether only a Sync will bring the backend to rest."""
