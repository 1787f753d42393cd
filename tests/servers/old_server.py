"""A PostgreSQL from before versions were negotiated: in front of a real one, it takes protocol 3.0 alone."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Self

from pgmux.demo.embedded import EmbeddedPostgres
from tests.wire.frontend import message

_REFUSAL = message(b"E", b"SFATAL\0C0A000\0Munsupported frontend protocol: server supports 1.0 to 3.0\0\0")


class OldServer:
    """Listens on 127.0.0.1; what it takes goes to `postgres` unchanged. `asked`: the versions asked for."""

    host = "127.0.0.1"

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        *,
        newest: tuple[int, int] | None = (3, 0),
        says_why: bool = True,
    ) -> None:
        """`newest`: the one that it takes, None = it takes none; `says_why`: or it closes without a word."""
        self.asked: list[tuple[int, int]] = []
        self._postgres = postgres
        self._newest = newest
        self._says_why = says_why
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            packet = client.recv(4, socket.MSG_WAITALL)
            packet += client.recv(struct.unpack("!i", packet)[0] - 4, socket.MSG_WAITALL)
            version = struct.unpack_from("!HH", packet, 4)
            if version[0] == 3:
                self.asked.append(version)
                if version != self._newest:
                    if self._says_why:
                        client.sendall(_REFUSAL)
                    client.shutdown(socket.SHUT_WR)
                    return
            server = socket.socket(socket.AF_UNIX)
            self._sockets.append(server)
            server.connect(f"{self._postgres.socket_dir}/.s.PGSQL.{self._postgres.port}")
            server.sendall(packet)
            Thread(target=_pump, args=(server, client), daemon=True).start()
            _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
