"""What a statement's text may leave behind in its session: one pass over it, a word at a time."""

from collections.abc import Iterable
from enum import IntFlag
from typing import Final

class Trace(IntFlag):
    SETTINGS = 0x1
    LISTENING = 0x2
    TEMPORARY = 0x4
    HOLDING = 0x8
    LOCKING = 0x10
    LOADING = 0x20
    NAMES = 0x40
    DISCARDING = 0x80
    BLOCK = 0x100
    FREEING = 0x200
    UNSEEN = 0x400
    LEARNT = 0x800
    NOTIFYING = 0x1000
    EMPTYING = 0x2000
    ADVANCING = 0x4000
    RECALLING = 0x8000

FIRST: Final[dict[str, int]]
ANYWHERE: Final[dict[str, int]]

def learn(names: Iterable[bytes]) -> list[bytes]:
    """Texts that say one of these names are traced from now on, in this process. Gives those that are new."""

def traces_of(text: bytes, backslashes: bool = False) -> int:
    """The traces of a text, bits of Trace. For what happens once per statement, and for tests."""
