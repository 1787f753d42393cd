"""The log: one line per event, to stderr, as text or as JSON.

What is logged is decided by its callers; how it looks, here. Nothing is logged per query.
"""

import logging
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from pgmux.session.inquiry import name_pins

if TYPE_CHECKING:
    from pgmux.relay.endpoint import Client
    from pgmux.session.client_login import ClientLogin

_REFUSALS_A_SECOND = 20  # log lines about refused log-ins; a flood of them must not become a flood of lines


class TextFormatter(logging.Formatter):
    """Date and time, process, level, message."""

    def __init__(self) -> None:
        line = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s: %(message)s"
        super().__init__(line, "%Y-%m-%d %H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), pid, level, process, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{second}.{int(record.msecs):03d}Z",
            "pid": record.process,
            "level": record.levelname.lower(),
            "process": record.name,
            "message": record.getMessage().encode("utf-8", "backslashreplace").decode(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info).encode("utf-8", "replace").decode()
        return msgspec.json.encode(line).decode()


def open_log(level: str, log_format: str) -> None:
    """Send what is logged to stderr. `level` and `log_format` are the options of these names."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class Journal:
    """What a worker logs about clients and backends."""

    def __init__(self, name: str) -> None:
        self.log = logging.getLogger(name)
        self._second = 0
        self._lines = 0

    def pinned(self, client: "Client", pins: int) -> None:
        """A client keeps its backend from now on, and why."""
        self.log.info(
            "pinned: client=%d address=%s reason=%s", client.record + 1, client.address(), name_pins(pins)
        )

    def found(self, client: "Client", slot: int, pins: int, settings: tuple[str, ...]) -> None:
        """An audit has found on a backend what no statement of its last client had announced."""
        found = ", ".join(filter(None, (name_pins(pins), *(f"setting {name}" for name in settings))))
        self.log.warning(
            "left behind: %s; backend=%d client=%d address=%s: the backend is cleaned, and the client will miss it."
            ' Something that a function does? pool_mode "session" keeps it',
            found,
            slot,
            client.record + 1,
            client.address(),
        )

    def audit_refused(self, slot: int) -> None:
        """A server does not answer what an audit asks."""
        self.log.warning("no more audits: the server of backend %d does not answer their question", slot)

    def turned_away(self, reason: str) -> None:
        """Somebody was told at the door that there is no room. Rate-limited with the refusals."""
        if self._may_tell_of_refusal():
            self.log.error("turned away at the door: %s", reason)

    def _may_tell_of_refusal(self) -> bool:
        """Whether there is room for one more line this second."""
        now = int(time.monotonic())
        if now != self._second:
            if self._lines > _REFUSALS_A_SECOND:
                self.log.warning("%d more log-ins were refused", self._lines - _REFUSALS_A_SECOND)
            self._second, self._lines = now, 0
        self._lines += 1
        return self._lines <= _REFUSALS_A_SECOND

    def refused(self, client: "Client", login: "ClientLogin") -> None:
        """A log-in was refused. Rate-limited: who floods us with them does not flood the log."""
        if self._may_tell_of_refusal():
            self.log.warning(
                "log-in refused: address=%s user=%r database=%r reason=%s",
                _spell_address(*client.address()),
                login.user,
                login.database,
                login.reason,
            )


def _spell_address(host: str, port: int) -> str:
    """An address and its port as people write them; the Unix socket has none."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
