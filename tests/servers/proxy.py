"""A proxy of bytes between two ends, that can be told to fail like a network.

with Proxy(postgres.host, postgres.port) as proxy:       # connect to proxy.host, proxy.port proxy.hold()
# silence, from this line on proxy.cut()                                           # both ends see the
connection end

One thread moves the bytes under one lock, and every verb takes that lock: when it returns, it is in force.
Connections are in `proxy.connections`, oldest first, with what came from each side in `to_server.recorded`
and `to_client.recorded`.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pgmux.demo.ports import free_port, give_back
from tests.servers.stream import Fault, Stream
from tests.servers.waiting import wait_until


class Connection:
    """One client that came to the proxy, and its way on to the server."""

    def __init__(
        self, client: socket.socket, server: socket.socket, to_server: Fault, to_client: Fault
    ) -> None:
        self.client = client
        self.server = server
        self.to_server = Stream(client, server, to_server)
        self.to_client = Stream(server, client, to_client)
        self.is_open = True

    @property
    def streams(self) -> tuple[Stream, Stream]:
        return self.to_server, self.to_client

    def close(self, with_reset: bool = False) -> None:
        """Ends both sides; `with_reset` by RST, as a machine does that knows of no connection (TCP only)."""
        self.is_open = False
        for end in (self.client, self.server):
            if with_reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                with suppress(OSError):  # FIN first, and nothing left unread: close(2) would make it a RST
                    end.shutdown(socket.SHUT_WR)
                    while end.recv(65536):
                        pass
            end.close()


class Proxy:
    """Listens for clients of the server at (host, port).

    A host that begins with "/" is a Unix socket's folder. It listens on TCP, or with `unix` on a Unix socket;
    `host` and `port` say where, in the same way.
    """

    def __init__(self, host: str, port: int, *, unix: bool = False) -> None:
        self._target = (host, port)
        self._folder = Path(tempfile.mkdtemp(prefix="pgmux-proxy-")) if unix else None
        self.port = free_port()
        self.host = str(self._folder) if self._folder else "127.0.0.1"
        self.to_server = Fault()
        self.to_client = Fault()
        self.connections: list[Connection] = []
        self._lock = threading.Lock()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK)
        self._is_stopping = False
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name=f"proxy {self.port}", daemon=True)

    def __enter__(self) -> Self:
        self.allow()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._wake()
        self._thread.join()
        self.refuse()
        for connection in self._open():
            connection.close()
        os.close(self._alarm)
        give_back(self.port)
        if self._folder:
            shutil.rmtree(self._folder)

    def hold(self) -> None:
        """Lets nothing pass any more, in either direction."""
        self._set(is_held=True)

    def release(self) -> None:
        """Ends `hold`: what came meanwhile passes."""
        self._set(is_held=False)

    def delay(self, seconds: float) -> None:
        """Passes on what comes from now on so much later, in either direction."""
        self._set(delay_s=seconds)

    def split(self, piece_bytes: int) -> None:
        """Passes everything on in pieces of so many bytes; 0 ends that."""
        self._set(piece_bytes=piece_bytes)

    def cut(self) -> None:
        """Ends all connections in order, as seen from either end."""
        self._close_all(with_reset=False)

    def reset(self) -> None:
        """Ends all connections by RST."""
        self._close_all(with_reset=True)

    def refuse(self) -> None:
        """Takes no new connections: they are refused. Those that there are go on."""
        with self._lock:
            if self._listener:
                self._listener.shutdown(socket.SHUT_RDWR)  # at once, though poll(2) may hold it open yet
                self._listener.close()
                self._listener = None
                if self._folder:
                    self._socket_path().unlink()

    def allow(self) -> None:
        """Takes connections (again)."""
        with self._lock:
            if self._listener is None:
                self._listener = self._listen()
        self._wake()

    def wait_for_connections(self, count: int, timeout: float = 10.0) -> None:
        """Waits until so many have come, counting those that ended."""
        wait_until(lambda: len(self.connections) >= count, timeout, f"{count} connections through the proxy")

    def _set(self, **faults: float) -> None:
        with self._lock:
            for fault in (self.to_server, self.to_client):
                for name, value in faults.items():
                    setattr(fault, name, value)
        self._wake()

    def _close_all(self, with_reset: bool) -> None:
        with self._lock:
            for connection in self._open():
                connection.close(with_reset)
        self._wake()

    def _open(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.is_open]

    def _listen(self) -> socket.socket:
        if self._folder is None:
            return socket.create_server((self.host, self.port), backlog=1024)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._socket_path()))
        listener.listen(1024)
        return listener

    def _socket_path(self) -> Path:
        return Path(self.host) / f".s.PGSQL.{self.port}"

    def _wake(self) -> None:
        os.eventfd_write(self._alarm, 1)

    # What the thread does

    def _serve(self) -> None:
        while not self._is_stopping:
            with self._lock:
                poll, timeout_ms = self._interest()
            events = dict(poll.poll(timeout_ms))
            if events.pop(self._alarm, 0):
                os.eventfd_read(self._alarm)
                continue  # something was changed: ask anew what is wanted
            with self._lock:
                self._act(events)

    def _interest(self) -> tuple[select.poll, float | None]:
        """What to wait for, and for how many milliseconds at most."""
        masks = {self._alarm: select.POLLIN}
        dues = []
        if self._listener:
            masks[self._listener.fileno()] = select.POLLIN
        for stream in (stream for connection in self._open() for stream in connection.streams):
            if stream.wants_to_read():
                masks[stream.source.fileno()] = masks.get(stream.source.fileno(), 0) | select.POLLIN
            if stream.wants_to_write():
                masks[stream.sink.fileno()] = masks.get(stream.sink.fileno(), 0) | select.POLLOUT
            elif (due := stream.due_in()) is not None:
                dues.append(due)
        poll = select.poll()
        for descriptor, mask in masks.items():
            poll.register(descriptor, mask)
        return poll, min(dues) * 1000 + 1 if dues else None

    def _act(self, events: dict[int, int]) -> None:
        if self._listener and events.get(self._listener.fileno()):
            self._accept(self._listener)
        for connection in self._open():
            try:
                for stream in connection.streams:
                    _move(stream, events)
            except OSError:  # one side is broken: so is then the other
                connection.close(with_reset=True)
            else:
                if all(stream.has_ended for stream in connection.streams):
                    connection.close()

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        try:
            server = _connect(*self._target)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setblocking(False)
            if end.family != socket.AF_UNIX:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.append(Connection(client, server, self.to_server, self.to_client))


def _move(stream: Stream, events: dict[int, int]) -> None:
    broken = select.POLLERR | select.POLLHUP
    if stream.wants_to_read() and events.get(stream.source.fileno(), 0) & (select.POLLIN | broken):
        with suppress(BlockingIOError):
            stream.read()
    if stream.wants_to_write() and events.get(stream.sink.fileno(), 0) & (select.POLLOUT | broken):
        stream.write()


def _connect(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection
