"""A server's log file, as far as a test is concerned with it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.servers.waiting import wait_until


class Log:
    """The log at `path`, read from the last mark on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def mark(self) -> None:
        """From here on only what is logged later is seen."""
        self._mark = self.path.stat().st_size if self.path.exists() else 0

    def text(self) -> str:
        """All that was logged since the mark."""
        return self._read_from(self._mark)

    def whole(self) -> str:
        """All that was ever logged."""
        return self._read_from(0)

    def contains(self, pattern: str) -> bool:
        """Whether a line matches a regular expression."""
        return bool(self.lines(pattern))

    def lines(self, pattern: str = "") -> list[str]:
        """The lines that match a regular expression."""
        return [line for line in self.text().splitlines() if re.search(pattern, line)]

    def wait_for(self, pattern: str, timeout: float = 10.0) -> str:
        """The first line that matches, once there is one."""
        return wait_until(lambda: self.lines(pattern), timeout, f"{pattern!r} in {self.path.name}")[0]

    def tail(self, count: int = 60) -> str:
        """The last lines, for a failed test's report."""
        return "\n".join(self.text().splitlines()[-count:])

    def _read_from(self, offset: int) -> str:
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
