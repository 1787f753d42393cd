"""The pool modes: one table, and nowhere else is a mode asked when a lease ends."""

from enum import IntEnum
from typing import Final

class PoolMode(IntEnum):
    SESSION = 0
    TRANSACTION = 1
    STATEMENT = 2

VERDICTS: Final[dict[tuple[int, bytes], int]]
NAMES: Final[dict[str, PoolMode]]
