"""The relay, as its worker sees it: what may be asked of it, and what it is asked once in a while."""

from collections.abc import Container
from enum import IntEnum
from typing import Any, Final

from pgmux.relay.endpoint import Client, Greeting, Lobby
from pgmux.relay.moving import Moving
from pgmux.relay.tls import Tls

RESERVE_IDLE_US: Final[int]

class Stay(IntEnum):
    QUERY_STAY = 0
    TRANSACTION_STAY = 1
    IDLE_IN_TRANSACTION_STAY = 2
    IDLE_STAY = 3

class Relay(Moving):
    """One worker's relay."""

    def say(self, client: Client, data: bytes) -> None:
        """Send bytes of our own to a client that is logging in, or waits for a backend."""

    def keep_waiting(self, client: Client) -> None:
        """A log-in waits for PostgreSQL: nothing is read of the client until `continue_login` or `admit`."""

    def continue_login(self, client: Client) -> None:
        """What a log-in waited for has come."""

    def try_join(self, client: Client, pool: int, tenancy: int) -> bool:
        """Count a client that logs in as a guest of its pool, whose record is now not given to others."""

    def admit(self, client: Client, greeting: Greeting) -> None:
        """The log-in is done: the client's session begins. Nothing, where it was sent off meanwhile."""

    def invite(self, pool: int, tenancy: int, name: bytes) -> int | None:
        """A client of our own, logged in already: the descriptor of the other end of its connection."""

    def admit_private(self, client: Client, greeting: Greeting, slot: int) -> None:
        """The same for a client whose backend was opened for it alone and is LEASED to us, its socket adopted."""

    def hand_over(self, client: Client) -> tuple[int, bytes, Tls | None]:
        """(descriptor, bytes not sent yet, what it is under) of a client that is logging in: the caller's from now on."""

    def send_off(self, client: Client, last_words: bytes = b"") -> None:
        """End a client's session with an ErrorResponse."""

    def give_away(self, client: Client) -> None:
        """Another process has a client's connection and ends it: let go of our descriptor, without a word."""

    def turn_down(self, client: Client, error: bytes) -> None:
        """Tell a parked client that it gets no backend. Its session goes on."""

    def lobby(self, pool: int) -> Lobby:
        """The pool's lobby in this worker."""

    def waiting_clients(self, pool: int) -> list[Client]:
        """The clients parked here for a pool, longest first."""

    def client(self, record: int) -> Client | None:
        """The client with this record, or None."""

    def every_client(self) -> list[Client]:
        """All clients whose sockets are open here."""

    def adopt_socket(self, slot: int, generation: int, fd: int, tls: Tls | None = None) -> None:
        """A descriptor for a slot has come, from its opener or from the vault. Takes it over.

        `tls`: what the connection is under, if it is and this worker is its home.
        """

    def notify(self, record: int, message: bytes) -> None:
        """Hand a client a NotificationResponse or NoticeResponse, between two messages of its own."""

    def drop_notifications(self, record: int, channels: Container[bytes]) -> None:
        """A client has stopped listening to `channels`: what was kept of those is not for it any more."""

    def hand_out(self, slot: int) -> None:
        """A backend we have just opened: LEASED to us, its socket adopted. To whoever waits, or free."""

    def serve_waiting(self, pool: int) -> None:
        """Take free backends for clients that wait here, if there are any that nobody handed out."""

    def close_backend(self, slot: int, politely: bool = True) -> None:
        """Close a backend that is leased to us and serves nobody."""

    def give_up(self, slot: int, generation: int) -> None:
        """A client elsewhere starves: close a backend whose home we are, if it still is idle."""

    def leave_home(self) -> None:
        """This worker ends, and with it the idle backends whose home it is: PostgreSQL is told."""

    def bury_fenced(self, slot: int) -> bool:
        """A slot left to us CLOSING: wait for PostgreSQL to end it. False = already doing so."""

    def has_no_socket(self, slot: int) -> None:
        """The vault has answered. If what we are to end has no socket even now, nobody has: it has ended."""

    def expect_cancel(self, slot: int) -> None:
        """A cancel request is about to be sent: no other gets the backend before it has settled."""

    def is_asked(self, slot: int) -> bool:
        """Whether a backend is busy with what its client has asked."""

    def cancel_settled(self, slot: int, generation: int) -> None:
        """The cancel request has been carried out, or has failed."""

    def subscribed(self, client: Client) -> None:
        """Notifications of a client's channels reach us from now on: its transaction is over."""

    def expect_overtime(self, slot: int, error: bytes) -> None:
        """A backend's query has taken too long: its client is told `error` when it is cancelled."""

    def overstayed(self, stay: Stay, limit_us: int) -> list[Client]:
        """The clients of which something has lasted longer than it may."""

    def peer_of(self, slot: int) -> tuple[Any, ...] | str | None:
        """Where a backend's socket leads: (host, port, …), or the path of a Unix socket; None without a socket."""

    def is_awaited(self, slot: int) -> bool:
        """Whether we have leased the slot, or are to end it, without having its socket."""

    def is_between_transactions(self, client: Client) -> bool:
        """Whether the client can be sent off without breaking anything off."""

    def long_waiting(self, limit_us: int, window_us: int) -> list[tuple[Client, int, int]]:
        """[(client, microseconds waited, clients that wait before it in all workers)] of the clients parked
        here whose wait went beyond the limit in the last `window_us`."""

    def pool_of(self, client: Client) -> int | None:
        """The pool of a client that has logged in; None before."""

    def waiting_place(self, client: Client) -> tuple[int, int]:
        """(microseconds a parked client has waited, clients that wait before it in all workers, about)."""

    def backend_of(self, client: Client) -> int | None:
        """The slot a client has leased, or None."""

    def silent(self, limit_us: int) -> list[Client]:
        """Clients that are logging in, and whose word has been awaited for longer."""

    def overdue(self, login_limit_us: int) -> tuple[list[Client], list[Client]]:
        """([clients whose log-in takes too long], [parked clients past their pool's wait limit])."""

    def sweep(self, idle_limit_us: int) -> None:
        """What has lasted too long: leaving clients are closed, orphans and slow closers given up, sockets
        of slots that have changed dropped, backends idle beyond the limit retired. Once a second or so."""
