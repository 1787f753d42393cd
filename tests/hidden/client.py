"""A client that is asked what it was told: one of the two that run a situation's program by turns."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tests.wire import LoginRefusedError, Message, Wire, WireClosedError, WireTimeoutError
from tests.wire.frontend import query

TIMEOUT_S = 3.0
NOTHING = "nothing heard"


class Client:
    """One of the two; `told` is what it was told, a text for each row, error and notification."""

    def __init__(self, host: str, port: int, number: int) -> None:
        self.number = number
        self.told: list[str] = []
        self._address = (host, port)
        self._wires: list[Wire] = []
        self.log_in()

    def log_in(self, **parameters: Any) -> None:
        """Begins a session, also in place of the one that it has."""
        self.leave()
        self._wires.append(self._connected(**parameters))

    def leave(self) -> None:
        """Ends its session, politely."""
        while self._wires:
            with suppress(OSError):
                self._wires.pop().terminate()

    def ask(self, *requests: str | bytes) -> list[str]:
        """Sends texts, or messages up to and with one Sync; gives and notes what it is told."""
        told = []
        for request in requests:
            message = query(request.replace("{n}", str(self.number))) if isinstance(request, str) else request
            told += self._answers(message)
        self.told += told
        return told

    def hear(self) -> None:
        """Notes the next notification, which comes without a question."""
        try:
            self.told += _in_words(self._wires[0].read_until(b"A"))
        except (WireTimeoutError, WireClosedError):
            self.told.append(NOTHING)

    def notify(self, channel: str, payload: str) -> None:
        """Has another session notify."""
        with self._connected() as other:
            other.query(f"NOTIFY {channel}, '{payload}'")

    def _answers(self, message: bytes) -> list[str]:
        try:
            return _in_words(self._wires[0].ask(message))
        except WireTimeoutError:
            return ["no answer"]
        except (WireClosedError, OSError, IndexError):
            return ["connection closed"]

    def _connected(self, **parameters: Any) -> Wire:
        wire = Wire(*self._address, timeout_s=TIMEOUT_S)
        try:
            wire.startup(**parameters)
        except LoginRefusedError as refused:
            self.told.append(f"ERROR {refused.sqlstate}: {refused.fields['M']}")
        return wire


def _in_words(messages: list[Message]) -> list[str]:
    told = []
    for message in messages:
        if message.type == b"D":
            told.append(", ".join("NULL" if v is None else v.decode() for v in message["values"]))
        elif message.type == b"E":
            told.append(f"ERROR {message.fields['C']}: {message.fields['M']}")
        elif message.type == b"A":
            told.append(f"{message['channel']} {message['payload']}")
    return told
