"""Reads the fields of one message's body, and notices when they do not fill it exactly."""

from __future__ import annotations

import struct


class WireFormatError(Exception):
    """The bytes are not what the protocol says."""


class Cursor:
    """A place in a message's body; every read moves it on, or raises WireFormatError."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def __len__(self) -> int:
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        if count < 0 or count > len(self):
            raise WireFormatError(f"{count} bytes wanted, {len(self)} left")
        self._at += count
        return self._body[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(len(self))

    def byte(self) -> str:
        return self.take(1).decode("latin-1")

    def int16(self) -> int:
        return int.from_bytes(self.take(2), signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), signed=True)

    def uint32(self) -> int:
        return int.from_bytes(self.take(4))

    def int16s(self) -> list[int]:
        """A count and as many 16-bit numbers."""
        count = self.int16()
        return list(struct.unpack(f"!{count}h", self.take(2 * count)))

    def uint32s(self) -> list[int]:
        """A count (16 bits) and as many unsigned 32-bit numbers."""
        count = self.int16()
        return list(struct.unpack(f"!{count}I", self.take(4 * count)))

    def cstring(self) -> str:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise WireFormatError("a string does not end")
        text = self.take(end - self._at)
        self._at += 1
        return text.decode("utf-8", "surrogateescape")

    def values(self) -> list[bytes | None]:
        """A count (16 bits) and as many values, each with its length before it, -1 for NULL."""
        return [self.value() for _ in range(self.int16())]

    def value(self) -> bytes | None:
        length = self.int32()
        return None if length == -1 else self.take(length)

    def end(self) -> None:
        """Raises WireFormatError unless all is read."""
        if len(self):
            raise WireFormatError(f"{len(self)} bytes too many")
