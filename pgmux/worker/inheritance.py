"""What a worker is born with: everything the supervisor made before the fork.

A successor gets the same, and of the vault a copy of every backend's socket, simply by being
forked: descriptors are inherited under their numbers.
"""

import socket
from dataclasses import dataclass, field

from pgmux.session.ticket_keys import TicketKeys
from pgmux.shm.segment import Segment
from pgmux.worker.mailbox import Mailbox


@dataclass(slots=True)
class Inheritance:
    """The shared things of one pgmux."""

    segment: Segment
    bells: list[int]  # an eventfd a worker
    mailboxes: list[Mailbox]  # one a worker, then the vault's
    listeners: list[list[socket.socket]]  # [worker][address]: SO_REUSEPORT, one socket each
    shared_listeners: list[socket.socket]  # Unix sockets: all workers accept from the same
    lifeline: int  # read end of a pipe whose write end only the supervisor holds
    mock_key: bytes  # with which log-ins of unknown users are made to look like others
    ticket_keys: TicketKeys  # of TLS sessions that clients resume, in whichever worker
    vault: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot: (generation, descriptor)
    ear_mailboxes: list[Mailbox] = field(default_factory=list)  # one a worker, for LISTEN and NOTIFY
    landings: list[Mailbox] = field(default_factory=list)  # one a worker of a successor with another layout
    harbours: list[Mailbox] = field(
        default_factory=list
    )  # the landings of our predecessor, if it had another
    control_listener: socket.socket | None = None  # all workers accept from the same, as from the next
    metrics_listener: socket.socket | None = None
    configuration: int = 0  # the number of the one that the next worker is born with, on the board
    reloads: int = 0  # how many of these came by RELOAD

    def listeners_of(self, worker: int) -> list[socket.socket]:
        """The sockets that a worker accepts from."""
        return self.listeners[worker] + self.shared_listeners
