"""What was said on a connection, for people to read: one line for each message, with its time and
direction.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from tests.wire.messages import Message, Sender, WireFormatError, split_messages

_ARROWS = {"client": "→", "server": "←", "": " "}
_LONGEST_BYTES = 100
_MOST_LINES = 500  # the latest: a test may stream gigabytes


@dataclass
class Transcript:
    """The lines so far; `title` says whose conversation it is."""

    title: str

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._said: deque[tuple[float, Sender | None, Message | str]] = deque(maxlen=_MOST_LINES)
        self._count = 0

    def note(self, text: str, sender: Sender | None = None) -> None:
        """Adds a remark, or what no message is."""
        self._append(sender, text)

    def add(self, message: Message) -> None:
        """Adds one message."""
        self._append(message.sender, message)  # decoded only when somebody reads this

    def add_sent(self, data: bytes) -> None:
        """Adds what a client sent: its messages if it is made of whole ones, else the bytes."""
        try:
            messages, rest = split_messages(data, "client")
        except WireFormatError:
            messages, rest = [], data
        for message in messages:
            self.add(message)
        if rest:
            shown = rest[:_LONGEST_BYTES]
            self.note(f"{len(rest)} bytes {shown!r}{'…' if len(rest) > len(shown) else ''}", "client")

    def __str__(self) -> str:
        left_out = self._count - len(self._said)
        beginning = [self.title, f"({left_out} lines left out)"] if left_out else [self.title]
        return "\n".join([*beginning, *(self._line(*entry) for entry in self._said)])

    def _append(self, sender: Sender | None, what: Message | str) -> None:
        self._said.append((time.monotonic(), sender, what))
        self._count += 1

    def _line(self, at: float, sender: Sender | None, what: Message | str) -> str:
        return f"{(at - self._began) * 1000:10.1f} ms {_ARROWS[sender or '']} {what!s}"
