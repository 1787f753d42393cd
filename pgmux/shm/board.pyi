"""The board: what the operator has said, where every process reads it."""

from typing import Final, TypedDict

from pgmux.errors import PgmuxError
from pgmux.shm.segment import Segment

TRIES: Final[int]
NO_DATABASE: Final[int]

class BoardFull(PgmuxError):  # noqa: N818 -- a state of the board
    """No record is left for another database, or no room for another setting."""

class _DatabaseRow(TypedDict):
    database: int
    name: bytes
    is_paused: bool
    is_disabled: bool
    killed_at_us: int
    reconnect_at_us: int

class Board:
    """The board of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def count(self) -> int:
        """Records of databases, those included that are not in use."""

    def register(self, name: bytes) -> int:
        """The record of a database, made when there is none yet. Raises BoardFull."""

    def find(self, name: bytes) -> int | None:
        """The record of a database, or None when nobody has asked for it yet."""

    def rows(self) -> list[_DatabaseRow]:
        """The records in use, as `read` gives them."""

    def read(self, database: int) -> _DatabaseRow | None:
        """A record as a dict, or None when it is unused. Moments: CLOCK_MONOTONIC microseconds, 0 = never."""

    def killed_at(self, database: int) -> int:
        """When clients of a database were killed last; 0 = never."""

    def pause(self, database: int) -> None:
        """No new leases in any pool of the database until `resume`. What is under way goes on."""

    def resume(self, database: int) -> None:
        """Leases again. Who calls this has every worker look for waiting clients."""

    def disable(self, database: int) -> None:
        """No new clients until `enable`. Who is in goes on."""

    def enable(self, database: int) -> None:
        """New clients again."""

    def kill(self, database: int) -> None:
        """Every client of the database that is admitted now must go. Workers are told by an errand."""

    def kill_all(self) -> None:
        """The same for all databases, those included that nobody has asked for yet."""

    def reconnect(self, database: int) -> None:
        """Every backend whose connection has been begun must be replaced, when it is not in use."""

    @property
    def killed_all_at(self) -> int:
        """When KILL was said of everything last, CLOCK_MONOTONIC microseconds; 0 = never."""

    def note_heeded(self, moment_us: int, is_defied: bool = False) -> None:
        """By the supervisor: workers of another layout have heeded what was said by that moment; 0 = none are left."""

    def is_heeded(self, moment_us: int) -> bool:
        """Whether what was said by that moment is heeded by workers of another layout, if there are any."""

    @property
    def has_predecessors(self) -> bool:
        """Whether workers of another layout are still there."""

    @property
    def is_defied(self) -> bool:
        """Whether they keep to a configuration of before, for they cannot read the one in force."""

    @property
    def configuration(self) -> int:
        """The number of the configuration in force: it grows with each RELOAD and SET."""

    @property
    def reloads(self) -> int:
        """How many configurations came by RELOAD."""

    def settings(self) -> bytes:
        """What SET has changed since the last RELOAD, as key=value lines."""

    def publish(self, settings: bytes, is_reload: bool) -> None:
        """By the supervisor: another configuration is in force. Raises BoardFull for too long `settings`."""
