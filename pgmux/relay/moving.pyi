"""Clients on their way from one worker to another: packed, let go, taken up."""

from pgmux.relay.endpoint import Client
from pgmux.relay.loop import Loop
from pgmux.session.parcel import Parcel

class Moving(Loop):
    """The relay's part in handing clients over."""

    def pack(self, client: Client, *, with_card: bool = False) -> Parcel | None:
        """All of a client that lies in our memory; None when it cannot go now."""

    def let_go(self, client: Client) -> None:
        """The client is another worker's: nothing of it is touched any more but our copy of its socket."""

    def take_up(self, record: int, giver: int, fd: int, parcel: Parcel) -> Client | None:
        """A client has come from another worker. Takes the descriptor over; None when nobody's client has come."""

    def land(self, record: int, fd: int, parcel: Parcel) -> Client | None:
        """A client has come from a worker that has another segment: as `take_up`, and its record is written here."""

    def serve_on(self, client: Client) -> None:
        """A client that was taken up is in its pool: what it has sent meanwhile is read."""

    def take_newcomer(self, fd: int) -> None:
        """A connection that another worker has accepted: its log-in begins here."""

    def serve_again(self, client: Client) -> None:
        """The client stays: what it has sent is read."""
