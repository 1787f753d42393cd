"""The relay's event loop: what each event means, and how clients come and go."""

import socket
from collections.abc import Iterable
from typing import Any, Protocol

from pgmux.relay.endpoint import Client
from pgmux.relay.handshakes import Handshakes
from pgmux.session.doors import Doors
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.pools import Pools

class _Desk(Protocol):
    def hear(self, client: Client) -> None: ...
    def malformed(self, kind: str) -> bytes: ...
    def backend_lost(self) -> bytes: ...
    def arrived(self, client: Client) -> None: ...
    def parted(self, client: Client) -> None: ...

class Loop(Handshakes):
    """One worker's clients, backends and event loop."""

    doors: Doors
    edition: int
    slice_us: int
    login_limit: int
    client_count: int
    no_room: bytes
    tells_arrivals: bool  # the desk hears of clients that have logged in
    tells_partings: bool  # and of those that are gone
    def __init__(
        self,
        worker: int,
        pools: Pools,
        records: Clients,
        counters: CounterTable,
        listeners: Iterable[socket.socket],
        desk: _Desk,
        statement_key: bytes = b"-",
    ) -> None: ...
    @property
    def listeners(self) -> list[socket.socket]: ...
    @property
    def is_accepting(self) -> bool: ...
    @property
    def is_hubs_turn(self) -> bool: ...
    @property
    def is_crowded(self) -> bool:
        """Whether `login_limit` is reached: connections wait in the accept queue."""
    def watch_hub(self, fd: int) -> None:
        """End a wait when the hub's own epoll, `fd`, has something for it."""

    def run(self, patience_us: int) -> bool:
        """Serve events until it is the hub's turn. Whether there were any."""

    def take_news(self) -> list[tuple[str, Any]]:
        """What happened that needs more than the relay: [(word, argument)], oldest first."""

    def start_accepting(self) -> None:
        """Take new connections."""

    def stand_in(self, listeners: Iterable[tuple[socket.socket, int]]) -> None:
        """Accept from these too, and no more from those of the last call: [(socket, its place among its worker's)]."""

    def stop_accepting(self) -> None:
        """Leave new connections in the accept queue, for a successor or for later."""
