"""The bytes of every message that a client sends.

Source: PostgreSQL manual, "Message Formats". Nothing is checked, so that wrong messages can be made too:
`message` takes a length of the caller's choice.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Text = str | bytes

CANCEL_CODE, SSL_CODE, GSSENC_CODE = (1234 << 16 | low for low in (5678, 5679, 5680))


def message(kind: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A message of a type byte and a body, of its true length (which counts itself) unless one is given."""
    return kind + struct.pack("!i", len(body) + 4 if length is None else length) + body


def untyped(body: bytes, length: int | None = None) -> bytes:
    """What comes before the log-in: a length and a body without a type byte."""
    return message(b"", body, length)


def startup(parameters: Mapping[str, str], version: tuple[int, int] = (3, 0)) -> bytes:
    pairs = b"".join(_cstring(name) + _cstring(value) for name, value in parameters.items())
    return untyped(struct.pack("!HH", *version) + pairs + b"\0")


def ssl_request() -> bytes:
    return untyped(struct.pack("!i", SSL_CODE))


def gssenc_request() -> bytes:
    return untyped(struct.pack("!i", GSSENC_CODE))


def cancel_request(pid: int, key: bytes) -> bytes:
    return untyped(struct.pack("!ii", CANCEL_CODE, pid) + key)


def password(secret: Text) -> bytes:
    return message(b"p", _cstring(secret))


def sasl_initial_response(mechanism: str, response: bytes) -> bytes:
    return message(b"p", _cstring(mechanism) + struct.pack("!i", len(response)) + response)


def sasl_response(response: bytes) -> bytes:
    return message(b"p", response)


def query(sql: Text) -> bytes:
    return message(b"Q", _cstring(sql))


def parse(sql: Text, name: Text = "", types: Sequence[int] = ()) -> bytes:
    return message(b"P", _cstring(name) + _cstring(sql) + struct.pack(f"!h{len(types)}I", len(types), *types))


def bind(
    values: Sequence[bytes | None] = (),
    statement: Text = "",
    portal: Text = "",
    formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """Bind; `formats` and `result_formats` are 0 for text and 1 for binary, none at all means text."""
    names = _cstring(portal) + _cstring(statement)
    return message(b"B", names + _int16s(formats) + _values(values) + _int16s(result_formats))


def describe_statement(name: Text = "") -> bytes:
    return message(b"D", b"S" + _cstring(name))


def describe_portal(name: Text = "") -> bytes:
    return message(b"D", b"P" + _cstring(name))


def execute(portal: Text = "", limit: int = 0) -> bytes:
    return message(b"E", _cstring(portal) + struct.pack("!i", limit))


def close_statement(name: Text = "") -> bytes:
    return message(b"C", b"S" + _cstring(name))


def close_portal(name: Text = "") -> bytes:
    return message(b"C", b"P" + _cstring(name))


def sync() -> bytes:
    return message(b"S")


def flush() -> bytes:
    return message(b"H")


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


def copy_done() -> bytes:
    return message(b"c")


def copy_fail(reason: Text) -> bytes:
    return message(b"f", _cstring(reason))


def function_call(function: int, values: Sequence[bytes | None] = (), formats: Sequence[int] = ()) -> bytes:
    """FunctionCall of the function with that OID; the result is asked for as text."""
    return message(
        b"F", struct.pack("!i", function) + _int16s(formats) + _values(values) + struct.pack("!h", 0)
    )


def terminate() -> bytes:
    return message(b"X")


def extended(sql: Text, values: Sequence[bytes | None] = ()) -> bytes:
    """A statement by the unnamed statement and portal: Parse, Bind, Describe, Execute, Sync in one piece."""
    return parse(sql) + bind(values) + describe_portal() + execute() + sync()


def _cstring(text: Text) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def _int16s(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"!h{len(numbers)}h", len(numbers), *numbers)


def _values(values: Sequence[bytes | None]) -> bytes:
    told = (
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values
    )
    return struct.pack("!h", len(values)) + b"".join(told)
