"""What the demo shows: a table on standard output, and its progress on standard error while that is a
terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """One line that tells which of `steps` is being done; nothing at all where no terminal is."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tell(self, what: str) -> None:
        """Begins the next step."""
        self._step += 1
        if self._is_shown:
            print(f"{_CLEAR_LINE}[{self._step}/{self._steps}] {what} …", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """Prints rows under a header, the first column to the left and all others to the right."""
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if has_colour else ("", "", "")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"{bold}{title}{plain}\n")
    print(f"{bold}{_aligned(header, widths)}{plain}")
    for row in rows:
        print(_aligned(row, widths))
    print(f"\n{dim}{note}{plain}", flush=True)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    right = [cell.rjust(width) for cell, width in others]
    return "   ".join([first[0].ljust(first[1]), *right]).rstrip()
