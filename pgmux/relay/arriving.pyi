"""How clients come and go: accepted, logged in, let in, seen off."""

import socket
from collections.abc import Iterable

from pgmux.relay.handshakes import Handshakes
from pgmux.session.doors import Doors

class Arriving(Handshakes):
    """One worker's clients, from their accept to their end."""

    doors: Doors
    edition: int
    login_limit: int
    client_count: int
    no_room: bytes
    tells_arrivals: bool  # the desk hears of clients that have logged in
    tells_partings: bool  # and of those that are gone
    @property
    def listeners(self) -> list[socket.socket]: ...
    @property
    def is_accepting(self) -> bool: ...
    @property
    def is_crowded(self) -> bool:
        """Whether `login_limit` is reached: connections wait in the accept queue."""

    def start_accepting(self) -> None:
        """Take new connections."""

    def stand_in(self, listeners: Iterable[tuple[socket.socket, int]]) -> None:
        """Accept from these too, and no more from those of the last call: [(socket, its place among its worker's)]."""

    def stop_accepting(self) -> None:
        """Leave new connections in the accept queue, for a successor or for later."""
