"""How much a process grows while something is done."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_PAUSE_S = 0.005


class Footprint:
    """The resident memory of one process, looked at again and again while a with statement lasts."""

    def __init__(self, pid: int) -> None:
        self.samples = 0
        self._process = psutil.Process(pid)
        self._at_first = self._most = self._rss()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="footprint")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def growth_bytes(self) -> int:
        """By how much it was at most larger than at first."""
        return max(self._most, self._rss()) - self._at_first

    def _watch(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            self._most = max(self._most, self._rss())
            self.samples += 1

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)
