"""Messages of protocol v3, both directions, decoded field by field.

`Message.fields` has every field under a short name; the body must hold exactly these. The same type byte
means different things from a client and from a server, therefore a message knows who sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tests.wire.cursor import Cursor, WireFormatError
from tests.wire.layouts import CLIENT_LAYOUTS, SERVER_LAYOUTS, Fields

__all__ = ["Message", "Replies", "Sender", "WireFormatError", "split_messages"]

Sender = Literal["client", "server"]

_LONGEST_REPR = 400


@dataclass(frozen=True)
class Message:
    """One message: its type byte and its body. Asking for a field may raise WireFormatError."""

    type: bytes
    body: bytes
    sender: Sender = "server"

    @property
    def name(self) -> str:
        """The manual's name of it, such as "ReadyForQuery"."""
        return self._layout[0]

    @cached_property
    def fields(self) -> Fields:
        """All fields by name."""
        cursor = Cursor(self.body)
        decoded: Fields = self._layout[1](cursor)
        cursor.end()
        return decoded

    def __getitem__(self, field: str) -> Any:
        try:
            return self.fields[field]
        except KeyError:
            raise WireFormatError(f"{self.name} has no {field}, only {', '.join(self.fields)}") from None

    def __repr__(self) -> str:
        try:
            told = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        except WireFormatError as error:
            told = f"undecodable ({error}): {self.body!r}"
        text = f"{self.name}({told})"
        return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}… {len(self.body)} bytes)"

    @property
    def _layout(self) -> tuple[str, Any]:
        layouts = SERVER_LAYOUTS if self.sender == "server" else CLIENT_LAYOUTS
        if self.type not in layouts:
            raise WireFormatError(f"a {self.sender} sends no message of type {self.type!r}")
        return layouts[self.type]


class Replies(list[Message]):
    """Messages of a server, in order, with what one usually wants to know of them."""

    @property
    def types(self) -> bytes:
        """All type bytes: b"TDCZ" is the answer to a simple SELECT of one row."""
        return b"".join(message.type for message in self)

    def of(self, kind: bytes) -> Replies:
        """Those of one type."""
        return Replies(message for message in self if message.type == kind)

    @property
    def rows(self) -> list[list[bytes | None]]:
        """The values of all DataRows."""
        return [message["values"] for message in self.of(b"D")]

    @property
    def value(self) -> bytes | None:
        """The one value of the one row."""
        ((value,),) = self.rows
        return value

    @property
    def tags(self) -> list[str]:
        """The command tags, in order."""
        return [message["tag"] for message in self.of(b"C")]

    @property
    def errors(self) -> list[dict[str, str]]:
        """The fields of all ErrorResponses, by their letters ("C" is the SQLSTATE, "M" the message)."""
        return [message.fields for message in self.of(b"E")]

    @property
    def error(self) -> dict[str, str]:
        """The fields of the one ErrorResponse."""
        (fields,) = self.errors
        return fields

    @property
    def sqlstate(self) -> str:
        """The SQLSTATE of the one ErrorResponse."""
        return self.error["C"]

    @property
    def status(self) -> str:
        """The transaction status of the last ReadyForQuery: I, T or E."""
        status: str = self.of(b"Z")[-1]["status"]
        return status


def split_messages(data: bytes, sender: Sender) -> tuple[list[Message], bytes]:
    """The complete messages at the beginning of some bytes, and what is left. Raises WireFormatError."""
    found = []
    while len(data) >= 5:
        end = 1 + int.from_bytes(data[1:5], signed=True)
        if end < 5:
            raise WireFormatError(f"a message of length {end - 1}: {data[:40]!r}")
        if end > len(data):
            break
        found.append(Message(data[:1], data[5:end], sender))
        data = data[end:]
    return found, data
