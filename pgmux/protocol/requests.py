"""What a client asks in a session: parsers of its messages' bodies.

For sessions that pgmux answers itself, on its console. Pure functions; all raise ClientProtocolError for a
body that is not what its type says.

Manual: chapter "Frontend/Backend Protocol", section "Message Formats".
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from pgmux.protocol.errors import ClientProtocolError
from pgmux.protocol.messages import decode_text

STATEMENT: Final = "S"
PORTAL: Final = "P"


class Parse(NamedTuple):
    """A statement to be prepared."""

    name: str
    sql: str
    types: tuple[int, ...]  # OIDs; 0 = the client leaves it open


class Bind(NamedTuple):
    """A prepared statement to be made a portal."""

    portal: str
    statement: str
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]  # none = all text, one = for all columns


class Target(NamedTuple):
    """What Describe and Close are about."""

    kind: str  # STATEMENT or PORTAL
    name: str


class Execute(NamedTuple):
    """A portal to be run."""

    portal: str
    limit: int  # rows; 0 = all


def parse_query(body: bytes) -> str:
    """Give the text of a Query."""
    return _Reader(body, "Query").last_text()


def parse_parse(body: bytes) -> Parse:
    """Give what a Parse asks."""
    reader = _Reader(body, "Parse")
    name, sql = reader.text(), reader.text()
    types = tuple(reader.number("!I", 4) for _ in range(reader.count()))
    reader.end()
    return Parse(name, sql, types)


def parse_bind(body: bytes) -> Bind:
    """Give what a Bind asks."""
    reader = _Reader(body, "Bind")
    portal, statement = reader.text(), reader.text()
    for _ in range(reader.count()):  # the values' formats: nobody here looks into values
        reader.number("!h", 2)
    values = tuple(reader.value() for _ in range(reader.count()))
    formats = tuple(reader.number("!h", 2) for _ in range(reader.count()))
    reader.end()
    if not set(formats) <= {0, 1}:
        raise ClientProtocolError(f"invalid format code in Bind: {formats}")
    return Bind(portal, statement, values, formats)


def parse_target(body: bytes) -> Target:
    """Give what a Describe or a Close is about."""
    kind = decode_text(body[:1])
    if kind not in (STATEMENT, PORTAL):
        raise ClientProtocolError(f"a Describe or Close of {kind!r}")
    return Target(kind, _Reader(body[1:], "Describe or Close").last_text())


def parse_execute(body: bytes) -> Execute:
    """Give what an Execute asks."""
    reader = _Reader(body, "Execute")
    portal, limit = reader.text(), reader.number("!i", 4)
    reader.end()
    return Execute(portal, max(limit, 0))


@dataclass(slots=True)
class _Reader:
    """A body, and how far it has been read."""

    body: bytes
    name: str  # of the message
    at: int = 0

    def text(self) -> str:
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise ClientProtocolError(f"a string in {self.name} has no end")
        text = decode_text(self.body[self.at : end])
        self.at = end + 1
        return text

    def last_text(self) -> str:
        text = self.text()
        self.end()
        return text

    def number(self, form: str, size: int) -> int:
        if self.at + size > len(self.body):
            raise ClientProtocolError(f"a {self.name} cut short")
        (number,) = struct.unpack_from(form, self.body, self.at)
        self.at += size
        return int(number)

    def count(self) -> int:
        return self.number("!H", 2)

    def value(self) -> bytes | None:
        size = self.number("!i", 4)
        if size < 0:
            return None
        if self.at + size > len(self.body):
            raise ClientProtocolError(f"a value in {self.name} is cut short")
        value = self.body[self.at : self.at + size]
        self.at += size
        return value

    def end(self) -> None:
        if self.at != len(self.body):
            raise ClientProtocolError(f"{len(self.body) - self.at} bytes too many in {self.name}")
