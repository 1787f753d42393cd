"""The console's clients in one worker: a greenlet each, from the end of the log-in on.

The relay has let go of them (Relay.hand_over), but their records stay, so that SHOW CLIENTS lists them, and a
cancel request or KILL_CLIENT finds them.
"""

import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import gevent
from gevent import socket

from pgmux import __version__
from pgmux.config import Config
from pgmux.control.clerk import Clerk
from pgmux.control.commands import Right
from pgmux.control.console import Console, greeting_parameters
from pgmux.control.figures import CONSOLE_POOLS
from pgmux.relay.tls_context import TlsError
from pgmux.session.doors import OWNERS
from pgmux.session.refusals import Refusal
from pgmux.session.welcome import Welcome
from pgmux.shm.clients import Clients
from pgmux.worker.asker import Asker, AskerGoneError
from pgmux.worker.channel import Channel
from pgmux.worker.journal import Journal, Passenger
from pgmux.worker.workload import Workload

if TYPE_CHECKING:
    from pgmux.relay.endpoint import Client
    from pgmux.relay.relay import Relay
    from pgmux.session.client_login import ClientLogin
    from pgmux.worker.reception import Reception

_NUMBERS = {name: number for number, name in CONSOLE_POOLS.items()}


class _Session(NamedTuple):
    greenlet: gevent.Greenlet
    asker: Asker
    channel: Channel


class Consoles:
    """All of them."""

    def __init__(
        self,
        clerk: Clerk,
        workload: Workload,
        records: Clients,
        journal: Journal,
        config: Callable[[], Config],
    ) -> None:
        """`config` gives the configuration in force."""
        self.relay: Relay
        self.reception: Reception
        self._config = config
        self._clerk = clerk
        self._workload = workload
        self._records = records
        self._journal = journal
        self._sessions: dict[int, _Session] = {}  # by record

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def admit(self, client: "Client", login: "ClientLogin") -> bool:
        """Let in a client that is who it says: from here on it is a greenlet's, not the relay's. Whether it may."""
        right = self._right_of(client, login)
        if right is Right.NONE:
            return False
        introduction = login.introduction
        assert introduction is not None
        record, key = client.record, os.urandom(introduction.key_bytes)
        own = {"pgmux.version": __version__}
        welcome = Welcome(greeting_parameters(login.database), own, promised={"application_name"})
        greeting = login.admit(welcome, record + 1, key)
        application = login.settings.get("application_name", "").encode("utf-8", "replace")
        rest = login.rest
        fd, unsent, tls = self.relay.hand_over(client)
        channel = Channel(socket.socket(fileno=fd), tls, unsent)
        self._records.name_user(record, introduction.user_name)
        self._records.admit(record, key, _NUMBERS[login.database], application)
        self._open(record, channel, right, greeting, rest, self.reception.passenger(record))
        return True

    def _right_of(self, client: "Client", login: "ClientLogin") -> Right:
        settings = self._config().pgmux
        if login.user in settings.admin_users:
            return Right.ADMIN
        if login.user in OWNERS and client.peer_uid() in (0, os.geteuid()):
            return Right.ADMIN
        return Right.STATS if login.user in settings.stats_users else Right.NONE

    def _open(
        self, record: int, channel: Channel, right: Right, greeting: bytes, rest: bytes, who: Passenger
    ) -> None:
        name = f"{who.user} at {who.address}"
        asker = Asker(right, name, channel, self._workload, leaves_by=select.POLLRDHUP)
        greenlet = gevent.Greenlet(self._serve, record, channel, asker, greeting, rest, who)
        self._sessions[record] = _Session(greenlet, asker, channel)
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
        session.channel.say_last(refusal.build())
        session.greenlet.kill(block=False)
        return True

    def close(self, refusal: Refusal) -> None:
        """Send all off."""
        for record in list(self._sessions):
            self.kill(record, refusal)

    def _serve(
        self,
        record: int,
        channel: Channel,
        asker: Asker,
        greeting: bytes,
        rest: bytes,
        who: Passenger,
    ) -> None:
        console, began, reason = Console(self._clerk, asker), time.monotonic(), "client left"
        try:
            channel.sendall(greeting)
            data = rest
            while not console.is_over:
                with self._workload:
                    for piece in console.feed(data):
                        channel.sendall(piece)
                if not console.is_over and not (data := channel.recv()):
                    reason = "connection lost"
                    break
        except (OSError, TlsError, AskerGoneError):
            reason = "connection lost"
        except gevent.GreenletExit:
            reason = "sent off"
        finally:
            channel.close()
            del self._sessions[record]
            self._records.give_back(record)
            self._journal.left(who, reason, time.monotonic() - began)
