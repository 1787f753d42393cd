"""What a backend is asked at the end of a transaction that may have changed its session.

What a text says it does and what has become of it after errors, savepoints and a ROLLBACK are two things.
So nothing is guessed: when the transaction is over the backend is asked what its settings are now, which
channels it listens to, and whether it still holds what cannot be carried; in one query, in which everything
is named with its schema, for the session's search_path may be anybody's.

Manual: "System Administration Functions, Configuration Settings Functions"; "System Views", pg_locks,
pg_cursors, pg_settings; "Session Information Functions".
"""

import re
import struct
from collections.abc import Collection, Iterable, Mapping
from enum import IntFlag
from typing import Final, NamedTuple

from pgmux.session import lore
from pgmux.session.settings import IDENTITY, SessionSettings, quote_literal, unpack
from pgmux.session.statements import PREFIX
from pgmux.session.traces import Trace

_unpack_count = struct.Struct("!H").unpack_from
_unpack_size = struct.Struct("!i").unpack_from


class Pin(IntFlag):
    """Why a client keeps its backend beyond the transaction."""

    TEMPORARY_TABLE = 1
    CURSOR = 2
    ADVISORY_LOCK = 4
    LOADED_LIBRARY = 8
    LAST_VALUE = 16  # for a moment only, see relay/recalling.pyx


REASONS: Final = {
    Pin.TEMPORARY_TABLE: "temporary table",
    Pin.CURSOR: "cursor WITH HOLD",
    Pin.ADVISORY_LOCK: "advisory lock",
    Pin.LOADED_LIBRARY: "LOAD",
    Pin.LAST_VALUE: "last value of a sequence",
}
HELD: Final = (  # trace, pin, what tells whether it is there
    (
        Trace.TEMPORARY,
        Pin.TEMPORARY_TABLE,
        "pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0 AND"
        " EXISTS(SELECT FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=)"
        " pg_catalog.pg_my_temp_schema())",
    ),
    (Trace.HOLDING, Pin.CURSOR, "EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
    (
        Trace.LOCKING,
        Pin.ADVISORY_LOCK,
        "EXISTS(SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'"
        " AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
)
_TRACE_OF: Final = {pin: trace for trace, pin, _ in HELD}
# A client's own limit must not end the question: in a Query of several statements SET LOCAL holds for
# the rest. So this setting is asked for in front; here, what it is at the log-in.
_LIMIT: Final = "statement_timeout"
_SESSION_SETTINGS: Final = (
    f"SELECT CASE WHEN name OPERATOR(pg_catalog.=) '{_LIMIT}' THEN '~' ELSE pg_catalog.lower(name) END,"
    f" CASE WHEN name OPERATOR(pg_catalog.=) '{_LIMIT}' THEN reset_val ELSE pg_catalog.current_setting(name) END"
    " FROM pg_catalog.pg_settings"
    " WHERE source OPERATOR(pg_catalog.=) 'session' AND name OPERATOR(pg_catalog.<>) ALL (ARRAY["
    # these are a transaction's own, though they look like the session's
    "'transaction_isolation', 'transaction_read_only', 'transaction_deferrable'])"
)
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
# What goes by a name that is none of ours.
_STATEMENTS: Final = (
    "SELECT '!', NULL WHERE EXISTS(SELECT FROM pg_catalog.pg_prepared_statements"
    f" WHERE pg_catalog.strpos(name, {quote_literal(PREFIX.decode())}) OPERATOR(pg_catalog.<>) 1)"
)


class Answer(NamedTuple):
    """What the backend said."""

    settings: dict[str, str | None]  # those asked for, None = not set; if all were asked for, all it has
    channels: tuple[bytes, ...]
    pins: Pin
    functions: tuple[
        bytes, ...
    ] = ()  # that leave something behind, and settings (a.b) of theirs, if it was asked
    has_statements: bool = False  # prepared by code that ran behind our back, if all settings were asked for
    has_limit: bool = True  # statement_timeout is another than at the log-in, or that was not asked for


def build_question(
    names: Iterable[str], traces: int, *, every: bool, own: bool = False, functions: bool = False
) -> bytes:
    """The text of the question.

    `names`: settings to be told; `every`: besides, all that the session has set; `traces`: what else;
    `own`: and the settings (a.b) that functions set; `functions`: and what leaves something behind.
    """
    wanted = {*names, *(() if not every else (_LIMIT, *IDENTITY))}
    first = [_tell(_LIMIT)] if _LIMIT in wanted else []
    parts = [_tell(name) for name in sorted(wanted - {_LIMIT})]
    if every:
        parts += [_SESSION_SETTINGS, _STATEMENTS]
    parts += [
        f"SELECT {quote_literal(str(int(pin)))}, NULL WHERE {held}"
        for trace, pin, held in HELD
        if traces & trace
    ]
    if own:
        parts.append(lore.OWN_VALUES)
    if traces & Trace.LISTENING:
        parts.append("SELECT '*', pg_catalog.pg_listening_channels()")
    limit = f"SET LOCAL {_LIMIT} TO {lore.WITHIN_MS if functions else 0}"
    question = "; ".join([*first, limit, " UNION ALL ".join(parts) or "SELECT WHERE false"])
    if functions:
        question += f"; {lore.UNCOMPILED}; {lore.QUESTION}"
    if traces & Trace.LISTENING:
        question += "; UNLISTEN *"  # notifications come another way
    return question.encode("utf-8", "surrogateescape")


def _tell(name: str) -> str:
    return f"SELECT {quote_literal(name)}, pg_catalog.current_setting({quote_literal(name)}, true)"


def suspects(pins: int) -> int:
    """The traces by which it is asked whether what pins a client is still there."""
    return sum(trace for pin, trace in _TRACE_OF.items() if pins & pin)


def read_answer(data: bytes) -> Answer:
    """Read the answer from the DataRows as they came, whole messages one after the other.

    Raises ValueError for rows that are no answer to the question.
    """
    settings: dict[str, str | None] = {}
    channels = []
    functions = []
    has_statements = False
    limit_before: bytes | None = None
    pins = Pin(0)
    at = 0
    while at < len(data):
        size = _unpack_size(data, at + 1)[0]
        row = _read_row(data, at + 5)
        if len(row) != 2 or size < 4:
            raise ValueError(f"a row of {len(row)} columns")
        name, value = row
        if name == b"*":
            channels.append(value or b"")
        elif name == b"+":
            functions.append(value or b"")
        elif name == b"~":
            limit_before = value
        elif name == b"!":
            has_statements = True
        elif name is not None and name.isdigit():
            pins |= Pin(int(name))
        elif name is not None:
            settings[_text(name)] = None if value is None else _text(value)
        at += 1 + size
    has_limit = limit_before is None or _milliseconds(settings.get(_LIMIT)) != int(limit_before)
    return Answer(settings, tuple(channels), pins, tuple(functions), has_statements, has_limit)


def _milliseconds(limit: str | None) -> int | None:
    """A limit as PostgreSQL shows it: 0, or a number and its unit."""
    found = re.fullmatch(r"(\d+)(\w*)", limit or "")
    return int(found[1]) * _MILLISECONDS.get(found[2], 1) if found else None


def settle_settings(
    before: SessionSettings,
    startup: SessionSettings,
    told: Mapping[str, str | None],
    resets: Collection[str],
    *,
    undone: bool = False,
) -> SessionSettings:
    """A client's settings after a transaction of which the backend told `told`.

    `resets`: settings that the transaction may have taken back. For PostgreSQL that is the log-in's value,
    for the client it is the one of its start-up. `undone`: it ended with a ROLLBACK, or failed; a setting
    that is what it was before has then not been taken back.
    """
    changes: dict[str, str | None] = {}
    for name, value in told.items():
        if value is None or (name in resets and not (undone and value == before.values.get(name))):
            changes[name] = startup.values.get(name)
        else:
            changes[name] = value
    return before.changed(changes)


def drop_empty(told: Mapping[str, str | None], names: Collection[str]) -> dict[str, str | None]:
    """What was told, without those of `names` that are empty: so a setting of one's own is once it was reset."""
    return {name: None if value == "" and name in names else value for name, value in told.items()}


def drop_limit(
    told: Mapping[str, str | None], answer: Answer, names: Collection[str]
) -> dict[str, str | None]:
    """What was told, without the limit where that is the log-in's own, and not of `names`."""
    is_dropped = not answer.has_limit and _LIMIT not in names
    return {name: value for name, value in told.items() if not is_dropped or name != _LIMIT}


def drop_self(told: dict[str, str | None], login_user: str) -> dict[str, str | None]:
    """What was told, without an identity that is the log-in's own."""
    own = {"role": "none", "session_authorization": login_user}
    return {name: None if name in own and value == own[name] else value for name, value in told.items()}


def find_unknown(told: Mapping[str, str | None], known: bytes) -> tuple[str, ...]:
    """The names of settings that a backend has and nobody knew of: `known` as the baggage has them.

    The one that is told in any case says nothing.
    """
    names = {_LIMIT, *(name.lower() for name in unpack(known))}
    return tuple(
        sorted(name for name, value in told.items() if value is not None and name.lower() not in names)
    )


def name_pins(pins: int) -> str:
    """Why a client keeps its backend, in words."""
    return ", ".join(reason for pin, reason in REASONS.items() if pins & pin)


def _read_row(data: bytes, at: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    try:
        count = _unpack_count(data, at)[0]
        at += 2
        for _ in range(count):
            size = _unpack_size(data, at)[0]
            at += 4
            values.append(None if size < 0 else data[at : at + size])
            at += max(size, 0)
    except struct.error:
        raise ValueError("a row that ends too early") from None
    return values


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
