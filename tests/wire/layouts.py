"""What the body of each message holds: one table for a server's messages and one for a client's.

Source: PostgreSQL manual, "Message Formats", "Error and Notice Message Fields".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.wire.cursor import Cursor

Fields = dict[str, Any]
Layout = tuple[str, Callable[[Cursor], Fields]]  # the message's name, and the reader of its body

_AUTHENTICATIONS = {
    0: "Ok",
    3: "CleartextPassword",
    5: "MD5Password",
    10: "SASL",
    11: "SASLContinue",
    12: "SASLFinal",
}


def _nothing(body: Cursor) -> Fields:
    return {}


def _authentication(body: Cursor) -> Fields:
    code = body.int32()
    fields: Fields = {"method": _AUTHENTICATIONS.get(code, str(code))}
    if code == 5:
        fields["salt"] = body.take(4)
    elif code == 10:
        fields["mechanisms"] = _strings_to_empty(body)
    elif code in (11, 12):
        fields["data"] = body.rest()
    return fields


def _strings_to_empty(body: Cursor) -> list[str]:
    strings = []
    while text := body.cstring():
        strings.append(text)
    return strings


def _error(body: Cursor) -> Fields:
    fields = {}
    while (letter := body.byte()) != "\0":
        fields[letter] = body.cstring()
    return fields


def _row_description(body: Cursor) -> Fields:
    columns = []
    for _ in range(body.int16()):
        column = {
            "name": body.cstring(),
            "table": body.uint32(),
            "number": body.int16(),
            "type": body.uint32(),
        }
        column |= {"size": body.int16(), "modifier": body.int32(), "format": body.int16()}
        columns.append(column)
    return {"columns": columns}


def _copy_response(body: Cursor) -> Fields:
    return {"format": int.from_bytes(body.take(1)), "column_formats": body.int16s()}


def _negotiate(body: Cursor) -> Fields:
    return {"newest_minor": body.int32(), "unknown_options": [body.cstring() for _ in range(body.int32())]}


def _bind(body: Cursor) -> Fields:
    names = {"portal": body.cstring(), "statement": body.cstring()}
    return names | {"formats": body.int16s(), "values": body.values(), "result_formats": body.int16s()}


def _kind_and_name(body: Cursor) -> Fields:
    return {"kind": body.byte(), "name": body.cstring()}


def _function_call(body: Cursor) -> Fields:
    call = {"function": body.uint32(), "formats": body.int16s(), "values": body.values()}
    return call | {"result_format": body.int16()}


def _text(field: str) -> Callable[[Cursor], Fields]:
    return lambda body: {field: body.cstring()}


def _data(field: str) -> Callable[[Cursor], Fields]:
    return lambda body: {field: body.rest()}


SERVER_LAYOUTS: dict[bytes, Layout] = {
    b"R": ("Authentication", _authentication),
    b"K": ("BackendKeyData", lambda body: {"pid": body.int32(), "key": body.rest()}),
    b"2": ("BindComplete", _nothing),
    b"3": ("CloseComplete", _nothing),
    b"C": ("CommandComplete", _text("tag")),
    b"d": ("CopyData", _data("data")),
    b"c": ("CopyDone", _nothing),
    b"G": ("CopyInResponse", _copy_response),
    b"H": ("CopyOutResponse", _copy_response),
    b"W": ("CopyBothResponse", _copy_response),
    b"D": ("DataRow", lambda body: {"values": body.values()}),
    b"I": ("EmptyQueryResponse", _nothing),
    b"E": ("ErrorResponse", _error),
    b"V": ("FunctionCallResponse", lambda body: {"value": body.value()}),
    b"v": ("NegotiateProtocolVersion", _negotiate),
    b"n": ("NoData", _nothing),
    b"N": ("NoticeResponse", _error),
    b"A": (
        "NotificationResponse",
        lambda body: {"pid": body.int32(), "channel": body.cstring(), "payload": body.cstring()},
    ),
    b"t": ("ParameterDescription", lambda body: {"types": body.uint32s()}),
    b"S": ("ParameterStatus", lambda body: {"name": body.cstring(), "value": body.cstring()}),
    b"1": ("ParseComplete", _nothing),
    b"s": ("PortalSuspended", _nothing),
    b"Z": ("ReadyForQuery", lambda body: {"status": body.byte()}),
    b"T": ("RowDescription", _row_description),
}

CLIENT_LAYOUTS: dict[bytes, Layout] = {
    b"B": ("Bind", _bind),
    b"C": ("Close", _kind_and_name),
    b"d": ("CopyData", _data("data")),
    b"c": ("CopyDone", _nothing),
    b"f": ("CopyFail", _text("reason")),
    b"D": ("Describe", _kind_and_name),
    b"E": ("Execute", lambda body: {"portal": body.cstring(), "limit": body.int32()}),
    b"H": ("Flush", _nothing),
    b"F": ("FunctionCall", _function_call),
    b"P": ("Parse", lambda body: {"name": body.cstring(), "sql": body.cstring(), "types": body.uint32s()}),
    b"p": ("Password", _data("data")),  # or a SASL response: only the conversation tells which
    b"Q": ("Query", _text("sql")),
    b"S": ("Sync", _nothing),
    b"X": ("Terminate", _nothing),
}
