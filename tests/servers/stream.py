"""One direction of one proxied connection: bytes on their way from a socket to another.

The proxy's thread asks what a stream waits for, and lets it act when poll(2) says so. What delays or splits
the bytes is the Fault of its direction, which all connections of a proxy share and a test may change at any
time.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from dataclasses import dataclass

_MOST_PENDING_BYTES = 256 * 1024  # more is left in the kernel, whose sender then feels the back-pressure


@dataclass
class Fault:
    """What is wrong with the line in one direction."""

    is_held: bool = False  # nothing passes, not even the end; the sender's buffers fill up
    delay_s: float = 0.0  # what arrives is passed on so much later
    piece_bytes: int = 0  # it is passed on in pieces of at most so many bytes; 0 = as it came
    piece_gap_s: float = 0.001  # between two pieces, so that the reader gets them singly


class Stream:
    """Bytes from `source` to `sink`; `recorded` are all that came."""

    def __init__(self, source: socket.socket, sink: socket.socket, fault: Fault) -> None:
        self.source = source
        self.sink = sink
        self.fault = fault
        self.recorded = bytearray()
        self.has_ended = False  # the source said so, and the sink was told
        self._source_ended = False
        self._pending: deque[tuple[float, bytes]] = deque()  # when it may go on, and what
        self._next_piece_at = 0.0

    @property
    def pending_bytes(self) -> int:
        """How many bytes came and did not go on yet."""
        return sum(len(data) for _, data in self._pending)

    def wants_to_read(self) -> bool:
        return not (self._source_ended or self.fault.is_held) and self.pending_bytes < _MOST_PENDING_BYTES

    def wants_to_write(self) -> bool:
        return self.due_in() == 0.0

    def due_in(self) -> float | None:
        """Seconds until the next bytes, or the end, may go on; None while nothing may."""
        if self.has_ended or self.fault.is_held or not (self._pending or self._source_ended):
            return None
        if not self._pending:
            return 0.0
        return max(0.0, self._pending[0][0] - time.monotonic(), self._next_piece_at - time.monotonic())

    def read(self) -> None:
        """Takes what has come. Raises OSError, as recv(2) does, of a broken connection."""
        data = self.source.recv(65536)
        if not data:
            self._source_ended = True
            return
        self.recorded += data
        self._pending.append((time.monotonic() + self.fault.delay_s, data))

    def write(self) -> None:
        """Passes on what is due: one piece, or the end. Raises OSError of a broken connection."""
        if not self._pending:
            self.sink.shutdown(socket.SHUT_WR)
            self.has_ended = True
            return
        due, data = self._pending.popleft()
        piece = data[: self.fault.piece_bytes or len(data)]
        try:
            sent = self.sink.send(piece)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._pending.appendleft((due, data[sent:]))
        if self.fault.piece_bytes:
            self._next_piece_at = time.monotonic() + self.fault.piece_gap_s
