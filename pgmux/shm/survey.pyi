"""A survey: all pools' clients and backends, counted in one pass over each table."""

from enum import IntEnum
from typing import TypedDict

from pgmux.shm.segment import Segment

class Standing(IntEnum):
    LOGGING_IN = 0
    IDLE = 1
    WAITING = 2
    SERVED = 3
    LEAVING = 4
    GONE = 5

class _PoolSurvey(TypedDict):
    pool: int
    database: bytes
    user: bytes
    pool_size: int
    database_limit: int
    database_record: int
    idle: int
    waiting: int
    served: int
    longest_wait_us: int
    opening: int
    free: int
    serving: int
    cleaning: int
    being_cancelled: int
    closing: int
    outdated: int
    cancels: int
    trouble: bytes
    retry_us: int

class Survey:
    """Surveys of one segment."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    def count_clients_before(self, database_record: int, moment_us: int) -> int:
        """How many clients of a database there are who were admitted by that moment; those that have gone over, or are
        still to come from another segment, are not counted."""

    def take(self) -> tuple[list[_PoolSurvey], int, int, int]:
        """(one dict a pool, by number; clients that log in; records in use; console clients)."""
