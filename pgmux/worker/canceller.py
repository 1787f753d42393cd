"""Cancel requests: from any worker to the query they mean, and never to a later one.

A key names a client record. The worker that holds the client decides what to cancel: a client
that waits for a backend leaves the queue and hears 57014; one that has a backend gets
PostgreSQL to cancel it, and that backend is not leased to another client before the cancel
connection has been closed by PostgreSQL, for by then the signal has been delivered.
"""

import logging
from contextlib import closing

import gevent
import msgspec
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from pgmux.config import PoolSettings
from pgmux.errors import PgmuxError
from pgmux.protocol.messages import build_cancel_request
from pgmux.relay.endpoint import Client, ClientPhase
from pgmux.relay.relay import Relay
from pgmux.session.refusals import Refusal
from pgmux.shm.counters import CounterTable
from pgmux.shm.pools import Pools
from pgmux.worker.connecting import Connector
from pgmux.worker.consoles import Consoles
from pgmux.worker.journal import Journal
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.reception import Reception
from pgmux.worker.tenants import Tenants

_AT_ONCE = 16  # cancel connections of one worker: a storm of cancels must not become a storm of connections
_AT_MOST = 1000  # requests of one worker, those that wait for their turn included
_WITHIN_SECONDS = 10.0


class Canceller:
    """One worker's cancel requests."""

    def __init__(
        self,
        worker: int,
        connector: Connector,
        pools: Pools,
        mailboxes: list[Mailbox],
        counters: CounterTable,
        journal: Journal,
    ) -> None:
        self.relay: Relay
        self.reception: Reception
        self.tenants: Tenants
        self.consoles: Consoles
        self._worker = worker
        self._connector = connector
        self._pools = pools
        self._mailboxes = mailboxes
        self._counters = counters
        self._journal = journal
        self._turns = BoundedSemaphore(_AT_ONCE)
        self._greenlets = Group()
        self._log = logging.getLogger(f"worker {worker}")

    def request(self, messenger: Client, pid: int, key: bytes) -> None:
        """A CancelRequest, whichever worker it reached.

        Who sent it waits for the end of the connection, and may ask the next then: so it ends only when the
        cancel is counted. Where that is another worker's to do, it has the connection, and closes it.
        """
        record = pid - 1
        worker = self.relay.records.find(record, key) if record >= 0 else None
        if worker == self._worker:
            self.cancel(record, key)
        elif worker is not None or (record >= 0 and self.relay.records.is_away(record)):
            worker = -1 if worker is None else worker  # our predecessor has it: the supervisor knows the way
            fd = -1 if messenger.stays else messenger.fd
            if self._mailboxes[worker].send(Message(Kind.CANCEL, record, fd=fd, body=key)) and fd >= 0:
                self.relay.give_away(messenger)
                return
        self.relay.send_off(messenger)

    def cancel(self, record: int, key: bytes) -> None:
        """Cancel what a client of this worker is doing, if the key still is its key."""
        client = self.relay.client(record)
        if self.relay.records.find(record, key) != self._worker:
            return
        if client is None:
            self.consoles.cancel(record)
        elif client.phase == ClientPhase.PARKED:
            self._note(client, "it was waiting for a backend")
            self.relay.turn_down(client, Refusal.CANCELLED.build())
        elif (slot := self.relay.backend_of(client)) is not None and self.relay.is_asked(slot):
            self._note(client, "it was being served")
            self.cancel_backend(slot)

    def cancel_backend(self, slot: int) -> None:
        """Have PostgreSQL cancel what a backend of ours is doing."""
        if len(self._greenlets) >= _AT_MOST:
            return  # a storm: those under way will do
        self.relay.expect_cancel(slot)
        self.cancel_counted(slot, self._pools.generation(slot), *self._pools.identity(slot))

    def cancel_counted(self, slot: int, generation: int, pid: int, key: bytes) -> None:
        """The same where the relay has counted the request already, and said whom it means."""
        self._greenlets.spawn(self._send, slot, generation, pid, key)

    def _note(self, client: Client, what: str) -> None:
        pool = self.relay.pool_of(client)
        if pool is not None:
            self._counters.add(self._worker, pool, "cancels")
            self._journal.cancelled(self.reception.passenger(client.record), what)

    @property
    def is_at_work(self) -> bool:
        """Whether some cancel request is on its way."""
        return bool(self._greenlets)

    def _place_of(self, slot: int, pool: int) -> PoolSettings:
        """The pool's settings; of several hosts the one that this backend is at."""
        settings = self.tenants.settings(pool)
        if len(settings.hosts) == 1:
            return settings
        match self.relay.peer_of(slot):
            case str(path) if path:
                directory, _, name = path.rpartition("/")
                return msgspec.structs.replace(
                    settings, hosts=(directory,), port=int(name.rpartition(".")[2])
                )
            case (host, port, *_):
                return msgspec.structs.replace(settings, hosts=(host,), port=port)
        return settings

    def _send(self, slot: int, generation: int, pid: int, key: bytes) -> None:
        """One CancelRequest, to its end: PostgreSQL closes the connection when it has sent the signal."""
        self._pools.count_cancel(slot, +1)
        try:
            backend = self._pools.describe_slot(slot)
            if backend["pool"] is None or not key:
                return  # EMPTY, or of a worker that died as it logged in there: nothing is left to be cancelled
            with self._turns, gevent.Timeout(_WITHIN_SECONDS, TimeoutError("no answer")):
                place = self._place_of(slot, backend["pool"])
                self._deliver(place, build_cancel_request(pid, key), backend["home"] is not None)
        except (OSError, PgmuxError) as error:
            self._log.warning("cannot send a cancel request: %s", error)
        finally:
            self._pools.count_cancel(slot, -1)
            self.relay.cancel_settled(slot, generation)

    def _deliver(self, settings: PoolSettings, request: bytes, is_encrypted: bool) -> None:
        with closing(self._connector.open_for_cancel(settings, is_encrypted=is_encrypted)) as channel:
            channel.sendall(request)
            while channel.recv():
                pass
