"""The other end of sd_notify: a socket that collects what a service tells its manager."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

Notification = dict[str, str]


class Manager:
    """What systemd is to a service: the environment that it gives, and the notifications that it gets."""

    def __init__(self, address: Path | str, watchdog_seconds: float = 0.0) -> None:
        """`address`: a path, or @name in the abstract namespace."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        text = str(address)
        self._socket.bind(f"\0{text[1:]}" if text.startswith("@") else text)
        self.environ = {"NOTIFY_SOCKET": text}
        if watchdog_seconds:
            self.environ["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1_000_000))
        self.notifications: list[Notification] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def collect(self) -> list[Notification]:
        """All notifications so far, oldest first."""
        with suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(65_536).decode().split("\n")
                self.notifications.append(dict(line.split("=", 1) for line in lines))
        return self.notifications

    def count(self, assignment: str) -> int:
        """How many notifications so far said this, such as "READY=1"."""
        name, value = assignment.split("=", 1)
        return sum(notification.get(name) == value for notification in self.collect())

    def statuses(self) -> list[str]:
        """Every status line so far."""
        return [notification["STATUS"] for notification in self.collect() if "STATUS" in notification]
