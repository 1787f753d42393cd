"""The messages in which a result is told: its columns, its rows and its end, in text or binary form.

For results that pgmux makes itself, on its console. Pure functions, bytes out.

Manual: chapter "Frontend/Backend Protocol", section "Message Formats". The binary forms are those of each
type's send function, which the manual leaves to the source: int4send, int8send, textsend, numeric_send.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

from pgmux.protocol.messages import build_message, encode_text

Value = str | int | None

TEXT_FORMAT: Final = 0
BINARY_FORMAT: Final = 1

_NUMERIC_BASE: Final = 10_000
_NUMERIC_NEGATIVE: Final = 0x4000

_pack_int2 = struct.Struct("!h").pack
_pack_int4 = struct.Struct("!i").pack
_pack_int8 = struct.Struct("!q").pack


class Type(Enum):
    """A type of PostgreSQL's, as results need it: its OID and its size in bytes, -1 = varying."""

    TEXT = (25, -1)
    INT4 = (23, 4)
    INT8 = (20, 8)
    NUMERIC = (1700, -1)

    def __init__(self, oid: int, size: int) -> None:
        self.oid = oid
        self.size = size


def build_row_description(columns: Iterable[tuple[str, Type]], formats: Sequence[int]) -> bytes:
    """Give RowDescription; `formats` has each column's format."""
    fields = [
        encode_text(name) + struct.pack("!ihihih", 0, 0, kind.oid, kind.size, -1, form)
        for (name, kind), form in zip(columns, formats, strict=True)
    ]
    return build_message(b"T", _pack_int2(len(fields)) + b"".join(fields))


def build_data_row(values: Sequence[Value], types: Sequence[Type], formats: Sequence[int]) -> bytes:
    """Give DataRow; a value that is None is told as NULL."""
    parts = [_pack_int2(len(values))]
    for value, kind, form in zip(values, types, formats, strict=True):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
            continue
        data = _BINARY[kind](value) if form == BINARY_FORMAT else _encode(value)
        parts += (_pack_int4(len(data)), data)
    return build_message(b"D", b"".join(parts))


def build_command_complete(tag: str) -> bytes:
    """Give CommandComplete."""
    return build_message(b"C", encode_text(tag))


def build_empty_query_response() -> bytes:
    """Give EmptyQueryResponse: there was nothing to be done."""
    return b"I\0\0\0\x04"


def build_parse_complete() -> bytes:
    """Give ParseComplete."""
    return b"1\0\0\0\x04"


def build_bind_complete() -> bytes:
    """Give BindComplete."""
    return b"2\0\0\0\x04"


def build_close_complete() -> bytes:
    """Give CloseComplete."""
    return b"3\0\0\0\x04"


def build_no_data() -> bytes:
    """Give NoData: what was described returns no rows."""
    return b"n\0\0\0\x04"


def build_parameter_description(oids: Sequence[int]) -> bytes:
    """Give ParameterDescription with the types of a statement's parameters."""
    return build_message(b"t", struct.pack(f"!h{len(oids)}I", len(oids), *oids))


def build_portal_suspended() -> bytes:
    """Give PortalSuspended: the row limit was reached, and there may be more."""
    return b"s\0\0\0\x04"


def _encode(value: str | int) -> bytes:
    """The text form. A NUL, which no text of PostgreSQL's can hold, becomes a question mark."""
    return str(value).replace("\0", "?").encode("utf-8", "replace")


def _encode_int4(value: str | int) -> bytes:
    return _pack_int4(int(value))


def _encode_int8(value: str | int) -> bytes:
    return _pack_int8(int(value))


def _encode_numeric(value: str | int) -> bytes:
    """A whole number: digits of base 10,000, the first with its weight, and no fraction."""
    rest, digits = abs(int(value)), []
    while rest:
        rest, digit = divmod(rest, _NUMERIC_BASE)
        digits.append(digit)
    weight = max(len(digits) - 1, 0)
    while digits and digits[0] == 0:
        del digits[0]
    sign = _NUMERIC_NEGATIVE if int(value) < 0 else 0
    return struct.pack(f"!HhHH{len(digits)}H", len(digits), weight, sign, 0, *reversed(digits))


_BINARY: Final[dict[Type, Callable[[str | int], bytes]]] = {
    Type.TEXT: _encode,
    Type.INT4: _encode_int4,
    Type.INT8: _encode_int8,
    Type.NUMERIC: _encode_numeric,
}
