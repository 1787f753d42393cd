"""What pgmux answers to a command, as the control socket sends it: JSON, one object a line.

    ->  {"command": ["show", "pools"]}
    <-  {"type": "columns", "columns": [{"name": "database", "type": "text"}, ...]}
    <-  {"type": "rows", "rows": [["app", "alice", 3, ...], ...]}        as often as there are rows to tell
    <-  {"type": "done", "tag": "SHOW"}

    ->  {"command": ["pause", "app"]}
    <-  {"type": "progress", "message": "waiting for 2 backends"}        about once a second
    <-  {"type": "notice", "message": "...", "detail": "..."}            seldom
    <-  {"type": "done", "tag": "PAUSE"}

    ->  {"command": ["puase"]}
    <-  {"type": "error", "sqlstate": "42601", "message": "no such command: puase", "hint": "..."}

Each request is answered to its end, by `done` or `error`, before the next is read. Who closes the connection
takes back a command that still waits. Types are those of PostgreSQL; a value is a string, a number or null.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from pgmux.control.table import Column
from pgmux.protocol.results import Type, Value

Row = tuple[Value, ...]

MAX_REQUEST_BYTES: Final = 65_536  # of one line

_NAMES: Final = {Type.TEXT: "text", Type.INT4: "int4", Type.INT8: "int8", Type.NUMERIC: "numeric"}


class Asked(msgspec.Struct, frozen=True):
    """A request."""

    command: list[str]


class ColumnName(msgspec.Struct, frozen=True):
    """A column of the answer to SHOW."""

    name: str
    type: str  # of PostgreSQL's

    @classmethod
    def of(cls, name: str, kind: Type) -> "ColumnName":
        """A column of that type."""
        return cls(name, _NAMES[kind])

    def kind(self) -> Type:
        """The type of its values."""
        return next(kind for kind, name in _NAMES.items() if name == self.type)


class Columns(msgspec.Struct, frozen=True, tag="columns"):
    """What the rows that follow have."""

    columns: list[ColumnName]

    @classmethod
    def of(cls, columns: Iterable[Column]) -> "Columns":
        """Those of a table that can be shown."""
        return cls([ColumnName.of(column.name, column.kind) for column in columns])


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Some rows."""

    rows: list[Row]


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something to be known about what was done."""

    message: str
    detail: str = ""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """What a command that takes its time is waiting for."""

    message: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """All is done."""

    tag: str  # the command, as CommandComplete has it


class Failed(msgspec.Struct, frozen=True, tag="error"):
    """Nothing, or not all, was done."""

    sqlstate: str
    message: str
    hint: str = ""


Reply = Columns | Rows | Notice | Progress | Done | Failed

decode_reply: Final = msgspec.json.Decoder(Reply).decode
decode_asked: Final = msgspec.json.Decoder(Asked).decode

_encode: Final = msgspec.json.Encoder().encode


def encode_line(message: Reply | Asked) -> bytes:
    """Give the line, with its end."""
    return _encode(message) + b"\n"
