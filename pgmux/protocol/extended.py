"""The extended protocol, as far as pgmux itself asks PostgreSQL something: one statement, texts in and out.

Manual: "Message Flow, Extended Query" and "Message Formats".
"""

import struct
from collections.abc import Iterable

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import build_message, build_sync, encode_text

_pack_short = struct.Struct("!h").pack
_pack_int = struct.Struct("!i").pack
_unpack_int = struct.Struct("!i").unpack_from


def build_statements(statements: Iterable[str], parameters: list[bytes | None]) -> bytes:
    """Give all that it takes to run statements in one transaction, each with the same parameters.

    Raises ValueError for a NUL inside.
    """
    return b"".join(_build_statement(sql, parameters) for sql in statements) + build_sync()


def _build_statement(sql: str, parameters: list[bytes | None]) -> bytes:
    """Parse, Bind and Execute of the unnamed statement; PostgreSQL infers the types of its parameters."""
    values = [_pack_int(-1) if value is None else _pack_int(len(value)) + value for value in parameters]
    bound = b"\0\0\0\0" + _pack_short(len(values)) + b"".join(values) + b"\0\0"
    parsed = b"\0" + encode_text(sql) + b"\0\0"
    return build_message(b"P", parsed) + build_message(b"B", bound) + build_message(b"E", b"\0" + bytes(4))


def parse_data_row(body: bytes) -> list[bytes | None]:
    """Give the values of a DataRow, None for NULL. Raises BackendProtocolError."""
    values: list[bytes | None] = []
    position = 2
    try:
        for _ in range(int.from_bytes(body[:2], "big")):
            size = _unpack_int(body, position)[0]
            position += 4
            values.append(None if size < 0 else body[position : position + size])
            position += max(size, 0)
    except struct.error:
        position = -1
    if position != len(body):
        raise BackendProtocolError("a DataRow that does not hold what it counts")
    return values
