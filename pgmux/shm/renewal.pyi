"""Renewal: backends that are to be replaced by new ones, though nothing is wrong with them."""

from pgmux.shm.board import Board
from pgmux.shm.leases import LeaseTable
from pgmux.shm.segment import Segment

class Renewal:
    """That of one segment's backends."""

    def __init__(self, segment: Segment, leases: LeaseTable, board: Board) -> None: ...
    def retire_next(self, slot: int) -> None:
        """Have a backend closed when it is released next."""

    def expire(self) -> None:
        """Every backend there is now is to be replaced when it is free next."""

    def outdate(self, pool: int) -> None:
        """Have every backend of a pool replaced: those in use when they are released, the others soon."""

    def reconnect(self, database_record: int) -> None:
        """Have every backend of a database replaced: those in use when they are released, the others soon."""

    def expire_if_outdated(self, slot: int, begun_at_us: int) -> None:
        """By the opener, after `introduce`: RECONNECT may have been said since it began to connect."""
