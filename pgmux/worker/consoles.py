"""The console's clients in one worker: a greenlet each, from the end of the log-in on.

The relay has let go of them (Relay.hand_over), but their records stay, so that SHOW CLIENTS lists them, and a
cancel request or KILL_CLIENT finds them.
"""

import os
import select
import time
from contextlib import suppress
from typing import NamedTuple

import gevent
from gevent import socket

from pgmux.control.clerk import Clerk
from pgmux.control.commands import Right
from pgmux.control.console import Console
from pgmux.session.refusals import Refusal
from pgmux.shm.clients import Clients
from pgmux.worker.asker import Asker, AskerGoneError
from pgmux.worker.journal import Journal, Passenger
from pgmux.worker.workload import Workload

_READ_BYTES = 65_536


class _Session(NamedTuple):
    greenlet: gevent.Greenlet
    asker: Asker
    connection: socket.socket


class Consoles:
    """All of them."""

    def __init__(self, clerk: Clerk, workload: Workload, records: Clients, journal: Journal) -> None:
        self._clerk = clerk
        self._workload = workload
        self._records = records
        self._journal = journal
        self._sessions: dict[int, _Session] = {}  # by record

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def open(self, record: int, fd: int, right: Right, greeting: bytes, rest: bytes, who: Passenger) -> None:
        """Serve a client that has logged in: `greeting` is to be sent first, `rest` has come already."""
        connection = socket.socket(fileno=fd)
        name = f"{who.user} at {who.address}"
        asker = Asker(right, name, connection, self._workload, leaves_by=select.POLLRDHUP)
        greenlet = gevent.Greenlet(self._serve, record, connection, asker, greeting, rest, who)
        self._sessions[record] = _Session(greenlet, asker, connection)
        self._journal.arrived(who)
        greenlet.start()

    def cancel(self, record: int) -> None:
        """A CancelRequest: what the client waits for is taken back."""
        if record in self._sessions:
            self._sessions[record].asker.is_cancelled = True

    def kill(self, record: int, refusal: Refusal) -> bool:
        """Send a client off. Whether it is one of these."""
        session = self._sessions.get(record)
        if session is None:
            return False
        with suppress(OSError):
            os.write(session.connection.fileno(), refusal.build())
        session.greenlet.kill(block=False)
        return True

    def close(self, refusal: Refusal) -> None:
        """Send all off."""
        for record in list(self._sessions):
            self.kill(record, refusal)

    def _serve(
        self,
        record: int,
        connection: socket.socket,
        asker: Asker,
        greeting: bytes,
        rest: bytes,
        who: Passenger,
    ) -> None:
        console, began, reason = Console(self._clerk, asker), time.monotonic(), "client left"
        try:
            connection.sendall(greeting)
            data = rest
            while not console.is_over:
                with self._workload:
                    for piece in console.feed(data):
                        connection.sendall(piece)
                if not console.is_over and not (data := connection.recv(_READ_BYTES)):
                    reason = "connection lost"
                    break
        except (OSError, AskerGoneError):
            reason = "connection lost"
        except gevent.GreenletExit:
            reason = "sent off"
        finally:
            connection.close()
            del self._sessions[record]
            self._records.give_back(record)
            self._journal.left(who, reason, time.monotonic() - began)
