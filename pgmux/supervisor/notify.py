"""What systemd is told: that pgmux is ready, reloads, stops, how it fares, and that it lives.

A notification is one datagram of lines NAME=VALUE to the Unix socket that $NOTIFY_SOCKET names. Where it
names none, nothing is sent. The watchdog is fed only when some worker's heart has beaten since the last
time, so that a pgmux whose workers are all wedged, or die as fast as they are forked, is restarted although
its supervisor is well.

Manual pages: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) ("Type=", "WatchdogSec=").
"""

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Self

FEEDINGS = 4  # a watchdog period: systemd asks for at least two
STATUS_EVERY_SECONDS = 5.0


class Notifier:
    """The line to systemd. Nothing here raises or blocks: a service must not fail for its reports."""

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """`address`: a path, or @name in the abstract namespace; "" = nobody listens. 0 = no watchdog."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._feed_every = watchdog_seconds / FEEDINGS
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")):
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_UNIX, kind)
        self._fed_at = 0.0  # time.monotonic()
        self._status_at = 0.0
        self._last_beat = 0
        self._status = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self:
        """As systemd has set it for the process `pid`: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID."""
        period = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid) and period.isdecimal()
        return cls(environ.get("NOTIFY_SOCKET", ""), int(period) / 1_000_000 if is_ours else 0.0)

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it, well or ill."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1", f"STATUS={status}")

    def keep_waiting(self) -> None:
        """Something begins that may take a while, within which nothing is told."""
        if self._feed_every:
            self._send("WATCHDOG=1")

    def tick(self, now: float, last_beat: int, status: str) -> None:
        """Several times a second. `now`: time.monotonic(); `last_beat`: when a worker's heart last beat, in
        any unit.
        """
        if self._feed_every and now - self._fed_at >= self._feed_every and last_beat > self._last_beat:
            self._fed_at, self._last_beat = now, last_beat
            self._send("WATCHDOG=1")
        if status != self._status and now - self._status_at >= STATUS_EVERY_SECONDS:
            self._status_at, self._status = now, status
            self._send(f"STATUS={status}")

    def _send(self, *assignments: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(assignments).encode(), self._address)
