"""The relay's event loop: what each event means."""

import socket
from collections.abc import Iterable
from typing import Any, Protocol

from pgmux.relay.arriving import Arriving
from pgmux.relay.endpoint import Client
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.pools import Pools

class _Desk(Protocol):
    def hear(self, client: Client) -> None: ...
    def malformed(self, kind: str) -> bytes: ...
    def backend_lost(self) -> bytes: ...
    def arrived(self, client: Client) -> None: ...
    def parted(self, client: Client) -> None: ...

class Loop(Arriving):
    """One worker's clients, backends and event loop."""

    slice_us: int
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
    def is_hubs_turn(self) -> bool: ...
    def watch_hub(self, fd: int) -> None:
        """End a wait when the hub's own epoll, `fd`, has something for it."""

    def run(self, patience_us: int) -> bool:
        """Serve events until it is the hub's turn. Whether there were any."""

    def take_news(self) -> list[tuple[str, Any]]:
        """What happened that needs more than the relay: [(word, argument)], oldest first."""
