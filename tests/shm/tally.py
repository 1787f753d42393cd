"""Numbers that processes of one family share."""

from __future__ import annotations

import mmap


class Tally:
    """Signed 64-bit numbers, at first 0, in memory shared with all processes forked later."""

    def __init__(self, size: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, size * 8)).cast("q")

    def __getitem__(self, at: int) -> int:
        return self._numbers[at]

    def __setitem__(self, at: int, number: int) -> None:
        self._numbers[at] = number

    def __len__(self) -> int:
        return len(self._numbers)

    def all(self) -> list[int]:
        """All numbers, read one after the other."""
        return self._numbers.tolist()
