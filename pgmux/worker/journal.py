"""The log: one line per event, to stderr, as text or as JSON.

What is logged is decided by its callers; how it looks, here. An event has a sentence, and fields that say who
and how long; as text they follow the sentence as name=value, as JSON they are names of their own. Nothing is
logged per query but what `log_min_duration` asks for.

Where stderr is systemd's journal, which has the time itself, a line begins with its priority in place of the
time, so that `journalctl -p warning` finds it. See sd-daemon(3), and JOURNAL_STREAM in systemd.exec(5).
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgmux.control.request import Request
from pgmux.protocol.messages import parse_error_fields
from pgmux.session.inquiry import name_pins

if TYPE_CHECKING:
    from pgmux.session.client_login import ClientLogin

Fields = Mapping[str, str | int | float | None]

_LINES_A_SECOND = 20  # of one kind of event; a flood of events must not become a flood of lines
_STDERR = 2
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)
_PLAIN = re.compile(r"[^\s\"=\x00-\x1f]+")


class TextFormatter(logging.Formatter):
    """Date and time, process, level, name of the process, message, fields."""

    def __init__(self, *, is_for_journal: bool = False) -> None:
        super().__init__()
        self._is_for_journal = is_for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line = self.render(
            record.created, record.levelname, record.name, record.getMessage(), getattr(record, "fields", {})
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def render(self, created: float, level: str, name: str, words: str, fields: Fields) -> str:
        """Give the line of an event. `created`: seconds since 1970."""
        second, rest = divmod(created, 1)
        told = [f"{key}={_spell(value)}" for key, value in fields.items() if value is not None]
        begin = f"{_local(int(second))}.{int(rest * 1000):03d} "
        if self._is_for_journal:
            begin = _prefix(level)
        line = f"{begin}{os.getpid()} {level} {name}: {words}"
        return f"{line}: {' '.join(told)}" if told else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), pid, level, process, message, and the event's fields."""

    def __init__(self, *, is_for_journal: bool = False) -> None:
        super().__init__()
        self._is_for_journal = is_for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        fields: Fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        return self.render(record.created, record.levelname, record.name, record.getMessage(), fields)

    def render(self, created: float, level: str, name: str, words: str, fields: Fields) -> str:
        """Give the line of an event. `created`: seconds since 1970."""
        second, rest = divmod(created, 1)
        line: dict[str, object] = {
            "time": f"{_universal(int(second))}.{int(rest * 1000):03d}Z",
            "pid": os.getpid(),
            "level": level.lower(),
            "process": name,
            "message": _clean(words),
        }
        for key, value in fields.items():
            if value is not None:
                line[key] = _clean(value) if isinstance(value, str) else value
        text = msgspec.json.encode(line).decode()
        return f"{_prefix(level)}{text}" if self._is_for_journal else text


def _prefix(level: str) -> str:
    return f"<{_PRIORITIES.get(level, 6)}>"


@lru_cache(maxsize=2)  # thousands of lines may have the same second
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@lru_cache(maxsize=2)
def _universal(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def open_log(level: str, log_format: str) -> "TextFormatter | JsonFormatter":
    """Send what is logged to stderr. `level` and `log_format` are the options of these names."""
    handler = logging.StreamHandler(sys.stderr)
    make = JsonFormatter if log_format == "json" else TextFormatter
    formatter = make(is_for_journal=_is_journal(_STDERR))
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    return formatter


def _is_journal(descriptor: int) -> bool:
    """Whether what is written there goes to systemd's journal."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    with suppress(OSError):
        found = os.fstat(descriptor)
        return (device, inode) == (str(found.st_dev), str(found.st_ino))
    return False


class Passenger(NamedTuple):
    """Who a client is, in the log."""

    client: int  # its number, as SHOW CLIENTS has it
    address: str
    user: str
    database: str
    application: str

    def fields(self) -> dict[str, str | int | float | None]:
        """As fields of an event; an application without a name is left out."""
        return {**self._asdict(), "application": self.application or None}


class Journal:
    """What a worker logs about clients and what they do."""

    def __init__(self, name: str) -> None:
        self.log = logging.getLogger(name)
        self.formatter: TextFormatter | JsonFormatter = TextFormatter()
        self.logs_arrivals = True  # log_connections
        self.logs_departures = True  # log_disconnections
        self._seconds: dict[str, tuple[int, int]] = {}  # by event: (second, lines in it)

    def pinned(self, who: Passenger, pins: int) -> None:
        """A client keeps its backend from now on, and why."""
        self._note_a_few(logging.INFO, "client pinned", {**who.fields(), "reason": name_pins(pins)})

    def found(self, who: Passenger | None, slot: int, pins: int, settings: tuple[str, ...]) -> None:
        """An audit has found on a backend what no statement of its last client had announced. None: it has left."""
        found = ", ".join(filter(None, (name_pins(pins), *(f"setting {name}" for name in settings))))
        words = (
            "left behind: the backend is cleaned, and the client will miss it."
            ' Something that a function does? pool_mode "session" keeps it'
        )
        fields = {**(who.fields() if who else {}), "backend": slot, "found": found}
        self._note_a_few(logging.WARNING, words, fields)

    def learnt(self, database: str, names: list[bytes]) -> None:
        """Some of a database's functions leave something behind."""
        self.log.info(
            "functions of database %s that change the session, and tables that lead to them: transactions that name them"
            " are asked about: %s",
            database,
            ", ".join(name.decode("utf-8", "replace") for name in names),
        )

    def cannot_learn(self, database: str) -> None:
        """The catalog of a database does not tell which functions leave something behind, or not soon enough."""
        self.log.warning(
            "the catalog of database %s was asked in vain which functions change the session: what they do is found by"
            " audits alone from now on; what changes the session should run in a pool with pool_mode = session",
            database,
        )

    def recalled(self, database: str, user: str) -> None:
        """A client of a pool has asked for the last value of a sequence, the first to do so."""
        self.log.info(
            "clients of database %s as user %s ask for lastval() or currval(): from now on a client there that has"
            " advanced a sequence keeps its backend for a moment",
            database,
            user,
        )

    def audit_refused(self, slot: int) -> None:
        """A server does not answer what an audit asks."""
        self.log.warning("no more audits: the server of backend %d does not answer their question", slot)

    def turned_away(self, reason: str) -> None:
        """Somebody was told at the door that there is no room."""
        self._note_a_few(logging.ERROR, "turned away at the door", {"reason": reason})

    def arrived(self, who: Passenger) -> None:
        """A client has logged in."""
        if self.logs_arrivals:
            self._note(logging.INFO, "client connected", who.fields())

    def left(self, who: Passenger, reason: str, seconds: float) -> None:
        """A client that had logged in has gone, after so long."""
        if self.logs_departures:
            fields = {**who.fields(), "reason": reason, "age_s": round(seconds, 3)}
            self._note(logging.INFO, "client disconnected", fields)

    def refused(self, client: int, address: str, login: "ClientLogin") -> None:
        """A log-in was refused."""
        who = Passenger(
            client, address, login.user, login.database, login.settings.get("application_name", "")
        )
        self._note_a_few(logging.WARNING, "log-in refused", {**who.fields(), "reason": login.reason})

    def turned_down(self, who: Passenger, error: bytes, wait_us: int) -> None:
        """A client has got an error of pgmux's own in place of a backend."""
        told = parse_error_fields(error[5:])
        fields = {
            **who.fields(),
            "sqlstate": told["sqlstate"],
            "reason": told["message"],
            "wait_us": wait_us,
        }
        self._note_a_few(logging.WARNING, "no backend for a client", fields)

    def waited(self, who: Passenger, wait_us: int) -> None:
        """A client got a backend, after longer than log_min_wait."""
        self._note(logging.WARNING, "long wait for a backend", {**who.fields(), "wait_us": wait_us})

    def was_slow(self, who: Passenger, wait_us: int, query_us: int) -> None:
        """A query took longer than log_min_duration, not counting what its client had waited before."""
        fields = {**who.fields(), "wait_us": wait_us, "query_us": query_us}
        self._note(logging.INFO, "slow query", fields)

    def cancelled(self, who: Passenger, what: str) -> None:
        """A cancel request has come, and hit: `what` says what the client was doing."""
        self._note_a_few(logging.INFO, "cancel request", {**who.fields(), "reason": what})

    def commanded(self, name: str, request: Request) -> None:
        """The operator has given a command."""
        words = " ".join((request.word, *request.arguments))
        self.log.info("command: %s", words, extra={"fields": {"by": name}})

    def missed(self, count: int) -> None:
        """So many long waits and slow queries were not logged, because there were too many."""
        self.log.warning("%d more long waits or slow queries", count)

    def _note(self, level: int, words: str, fields: Fields) -> None:
        """Write the line, without the machinery of logging: each client that comes or goes may be one."""
        if self.log.isEnabledFor(level):
            name = logging.getLevelName(level)
            line = self.formatter.render(time.time(), name, self.log.name, words, fields)
            with suppress(OSError):  # nobody reads the log any more
                os.write(_STDERR, f"{line}\n".encode("utf-8", "backslashreplace"))

    def _note_a_few(self, level: int, words: str, fields: Fields) -> None:
        """Note it unless there were many of the same kind in this second; how many is told in the next."""
        now = int(time.monotonic())
        second, lines = self._seconds.get(words, (now, 0))
        if second != now:
            if lines > _LINES_A_SECOND:
                self.log.log(level, "%s: %d more", words, lines - _LINES_A_SECOND)
            lines = 0
        self._seconds[words] = now, lines + 1
        if lines < _LINES_A_SECOND:
            self._note(level, words, fields)


def spell_address(host: str, port: int) -> str:
    """An address and its port as people write them; the Unix socket has none."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _spell(value: str | int | float) -> str:
    """A value as it stands after name=: in quotes where it would not be one word."""
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value if _PLAIN.fullmatch(value) else json.dumps(_clean(value), ensure_ascii=False)


def _clean(text: str) -> str:
    """A text that can be written as UTF-8, whatever a client called itself."""
    return text.encode("utf-8", "backslashreplace").decode()
