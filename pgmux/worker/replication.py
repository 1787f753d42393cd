"""Replication: clients whose backend is opened for them alone, and closed when they leave.

A connection with the start-up parameter `replication` speaks a protocol that has no transactions
to share a backend between, and may stream for ever. So its client gets a backend of its own, with
the client's own start-up parameters and PostgreSQL's own greeting. To PostgreSQL it is a backend
like others and counts within max_backends; it takes no place in its pool.

A physical replication connection names no database; what is looked up in [databases] is the name
that the client sent all the same: pg_basebackup, pg_receivewal and standbys send "replication".

The slot goes from OPENING to LEASED by us and from there to CLOSING: it is never FREE, so no other
worker ever has use for its socket. The vault has it, so that the successor of a killed worker
can end it.

Manual: "Streaming Replication Protocol".
"""

import logging
import time
from typing import TYPE_CHECKING, Final

import gevent
from gevent.pool import Group

from pgmux.config.configuration import Config
from pgmux.relay.endpoint import ClientPhase
from pgmux.relay.relay import Relay
from pgmux.session.backend_login import BackendLogin
from pgmux.session.refusals import Refusal
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase, Private
from pgmux.shm.pools import DATABASE_FULL, Pools
from pgmux.worker.channel import Channel
from pgmux.worker.connecting import Connector, OpenError
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.reception import Reception
from pgmux.worker.tenants import Tenants

if TYPE_CHECKING:
    from pgmux.relay.endpoint import Client
    from pgmux.session.client_login import ClientLogin

_NOT_PASSED_ON: Final = frozenset({"user", "database"})  # those of the pool are
_ROOM_WITHIN_SECONDS = 2.0  # an idle backend that makes room needs a moment to end
_RETRY_SECONDS = 0.05


class _LeftError(Exception):
    """The client has left while its backend was being opened."""


class Replication:
    """One worker's replication clients, until each has its backend."""

    def __init__(
        self,
        worker: int,
        config: Config,
        connector: Connector,
        pools: Pools,
        counters: CounterTable,
        vault: Mailbox,
    ) -> None:
        self.relay: Relay
        self.reception: Reception
        self.tenants: Tenants
        self._worker = worker
        self._config = config
        self._connector = connector
        self._pools = pools
        self._counters = counters
        self._vault = vault
        self._greenlets = Group()
        self._log = logging.getLogger(f"worker {worker}")

    @property
    def is_at_work(self) -> bool:
        """Whether some backend is being opened now."""
        return bool(self._greenlets)

    def reconfigure(self, config: Config) -> None:
        """After a reload: backends from now on."""
        self._config = config

    def begin(self, client: "Client", login: "ClientLogin", pool: int) -> None:
        """Open a backend for a client that has shown who it is, and let the client in with it."""
        self._greenlets.spawn(self._serve, client, login, pool)

    def _serve(self, client: "Client", login: "ClientLogin", pool: int) -> None:
        try:
            is_logical = login.parameters["replication"].lower() == "database"
            slot = self._reserve(client, pool, Private.LOGICAL if is_logical else Private.PHYSICAL)
            if slot is None:
                self.reception.refuse(
                    client, Refusal.POOL_LIMIT, limit="max_backends", value=str(self._limit(pool))
                )
                return
            self._open(client, login, pool, slot)
        except _LeftError:
            pass

    def _reserve(self, client: "Client", pool: int, private: Private) -> int | None:
        """A slot OPENING for the client; None when there is no room and none can be made. May switch."""
        give_up_at = time.monotonic() + _ROOM_WITHIN_SECONDS
        while True:
            _check_presence(client)
            if not self._pools.is_pool_paused(pool):
                slot = self._pools.open(pool, self._worker, private=private)
                if slot >= 0:
                    return slot
                victim = self._pools.evict(pool, self._worker, slot == DATABASE_FULL)
                if victim >= 0:
                    self.relay.close_backend(victim)
                if time.monotonic() > give_up_at:
                    return None
            gevent.sleep(_RETRY_SECONDS)

    def _limit(self, pool: int) -> int:
        own = self.tenants.settings(pool).max_backends
        every = self._pools.leases.count
        return min(own, every) if own else every

    def _open(self, client: "Client", login: "ClientLogin", pool: int, slot: int) -> None:
        ignored = {name.lower() for name in self._config.pgmux.ignore_startup_parameters} | _NOT_PASSED_ON
        parameters = {name: value for name, value in login.parameters.items() if name.lower() not in ignored}
        channel = None
        try:
            channel, backend = self._connector.connect(self.tenants.settings(pool), **parameters)
            _check_presence(client)
            self._hand_over(client, login, slot, channel, backend)
        except OpenError as error:
            self._turn_away(client, pool, error)
        finally:
            if channel is not None:
                channel.close()
            self._give_back(slot)

    def _hand_over(
        self,
        client: "Client",
        login: "ClientLogin",
        slot: int,
        channel: Channel,
        backend: BackendLogin,
    ) -> None:
        """The backend is the client's. From the adoption on nothing switches: no tick finds it idle."""
        generation = self._pools.generation(slot)
        home = None if channel.tls is None else self._worker
        self._pools.introduce(slot, backend.pid, backend.key, home=home)
        self._pools.leases.locate(slot, *channel.addresses(), 0 if channel.tls is None else channel.tls.code)
        while not self._vault.send(Message(Kind.SOCKET, slot, generation, 0, channel.fileno())):
            gevent.sleep(_RETRY_SECONDS)
        _check_presence(client)
        if not self._pools.try_adopt(slot, self._worker):
            return
        self.relay.adopt_socket(slot, generation, channel.detach(), channel.tls)
        self._counters.add(self._worker, self._pools.leases.read(slot)[2], "backends_opened")
        self.reception.admit_with(client, login, slot, backend.welcome)

    def _turn_away(self, client: "Client", pool: int, error: OpenError) -> None:
        """PostgreSQL's own words, where it has given any."""
        self._counters.add(self._worker, pool, "login_failures")
        server = self.tenants.server(pool)
        self._log.error("cannot open a replication connection at %s: %s", server, error)
        if error.fields is None:
            self.reception.refuse(client, Refusal.NO_POSTGRESQL, str(error), server=server)
            return
        sqlstate, problem = error.fields.get("sqlstate", ""), error.fields.get("message", "")
        detail = error.fields.get("detail")
        self.reception.refuse(client, Refusal.NO_REPLICATION, detail, sqlstate=sqlstate, problem=problem)

    def _give_back(self, slot: int) -> None:
        """What came to nothing: the slot is empty again, if it still is being opened by us."""
        if self._pools.leases.read(slot)[0] == Phase.OPENING and self._pools.shut(slot, self._worker):
            self._pools.clear(slot, self._worker)


def _check_presence(client: "Client") -> None:
    """Raises _LeftError for a client that has left, or was sent off."""
    if client.phase != ClientPhase.LOGIN:
        raise _LeftError
