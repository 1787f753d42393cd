"""The harbour: where a successor with another layout takes in what its predecessor has. The other side of regent.py.

Clients come straight to the workers, by the landings; slots and what else must be known come from the regent to us.
The predecessor's workers and the regent are our children, for we are its process: they get the operator's signals
from us, and we reap them.
"""

import contextlib
import logging
import os
import select
import signal
import time
from dataclasses import dataclass

import msgspec

from pgmux.config import Config
from pgmux.session.settings import settings_of, unpack
from pgmux.shm.clients import Clients
from pgmux.shm.crossing import Crossing
from pgmux.shm.leases import Phase
from pgmux.shm.pools import ALL_FULL, POOL_FULL, POOL_PAUSED, Pools
from pgmux.shm.tenancies import PoolsExhausted
from pgmux.shm.workers import Errand, WorkerState
from pgmux.supervisor import sayings
from pgmux.supervisor.cargo import (
    Cargo,
    ClientRow,
    PoolName,
    State,
    open_cargo,
    open_census,
    open_name,
    open_roll,
    pack,
)
from pgmux.supervisor.vault import ORDERS, Vault
from pgmux.worker.mailbox import Kind, Mailbox, Message

_CENSUS_WITHIN_SECONDS = 15.0
PATIENCE_SECONDS = 0.05  # between two looks at what has come
_WEDGED_AFTER_SECONDS = 10.0  # without a roll, which comes twice a second, a regent is killed
_NOTHING_YET_US, _FOR_EVER_US = 1, (1 << 64) - 1  # as of when what the operator says is heeded


@dataclass(slots=True)
class Regency:
    """Who looks after the predecessor's workers, and by which mailboxes we speak with it."""

    regent: int  # process ids
    workers: list[int]
    inbox: Mailbox  # ours
    outbox: Mailbox  # the regent's


class Harbour:
    """What comes from the predecessor, until all has come."""

    def __init__(
        self,
        regency: Regency,
        config: Config,
        pools: Pools,
        vault: Vault,
        mailboxes: list[Mailbox],
        landings: list[Mailbox],
    ) -> None:
        """`mailboxes`: one a worker of ours, then the vault's. `landings`: where clients come to each of them."""
        self.inbox = regency.inbox
        self.orders: list[Message] = []  # what the operator has asked of a worker of before
        self._outbox = regency.outbox
        self._regent, self._workers = regency.regent, set(regency.workers)
        self._config, self._pools, self._vault, self._mailboxes = config, pools, vault, mailboxes
        self._clients = Clients(pools.segment)
        self._crossing = Crossing(pools)
        self._is_open = False  # our workers serve, and clients may come
        self._landings = landings
        self._is_swept = False
        self._deeds: dict[
            int, tuple[Cargo, int]
        ] = {}  # of slots that are still to come: who is there, its socket
        self._wanted: set[PoolName] = set()  # for which clients of before wait, and there was no slot yet
        self._said = sayings.Sayings()  # by the operator, as far as the regent was told
        self._turn = self._heeded_turn = 0  # of SAID
        self._is_defied = False
        self._heard_at = 0.0  # time.monotonic(), of the regent
        self._log = logging.getLogger("supervisor")

    @property
    def is_closed(self) -> bool:
        """Whether all has come, and nobody of before is left."""
        return self._is_swept and not self._workers

    def open(self) -> None:
        """Learn what is in use elsewhere, and set it aside: before the first of our workers is born."""
        self._pools.board.note_heeded(_NOTHING_YET_US)
        self._outbox.send(Message(Kind.READY, 0))
        poll = select.poll()
        poll.register(self.inbox, select.POLLIN)
        patience_ends = time.monotonic() + _CENSUS_WITHIN_SECONDS
        while self._regent and time.monotonic() < patience_ends:
            poll.poll(PATIENCE_SECONDS * 1000)
            for message in self.inbox.collect():
                if message.kind is Kind.CENSUS:
                    self._set_aside(message.body)
                    return
                self._take_in(message)
            self.reap()
        if self._regent:
            self._log.error("nothing is heard of the workers of before: they are killed")
            self._abandon()
        for slot, (deed, _) in self._deeds.items():  # until their workers are dead, and they have been ended
            self._crossing.set_aside(slot, self._place(deed.database, deed.user), 0, deed.expires_s)

    def let_go(self) -> None:
        """In a worker that has just been forked: of what it is not to hold open."""
        for _, fd in self._deeds.values():
            os.close(fd)

    def tick(self, *, is_nobody_left: bool) -> None:
        """Let the clients come, once somebody can serve them; in the end, free what never came.

        `is_nobody_left`: pgmux stops, and our last worker has gone.
        """
        if not self._regent:
            if not self._workers:  # while one is being killed, its backends may still be PostgreSQL's
                self._sweep(is_nobody_left=is_nobody_left)
            return
        self.collect()
        if time.monotonic() > self._heard_at + _WEDGED_AFTER_SECONDS:
            self._log.error("the regent has not been heard for %gs: killing it", _WEDGED_AFTER_SECONDS)
            self._abandon()
        self._tell_what_was_said()
        for wanted in list(self._wanted):
            self._cede(wanted)
        workers = self._pools.workers
        serving = [
            workers.read(number)["state"] == WorkerState.SERVING for number in range(len(self._mailboxes) - 1)
        ]
        if not self._is_open and all(serving):
            self._is_open = self._outbox.send(Message(Kind.GO, 0))

    def collect(self) -> None:
        """Take in what has come."""
        for message in self.inbox.collect():
            self._take_in(message)

    def _tell_what_was_said(self) -> None:
        """Have what the operator has said here hold there too, and note as of when it does."""
        moment_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000  # what is said by now is seen below
        said = sayings.collect(self._pools)
        if said != self._said:
            if self._outbox.send(Message(Kind.SAID, 0, self._turn + 1, body=sayings.pack(said))):
                self._said, self._turn = said, self._turn + 1
        elif self._heeded_turn == self._turn:
            self._pools.board.note_heeded(moment_us, self._is_defied)

    def forward(self, message: Message) -> None:
        """A request that means a client of before."""
        if self._regent:
            self._outbox.send(message)
        if message.fd >= 0:
            os.close(message.fd)

    def signal(self, number: signal.Signals) -> None:
        """Send every worker of before a signal."""
        for pid in self._workers:
            os.kill(pid, number)

    def reap(self) -> None:
        """See who has died."""
        for pid in [*self._workers, self._regent]:
            if not pid or os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
            self._workers.discard(pid)
            if pid == self._regent:
                self._regent = 0
                self._close()

    # --- what comes

    def _set_aside(self, body: bytes) -> None:
        census = open_census(body)
        self._crossing.keep_history(census.plans, census.definitions)
        places = []
        for row in census.pools:
            pool = self._place(row.database, row.user)
            if row.welcome and self._pools.tidings.welcome(pool) is None:
                self._pools.tidings.set_welcome(pool, row.welcome)
            places.append(pool)
        for slot in census.slots:
            self._crossing.set_aside(slot.slot, places[slot.pool], slot.private, slot.expires_s)
        self._heard_at = time.monotonic()
        for closed in self._deeds.keys() - {row.slot for row in census.slots}:
            self._drop_deed(closed)
        for client in census.clients:
            self._clients.set_aside(client.record)
        self._note(census.clients)
        sayings.repeat(census.said, sayings.Sayings(), self._pools)
        self._said = sayings.collect(self._pools)  # they go by that already
        self._log.info(
            "%d clients and %d backends are to come from the workers of before",
            len(census.clients), len(census.slots),
        )  # fmt: skip

    def _note(self, roll: list[ClientRow]) -> None:
        """How clients fare that are still to come, for whoever wants it shown."""
        places: dict[PoolName, int] = {}
        for row in roll:
            if not isinstance(row.pool, int) and row.pool not in places:
                with contextlib.suppress(PoolsExhausted):
                    places[row.pool] = self._place(row.pool.database, row.pool.user)
            pool = row.pool if isinstance(row.pool, int) else places.get(row.pool)
            if pool is not None:
                self._clients.note_away(pool, row)

    def _place(self, database: bytes, user: bytes) -> int:
        size = limit = 0
        with contextlib.suppress(KeyError):  # the configuration has lost its database
            names = (database.decode("utf-8", "surrogateescape"), user.decode("utf-8", "surrogateescape"))
            settings = self._config.settings_of_pool(*names)
            size, limit = settings.pool_size, settings.max_backends
        return self._pools.register(database, user, size, limit)

    def _take_in(self, message: Message) -> None:
        if message.kind is Kind.DEED:
            self._drop_deed(message.target)
            if message.fd >= 0:  # else no descriptor was free
                self._deeds[message.target] = open_cargo(message.body), message.fd
        elif message.kind is Kind.CARGO:
            self._drop_deed(message.target)
            try:
                self._unload(message.target, open_cargo(message.body), message.fd)
            except (msgspec.DecodeError, PoolsExhausted) as error:
                self._log.error("slot %d has come from before and cannot be used: %s", message.target, error)
                self._vacate(message.target)
                if message.fd >= 0:
                    os.close(message.fd)
        elif message.kind is Kind.WANT:
            self._wanted.add(open_name(message.body))
            self._cede(open_name(message.body))
        elif message.kind is Kind.GONE:
            self._clients.free_away(message.target)
        elif message.kind is Kind.ROLL:
            self._heard_at = time.monotonic()
            self._note(open_roll(message.body))
        elif message.kind is Kind.HEEDED:
            self._heeded_turn, self._is_defied = message.number, bool(message.note)
        elif message.kind in ORDERS:
            self.orders.append(message)

    def _drop_deed(self, slot: int) -> None:
        if slot in self._deeds:
            os.close(self._deeds.pop(slot)[1])

    def _unload(self, slot: int, cargo: Cargo, fd: int) -> None:
        """A slot is ours, with a backend or without."""
        self._crossing.keep_history(cargo.plans, cargo.definitions)
        pool = self._place(cargo.database, cargo.user) if cargo.state is not State.EMPTY else 0
        if fd < 0:
            self._vacate(slot)
            return
        if self._pools.leases.read(slot)[:2] != (Phase.OPENING, self._crossing.regent):
            os.close(fd)
            return
        undertaker = self._pools.workers.find_lightest(len(self._mailboxes))
        home = undertaker if cargo.is_under_tls else None
        digest = 0 if cargo.settings is None else settings_of(unpack(cargo.settings)).digest
        self._crossing.introduce(slot, cargo, digest, home)
        generation = self._pools.generation(slot)
        self._vault.keep(slot, generation, fd)
        if cargo.state is State.LOST:
            self._crossing.leave_to_bury(slot, undertaker or 0)
            self._pools.workers.send_on_errand(undertaker or 0, Errand.BURY_BACKENDS)
            return
        for mailbox in self._mailboxes[
            :-1
        ]:  # a full one is no harm: its worker asks the vault when it needs it
            mailbox.send(Message(Kind.SOCKET, slot, generation, 0, fd))
        self._crossing.open_to_all(slot, pool)

    def _cede(self, wanted: PoolName) -> None:
        """Give a slot back, within all limits; where there is none, have a backend closed that nobody uses."""
        try:
            pool = self._place(wanted.database, wanted.user)
        except PoolsExhausted:
            return  # one may become vacant
        slot = self._pools.open(pool, self._crossing.regent)
        if slot == POOL_PAUSED:
            return
        if slot < 0:
            self._make_room(pool, slot)
        elif self._outbox.send(Message(Kind.CEDE, slot, body=pack(wanted))):
            self._wanted.discard(wanted)
        else:
            self._vacate(slot)

    def _make_room(self, pool: int, limit: int) -> None:
        database = self._pools.database_record(pool)
        for slot, (phase, _, other, generation) in enumerate(self._pools.leases.snapshot()):
            is_related = other == pool or (
                limit != POOL_FULL and (limit == ALL_FULL or self._pools.database_record(other) == database)
            )
            if phase == Phase.FREE and is_related and not self._pools.waiters.waiting(other):
                home = self._pools.describe_slot(slot)["home"]
                worker = self._pools.workers.find_lightest(len(self._mailboxes)) if home is None else home
                if worker is not None:
                    self._mailboxes[worker].send(Message(Kind.GIVE_UP, slot, generation))
                return

    def _vacate(self, slot: int) -> None:
        if self._crossing.vacate(slot):
            self._pools.workers.send_all_on_errand(Errand.OPEN_BACKENDS)

    # --- the end

    def _abandon(self) -> None:
        self.signal(signal.SIGKILL)
        os.kill(self._regent, signal.SIGKILL)
        self._heard_at = time.monotonic()  # it is said once

    def _close(self) -> None:
        """The regent is gone, and with it whatever has not come. In order nothing is left; else its workers must go,
        for nobody looks after them."""
        self.collect()
        self._pools.board.note_heeded(_FOR_EVER_US)
        if self._workers:
            self._log.error("the regent has died: the workers of before are killed")
            self.signal(signal.SIGKILL)

    def _sweep(self, *, is_nobody_left: bool) -> None:
        """Once no client lies in a landing any more, who has not come never will."""
        while self._deeds:
            slot, (deed, fd) = self._deeds.popitem()
            self._unload(slot, deed, fd)
        for slot in range(self._pools.leases.count):
            self._vacate(slot)
        poll = select.poll()
        for landing in self._landings:
            poll.register(landing, select.POLLIN)
        if poll.poll(0) and not is_nobody_left:
            return
        for record in range(self._clients.mark):
            self._clients.free_away(record)
        self._pools.board.note_heeded(0)
        self._is_swept = True
        self._log.info("all has come from the workers of before")
