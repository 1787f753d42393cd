"""Relays in the test's own process: clients and backends are sockets whose other ends the test holds.

Nothing runs by itself: `run` lets every relay serve what has come, and the test sees what it says of it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from pgmux.relay.endpoint import Client, Greeting
from pgmux.relay.relay import Relay
from pgmux.session.client_login import Step
from pgmux.session.doors import Doors
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.pools import Pools
from tests.shm.world import World
from tests.wire.frontend import message, startup

POOL = 0
READY, IN_TRANSACTION = message(b"Z", b"I"), message(b"Z", b"T")
DONE = message(b"C", b"SELECT 1\0")
ERROR = message(b"E", b"SERROR\0C57014\0Mcancelled\0\0")
LET_IN = Greeting(POOL, 0, b"", b"", None, 0)
ROUNDS = 6  # of all relays: enough for whatever one's doing makes another do


class Desk:
    """Lets in whoever says anything at all, unless the log-in's machine has refused it."""

    def __init__(self) -> None:
        self.relay: Relay

    def hear(self, client: Client) -> None:
        if client.login is not None and client.login.step is Step.REFUSED:
            self.relay.send_off(client)
        else:
            assert self.relay.try_join(client, POOL, 0)
            self.relay.admit(client, LET_IN)

    def malformed(self, kind: str) -> bytes:
        return ERROR

    def backend_lost(self) -> bytes:
        return ERROR

    def arrived(self, client: Client) -> None:
        pass

    def parted(self, client: Client) -> None:
        pass

    def overrun(self, limit_bytes: int) -> bytes:
        return ERROR


class Peer:
    """The test's end of a client's or backend's connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection

    def send(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def received(self) -> bytes:
        """All that has come since the last time."""
        data = b""
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
        except BlockingIOError:
            pass
        return data

    def has_ended(self) -> bool:
        """Whether the other side says no more. What it said before is read and gone."""
        self.received()
        try:
            return self.socket.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.socket.close()


class Rig:
    """So many workers, one pool, no supervisor; clients come by Unix sockets or TCP. Leave it by `close`."""

    def __init__(
        self, folder: Path, *, workers: int = 1, pool_size: int = 1, backends: int = 8, tcp: bool = False
    ) -> None:
        self.world = World(folder, workers=workers, backends=backends)
        self.world.pools.register(b"app", b"app", pool_size)
        self.peers: list[Peer] = []
        self.listeners = [
            self._listen(None if tcp else folder / f"worker {number}") for number in range(workers)
        ]
        self.relays = [self._make_relay(number) for number in range(workers)]
        self.news: list[list[tuple[str, Any]]] = [[] for _ in range(workers)]

    def close(self) -> None:
        for relay in self.relays:
            for client in relay.every_client():
                relay.send_off(client)
        for peer in self.peers:
            peer.close()
        self.run()
        for listener in self.listeners:
            listener.close()
        self.world.close()

    def run(self) -> None:
        """Lets all relays serve until they have nothing more to do."""
        for _ in range(ROUNDS):
            for number, relay in enumerate(self.relays):
                relay.run(0)
                self.news[number] += relay.take_news()

    def counters(self) -> CounterTable:
        """What the relays have counted."""
        return CounterTable(self.world.segment)

    def connect(self, worker: int = 0) -> tuple[Peer, Client]:
        """A client that has logged in: the application's end, and the relay's."""
        peer = self.approach(worker)
        before = set(self.relays[worker].every_client())
        peer.send(startup({"user": "app"}))
        self.run()
        assert peer.received().endswith(READY)
        (client,) = set(self.relays[worker].every_client()) - before
        return peer, client

    def approach(self, worker: int = 0) -> Peer:
        """A client that has not said anything: the application's end."""
        listener = self.listeners[worker]
        connection = socket.socket(listener.family)
        connection.connect(listener.getsockname())
        return self._keep(connection)

    def open(self, worker: int = 0, pool: int = POOL) -> tuple[Peer, int]:
        """A backend: PostgreSQL's end, and its slot. Every worker has its socket."""
        peer, slot, sockets = self.open_unknown(worker, pool)
        for number, relay in enumerate(self.relays):
            if number != worker:
                relay.adopt_socket(slot, self.world.pools.generation(slot), os.dup(sockets))
        os.close(sockets)
        return peer, slot

    def open_unknown(self, worker: int = 0, pool: int = POOL) -> tuple[Peer, int, int]:
        """The same, but only its opener has its socket; and a copy of that, the caller's to close."""
        slot = self.world.pools.open(pool, worker)
        assert slot >= 0
        ours, theirs = socket.socketpair()
        self.world.pools.introduce(slot, 1000 + slot, b"key")
        assert self.world.pools.try_adopt(slot, worker)
        copy = os.dup(ours.fileno())
        self.relays[worker].adopt_socket(slot, self.world.pools.generation(slot), ours.detach())
        self.relays[worker].hand_out(slot)
        return self._keep(theirs), slot, copy

    def _keep(self, connection: socket.socket) -> Peer:
        peer = Peer(connection)
        self.peers.append(peer)
        return peer

    def _make_relay(self, number: int) -> Relay:
        segment, desk = self.world.segment, Desk()
        pools = Pools(segment, self.world.bells)
        listeners = [self.listeners[number]]
        relay = desk.relay = Relay(number, pools, Clients(segment), CounterTable(segment), listeners, desk)
        relay.doors = Doors("trust", {}, lambda name: True, bytes(16))
        return relay

    def _listen(self, path: Path | None) -> socket.socket:
        listener = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        if path is None:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits it
        listener.bind(("127.0.0.1", 0) if path is None else str(path))
        listener.listen()
        listener.setblocking(False)
        return listener
