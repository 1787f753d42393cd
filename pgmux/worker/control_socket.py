"""The control socket: JSON lines on a Unix socket that all workers accept from; see control/answers.py.

Any worker answers with the figures of all, so one that is stuck, or stopped, keeps nobody waiting: it takes
no connection, another does. Who may connect is root, and the user that pgmux runs as (SO_PEERCRED, unix(7));
who connects may give every command.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress

import msgspec
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer

from pgmux.control.answers import MAX_REQUEST_BYTES, Failed, Progress, Reply, decode_asked, encode_line
from pgmux.control.clerk import Clerk
from pgmux.control.commands import Right
from pgmux.control.request import RequestError, parse_words
from pgmux.worker.asker import Asker, AskerGoneError
from pgmux.worker.workload import Workload

_AT_ONCE = 64  # connections of one worker
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class ControlSocket:
    """One worker's share of the control socket."""

    def __init__(self, listener: socket.socket, clerk: Clerk, workload: Workload) -> None:
        self._clerk = clerk
        self._workload = workload
        own = socket.socket(fileno=os.dup(listener.fileno()))
        self._server = StreamServer(own, self._serve, spawn=Pool(_AT_ONCE))

    def start(self) -> None:
        """Accept connections."""
        self._server.start()

    def shut(self) -> None:
        """Accept no more, but answer who is in."""
        self._server.stop_accepting()

    def stop(self) -> None:
        """Accept no more, and break off what is not answered yet."""
        self._server.stop(timeout=0)

    def _serve(self, connection: socket.socket, _: object) -> None:
        """One connection, to its end."""
        pid, uid, _gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        with suppress(OSError, AskerGoneError), connection:
            if uid not in (0, os.geteuid()):
                refusal = Failed(
                    "42501", f"uid {uid} may not use the control socket", "Be root, or pgmux's own user."
                )
                connection.sendall(encode_line(refusal))
                return

            def tell(words: str) -> None:
                connection.sendall(encode_line(Progress(words)))

            asker = Asker(Right.ADMIN, f"pid {pid} (uid {uid})", connection, self._workload, tell=tell)
            for line in _lines(connection):
                with self._workload:
                    for reply in self._answer(line, asker):
                        connection.sendall(encode_line(reply))

    def _answer(self, line: bytes, asker: Asker) -> Iterator[Reply]:
        try:
            asked = decode_asked(line)
            yield from self._clerk.answer(parse_words(asked.command), asker)
        except msgspec.DecodeError as error:
            hint = 'Send one object a line, as {"command": ["show", "pools"]}'
            yield Failed("42601", f"not a request: {error}", hint)
        except RequestError as error:
            yield Failed(error.sqlstate, str(error), error.hint)


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """The lines that come; none is longer than MAX_REQUEST_BYTES, or it ends there."""
    buffer = b""
    while data := connection.recv(MAX_REQUEST_BYTES):
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines
        if len(buffer) > MAX_REQUEST_BYTES:
            yield buffer
            return
