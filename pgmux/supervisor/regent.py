"""The regent: a child of the supervisor that looks after its workers, when a successor has another layout.

Such a successor cannot read our segment, so there are two until our workers have left (shm/crossing.pyx). The
regent is the old code, with the old segment, vault and lifeline; the successor is the supervisor's process, and
has the listening sockets. In this order:

    1. the successor has made its segment: READY. Our workers shut their doors; newcomers wait in the accept queues
    2. CENSUS: every slot and client record that is in use here. The successor sets those aside, and forks
    3. its workers serve: GO. Our clients go to them as they become idle, session, socket and all
    4. CARGO: slots go over as they become free, with socket, cancel key and baggage; GONE: clients that have left
    5. our last worker has left, and so does the regent: what has not gone over by then is nobody's

The limits hold over both segments at every instant, because a slot is never in use in two. While clients stay
here (in a transaction, in a queue, under TLS, listening), so do backends of their pools, as long as they are used: as
large a share as theirs is of the pool's clients, and one at least. Where the queue is long, the regent stands in it
for what is too much; where all that a pool has here is held by transactions, it WANTs a slot, and one is CEDEd.
What the operator says is said in the successor's segment, and repeated in ours: SAID, then HEEDED (sayings.py).

A worker that dies here is buried here: what it had leased goes over to be cancelled and ended there. When the regent
itself dies, the successor kills our workers and takes all their slots. When the successor dies, the regent leaves,
and our workers see their lifeline end.
"""

import logging
import math
import os
import selectors
import time
from collections import Counter
from collections.abc import Callable

from pgmux.errors import PgmuxError
from pgmux.shm.clients import Clients
from pgmux.shm.crossing import Crossing
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.survey import Survey
from pgmux.shm.workers import Errand, WorkerState
from pgmux.supervisor import sayings
from pgmux.supervisor.cargo import (
    Cargo,
    Census,
    PoolName,
    PoolRow,
    SlotRow,
    State,
    open_name,
    pack,
)
from pgmux.supervisor.configuring import Configuring
from pgmux.supervisor.crew import Crew
from pgmux.supervisor.harbour import Regency
from pgmux.supervisor.vault import Vault
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.mailbox import Kind, Mailbox, Message

_HASTE_SECONDS = 0.002  # between two looks, while something goes over
_LEISURE_SECONDS = 0.02
_HASTENS_FOR_SECONDS = 0.5  # after that; who stays for hours must not keep a processor busy
_IDLE_AFTER_US = 50_000  # a backend that nobody has used for so long
_STARVES_AFTER_US = 50_000  # a client that has waited for so long
_DOORS_WITHIN_SECONDS = 5.0  # a worker that has not shut them by then has died, or will be killed


def appoint(
    crew: Crew,
    estate: Inheritance,
    pools: Pools,
    vault: Vault,
    configuring: Configuring,
    let_go: Callable[[], None],
) -> Regency:
    """Fork a regent. `let_go`: what it must first be rid of that only the supervisor may have."""
    ours, its = Mailbox(), Mailbox()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return Regency(pid, [post.pid for post in crew.posts if post.pid], inbox=ours, outbox=its)
    code = 1
    try:
        let_go()
        Regent(crew, estate, pools, vault, configuring, parent, its, ours).run()
        code = 0
    except BaseException:
        logging.getLogger("regent").critical("failed", exc_info=True)
    finally:
        os._exit(code)


class Regent:
    """`Regent(...).run()` returns when the last of our workers has left."""

    def __init__(
        self,
        crew: Crew,
        estate: Inheritance,
        pools: Pools,
        vault: Vault,
        configuring: Configuring,
        parent: int,
        inbox: Mailbox,
        outbox: Mailbox,
    ) -> None:
        """`parent` is the successor's process; `inbox` is ours, `outbox` its."""
        self._crew, self._estate, self._pools, self._vault = crew, estate, pools, vault
        self._inbox, self._outbox = inbox, outbox
        self._configuring = configuring
        self._clients = Clients(estate.segment)
        self._survey = Survey(estate.segment)
        self._crossing = Crossing(pools)
        self._parent = parent
        self._unshipped = set(range(estate.segment.slot_count))
        self._abroad: set[int] = set()  # records of clients that we have told of
        self._shares: dict[int, tuple[int, int]] = {}  # (backends, clients) of each pool at the census
        self._empty: set[int] = set()  # slots of ours in which there is no backend
        self._wanted: set[PoolName] = set()  # pools for which we have asked for a slot
        self._tickets: dict[int, int] = {}  # ours, in the queue of a pool
        self._shut_by = math.inf  # time.monotonic(), when doors are to be shut
        self._is_counted = False
        self._hastens_until = -math.inf  # time.monotonic()
        self._said = sayings.Sayings()  # by the operator, as far as it was repeated here
        self._turn = self._heeded_turn = 0  # of SAID: what has come, and what our workers have heeded
        self._configuration = 0  # by which they must go; 0 = by any
        self._is_defied = False
        self._log = logging.getLogger("regent")

    def run(self) -> None:
        """Look after our workers until they have left."""
        self._crew.is_stopping = True  # nobody is born any more
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._hear)
        self._log.info(
            "regent (pid %d) of %d workers, until their clients have gone over",
            os.getpid(), len(self._crew.running()),
        )  # fmt: skip
        for number in self._crew.running():
            self._watch(number)
        while self._crew.running() or (self._is_counted and self._unshipped):
            for key, _ in self._selector.select(_HASTE_SECONDS if self._is_in_haste() else _LEISURE_SECONDS):
                key.data()
            if os.getppid() != self._parent:
                self._log.error("our successor is gone: workers finish their transactions")
                return
            self._look()
        self._log.info("the last worker of before has left")

    def _watch(self, number: int) -> None:
        """Our parent reaps who dies, so we hear of it in another way: see pidfd_open(2)."""
        try:
            fd = os.pidfd_open(self._crew.posts[number].pid)
        except ProcessLookupError:
            self._bury(number)
            return
        self._selector.register(fd, selectors.EVENT_READ, lambda: self._bury(number, fd))

    def _bury(self, number: int, fd: int | None = None) -> None:
        if fd is not None:
            self._selector.unregister(fd)
            os.close(fd)
        in_order = self._pools.workers.read(number)["state"] == WorkerState.LEFT
        lost, fenced = self._crew.end_affairs(
            number, self._crossing.regent, in_order=in_order, keeps_coming=False
        )
        if not in_order:
            self._log.error(
                "worker %d of before died: %d clients lost, %d backends fenced", number, lost, len(fenced)
            )

    def _hear(self) -> None:
        self._hasten()
        for message in self._inbox.collect():
            if message.kind is Kind.READY:
                # Not before: where the successor cannot be executed, what comes is our parent's.
                self._selector.register(self._estate.mailboxes[-1], selectors.EVENT_READ, self._vault.collect)
                self._shut_by = time.monotonic() + _DOORS_WITHIN_SECONDS
                self._pools.workers.send_all_on_errand(Errand.SHUT_DOORS)
            elif message.kind is Kind.GO:
                self._pools.workers.send_all_on_errand(Errand.EMIGRATE)
            elif message.kind is Kind.CEDE:
                self._take_back(message.target, open_name(message.body))
            elif message.kind is Kind.SAID:
                self._repeat(sayings.unpack(message.body), message.number)
            elif message.kind is Kind.KILL:
                if (place := self._clients.find_number(message.number)) is not None:
                    self._estate.mailboxes[place[1]].send(message)
            elif message.kind is Kind.CANCEL:
                worker = self._clients.find(message.target, message.body)
                if worker is not None:
                    self._estate.mailboxes[worker].send(message)
                if message.fd >= 0:
                    os.close(message.fd)

    def _is_in_haste(self) -> bool:
        return time.monotonic() < self._hastens_until

    def _hasten(self) -> None:
        self._hastens_until = time.monotonic() + _HASTENS_FOR_SECONDS

    def _look(self) -> None:
        """Do what can be done now."""
        for order in self._vault.orders:
            self._outbox.send(order)  # the operator may have asked a worker of ours
        self._vault.orders.clear()
        self._crew.tick(time.monotonic())
        if not self._is_counted and self._shut_by < math.inf and self._are_doors_shut():
            self._count()
        if self._is_counted:
            self._ship_slots()
            self._tell_who_has_gone()
            self._tell_what_is_heeded()

    # --- what the operator says

    def _repeat(self, said: sayings.Sayings, turn: int) -> None:
        """Have it hold here too. Our code may not understand a configuration that is the successor's."""
        try:
            sayings.repeat(said, self._said, self._pools)
            if said.configuration != self._said.configuration:
                self._configuring.follow(
                    said.changes.decode("utf-8", "surrogateescape"),
                    is_reload=said.reloads != self._said.reloads,
                )
                self._configuration = self._pools.board.configuration
                self._is_defied = False
        except PgmuxError as error:
            self._is_defied = True
            self._log.error("the workers of before keep to the configuration they have: %s", error)
        self._said, self._turn = said, turn

    def _tell_what_is_heeded(self) -> None:
        """Once every worker of ours goes by what was said, and whom a KILL meant is gone."""
        if self._heeded_turn == self._turn:
            return
        running = [self._pools.workers.read(number) for number in self._crew.running()]
        if any(row["configuration"] < self._configuration for row in running):
            return
        for row in self._pools.board.rows():
            if row["killed_at_us"] and self._survey.count_clients_before(
                row["database"], row["killed_at_us"]
            ):
                return
        if self._outbox.send(Message(Kind.HEEDED, 0, self._turn, int(self._is_defied))):
            self._heeded_turn = self._turn

    # --- the census

    def _are_doors_shut(self) -> bool:
        """Whether no client can come to us any more, nor be on its way from one worker to another."""
        rows = [self._pools.workers.read(number) for number in self._crew.running()]
        if not any(row["is_accepting"] or row["coming"] for row in rows):
            return True
        if time.monotonic() > self._shut_by:
            for number in self._crew.running():
                if self._pools.workers.read(number)["is_accepting"]:
                    self._log.error("worker %d does not shut its doors: killing it", number)
                    self._crew.kill(number)
            self._shut_by = time.monotonic() + _DOORS_WITHIN_SECONDS
            return not any(row["is_accepting"] for row in rows)
        return False

    def _count(self) -> None:
        """Tell the successor all that is in use here. What is not is the successor's from now on."""
        self._crossing.leave()
        found = {pool: self._pools.tenancies.names(pool) for pool in self._pools.tenancies.pools()}
        names = {pool: name for pool, name in found.items() if name is not None}
        places = {pool: place for place, pool in enumerate(names)}
        rows = []
        for slot, (phase, _, pool, _) in self._slots():
            if phase == Phase.EMPTY and self._crossing.seize_empty(slot):
                self._unshipped.discard(slot)
            else:
                row = self._pools.describe_slot(slot)
                rows.append(SlotRow(slot, places[pool], int(row["private"]), row["expires_s"]))
        for pool, place in places.items():
            backends = sum(row.pool == place for row in rows)
            self._shares[pool] = backends, self._pools.tenancies.guests(pool)
        self._abroad = set(self._clients.used())
        pools = [
            PoolRow(name[1], name[2], self._pools.tidings.welcome(pool) or b"")
            for pool, name in names.items()
        ]
        clients = sorted(self._abroad)
        serials = [self._clients.serial_of(record) for record in clients]
        # The successor has read its configuration anew.
        self._said = sayings.lasting(sayings.collect(self._pools))
        census = Census(pools, rows, clients, serials, *self._crossing.history(), self._said)
        self._is_counted = self._outbox.send(Message(Kind.CENSUS, 0, body=pack(census)))
        self._pools.board.publish(b"", True)  # whoever has asked for the upgrade waits for this

    def _slots(self) -> list[tuple[int, tuple[Phase, int, int, int]]]:
        """The words of the slots that have not gone over."""
        return [(slot, self._pools.leases.read(slot)) for slot in sorted(self._unshipped)]

    # --- what goes over

    def _ship_slots(self) -> None:
        slots = self._slots()
        ours = self._crossing.regent
        kept = Counter(pool for _, (phase, owner, pool, _) in slots if phase != Phase.EMPTY and owner != ours)
        guests = {pool: self._pools.tenancies.guests(pool) for pool in self._pools.tenancies.pools()}
        self._queue(kept, guests)
        for slot, (phase, owner, pool, _) in slots:
            if phase == Phase.EMPTY:
                if self._crossing.seize_empty(slot):
                    self._empty.add(slot)
                    self._ship(slot, State.EMPTY)
            elif owner == ours:
                self._ship_ours(slot, phase, pool)
            elif phase == Phase.FREE and (kept[pool] > self._share(pool, guests) or self._is_idle(slot)):
                kept[pool] -= 1
                self._take_out(slot)
        self._want(slots)

    def _want(self, slots: list[tuple[int, tuple[Phase, int, int, int]]]) -> None:
        """Ask for a slot for each pool whose clients wait here for long, and which has nothing that might serve them
        soon: its backends are held by transactions, or have gone over before somebody came to want one."""
        soon = {pool for _, (phase, _, pool, _) in slots if phase in (Phase.FREE, Phase.OPENING)}
        now_us = time.monotonic_ns() // 1000
        for pool in self._pools.tenancies.pools():
            first = self._pools.waiters.first(pool, now_us)
            if first is None or first[1] == self._crossing.regent or first[2] < _STARVES_AFTER_US:
                continue
            name = self._pools.tenancies.names(pool)
            if (
                pool in soon
                or name is None
                or self._pools.is_pool_paused(pool)
                or PoolName(*name[1:]) in self._wanted
            ):
                continue
            if self._outbox.send(Message(Kind.WANT, 0, body=pack(PoolName(*name[1:])))):
                self._wanted.add(PoolName(*name[1:]))

    def _take_back(self, slot: int, wanted: PoolName) -> None:
        """A slot is ours again, for a pool that wanted one."""
        self._wanted.discard(wanted)
        self._unshipped.add(slot)
        self._empty.discard(slot)
        for pool in self._pools.tenancies.pools():
            name = self._pools.tenancies.names(pool)
            if name is not None and PoolName(*name[1:]) == wanted and self._crossing.cede(slot, pool):
                self._pools.workers.send_all_on_errand(Errand.OPEN_BACKENDS)
                return
        self._empty.add(slot)  # nobody's any more: it goes over again

    def _is_idle(self, slot: int) -> bool:
        """Whether nobody has wanted a FREE backend for a while: who wants one later gets it CEDEd."""
        released_at_us = self._pools.describe_slot(slot)["released_at_us"]
        return time.monotonic_ns() // 1000 - released_at_us > _IDLE_AFTER_US

    def _share(self, pool: int, guests: dict[int, int]) -> int:
        """How many of its backends a pool keeps here, for the clients that are here."""
        backends, clients = self._shares.get(pool, (1, 1))
        if not guests.get(pool):
            return 0
        return max(1, math.ceil(backends * min(guests[pool] / max(clients, 1), 1.0)))

    def _queue(self, kept: Counter[int], guests: dict[int, int]) -> None:
        """Stand in the queue of each pool that has more than its share, or nothing of it would ever be FREE."""
        for pool in list(kept):
            ticket = self._tickets.get(pool)
            if kept[pool] <= self._share(pool, guests):
                if ticket is not None:
                    self._pools.waiters.try_leave(pool, self._tickets.pop(pool))
            elif ticket is None or not self._pools.waiters.is_queued(pool, ticket):
                now_us = time.monotonic_ns() // 1000
                ticket = self._pools.waiters.try_park(pool, self._crossing.regent, now_us)
                if ticket is not None:
                    self._tickets[pool] = ticket

    def _take_out(self, slot: int) -> None:
        """A FREE slot that is not wanted here: its backend goes over; under TLS it cannot, and is closed by its home."""
        home = self._pools.describe_slot(slot)["home"]
        if home is not None:
            generation = self._pools.generation(slot)
            self._estate.mailboxes[home].send(Message(Kind.GIVE_UP, slot, generation))
        elif self._crossing.seize_free(slot):
            self._ship(slot, State.IDLE)

    def _ship_ours(self, slot: int, phase: Phase, pool: int) -> None:
        """A slot that the regent has: granted to it in a queue, ceded, left by a dead worker, or not sent at once."""
        if phase == Phase.OPENING:
            is_wanted = self._pools.waiters.first(pool) is not None and not self._pools.is_pool_paused(pool)
            if not is_wanted and self._crossing.take_ceded(slot):
                self._empty.add(slot)
                self._ship(slot, State.EMPTY)
        elif phase == Phase.CLOSING:
            is_lost = slot not in self._empty and self._socket_of(slot) >= 0
            self._ship(slot, State.LOST if is_lost else State.EMPTY)
        elif phase == Phase.LEASED or self._crossing.seize_free(slot):
            self._ship(slot, State.IDLE)

    def _socket_of(self, slot: int) -> int:
        """The vault's socket of the backend that was introduced in the slot last; -1 = it has none."""
        self._vault.collect()
        generation, fd = self._vault.sockets.get(slot, (0, -1))
        return fd if generation == self._crossing.introduced(slot) else -1

    def _ship(self, slot: int, state: State) -> None:
        """The slot is the successor's from now on. Stays ours while there is no room in its mailbox."""
        cargo, fd = Cargo(state), -1
        if state is not State.EMPTY:
            fd = self._socket_of(slot)
            pool = self._pools.describe_slot(slot)["pool"]
            name = None if pool is None else self._pools.tenancies.names(pool)
            assert name is not None  # a pool with a backend is somebody's
            plans, definitions = self._crossing.history()
            cargo = Cargo(
                state, name[1], name[2], plans=plans, definitions=definitions, **self._crossing.describe(slot)
            )
        if self._outbox.send(Message(Kind.CARGO, slot, fd=fd, body=pack(cargo))):
            self._hasten()
            self._unshipped.discard(slot)
            self._crossing.shelve(slot)
            self._vault.drop(slot)

    def _tell_who_has_gone(self) -> None:
        for record in self._clients.unused_of(self._abroad):
            if not self._outbox.send(Message(Kind.GONE, record)):
                return
            self._abroad.discard(record)
            self._hasten()
