"""The vault: the supervisor's duplicate of every backend's socket.

A socket lives as long as one process holds it. Because the supervisor always does, no crash
of a worker closes a backend, and a worker forked later inherits them all.
"""

import os
import socket
import struct
from typing import Final

from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.worker.mailbox import Kind, Mailbox, Message

ORDERS: Final = (Kind.RELOAD, Kind.SET, Kind.SHUTDOWN, Kind.UPGRADE, Kind.CANCEL, Kind.KILL)
_TERMINATE: Final = struct.pack("!cI", b"X", 4)


class Vault:
    """Descriptors by slot, each with the generation of the slot whose socket it is."""

    def __init__(self, pools: Pools, mailboxes: list[Mailbox], sockets: dict[int, tuple[int, int]]) -> None:
        """`mailboxes`: one a worker, then our own. `sockets`: what is in the vault; workers inherit it."""
        self.sockets = sockets
        self.orders: list[Message] = []  # what else has come: the supervisor carries it out
        self._pools = pools
        self._mailboxes = mailboxes

    def collect(self) -> None:
        """Take in what has come: new sockets, and requests for old ones."""
        for message in self._mailboxes[-1].collect():
            if message.kind is Kind.SOCKET:
                self.keep(message.target, message.number, message.fd)
            elif message.kind is Kind.FETCH:
                generation, fd = self.sockets.get(message.target, (0, -1))
                answer = Message(Kind.SOCKET, message.target, generation, 1, fd)
                self._mailboxes[message.note].send(answer)
            elif message.kind in ORDERS:
                self.orders.append(message)

    def keep(self, slot: int, generation: int, fd: int) -> None:
        """Keep a slot's socket. The descriptor is the vault's from now on; -1 = there was none free to take it in."""
        self.drop(slot)
        if fd >= 0:
            self.sockets[slot] = (generation, fd)

    def sweep(self) -> None:
        """Close what no longer is its slot's socket."""
        for slot, (generation, _) in list(self.sockets.items()):
            phase, _, _, now = self._pools.leases.read(slot)
            if now != generation and phase != Phase.CLOSING:  # a CLOSING one may still have to be buried
                self.drop(slot)

    def close(self) -> None:
        """Tell PostgreSQL that we leave, on every socket, so that it need not find out."""
        for slot, (_, fd) in list(self.sockets.items()):
            with socket.socket(fileno=os.dup(fd)) as backend:
                try:
                    if (
                        self._pools.describe_slot(slot)["home"] is None
                    ):  # else it is under TLS: its home has told
                        backend.send(_TERMINATE, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    backend.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.drop(slot)

    def drop(self, slot: int) -> None:
        """Close a slot's socket, if there is one."""
        if slot in self.sockets:
            os.close(self.sockets.pop(slot)[1])
