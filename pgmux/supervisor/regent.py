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
here (in a transaction, in a queue, under TLS, listening), so do backends of their pools, as long as they are used:
shipping.py. How those clients fare is told from time to time (ROLL), so that it can be shown there.
What the operator says is said in the successor's segment, and repeated in ours: SAID, then HEEDED (sayings.py).

A worker that dies here is buried here: what it had leased goes over to be cancelled and ended there. When the regent
itself dies, the successor kills our workers, and ends what their backends do: it has a DEED of each. When the successor
dies, the regent leaves, and our workers see their lifeline end.
"""

import logging
import math
import os
import selectors
import time
from collections.abc import Callable

from pgmux.errors import PgmuxError
from pgmux.shm.clients import Clients
from pgmux.shm.crossing import Crossing
from pgmux.shm.pools import Pools
from pgmux.shm.survey import Standing, Survey
from pgmux.shm.workers import Errand, WorkerState
from pgmux.supervisor import sayings
from pgmux.supervisor.cargo import (
    Census,
    ClientRow,
    PoolName,
    PoolRow,
    open_name,
    pack,
)
from pgmux.supervisor.configuring import Configuring
from pgmux.supervisor.crew import Crew
from pgmux.supervisor.harbour import Regency
from pgmux.supervisor.shipping import Shipping
from pgmux.supervisor.vault import Vault
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.mailbox import Kind, Mailbox, Message

_HASTE_SECONDS = 0.002  # between two looks, while something goes over
_LEISURE_SECONDS = 0.02
_HASTENS_FOR_SECONDS = 0.5  # after that; who stays for hours must not keep a processor busy
_ROLL_SECONDS = 0.5  # between two tellings of how clients fare that stay
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
        self._shipping = Shipping(pools, self._crossing, vault, estate.mailboxes, outbox)
        self._abroad: set[int] = set()  # records of clients that have not gone over, as far as we have told
        self._told: dict[int, tuple[int, int, int]] = {}  # of each, its moment
        self._roll_due = 0.0  # time.monotonic()
        self._rules = False  # there is a successor, and our workers are ours to look after
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
        self._shipping.send_deeds()  # before anything else: from here on our death is provided for
        self._log.info(
            "regent (pid %d) of %d workers, until their clients have gone over",
            os.getpid(), len(self._crew.running()),
        )  # fmt: skip
        while self._crew.running() or (self._is_counted and not self._shipping.is_done):
            for key, _ in self._selector.select(_HASTE_SECONDS if self._is_in_haste() else _LEISURE_SECONDS):
                key.data()
            if os.getppid() != self._parent:
                self._log.error("our successor is gone: workers finish their transactions")
                return
            if self._rules:
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
                # Not before: where the successor cannot be executed, all that we would do is our parent's to do.
                self._rules = True
                for number in self._crew.running():
                    self._watch(number)
                self._selector.register(self._estate.mailboxes[-1], selectors.EVENT_READ, self._vault.collect)
                self._shut_by = time.monotonic() + _DOORS_WITHIN_SECONDS
                self._pools.workers.send_all_on_errand(Errand.SHUT_DOORS)
            elif message.kind is Kind.GO:
                self._pools.workers.send_all_on_errand(Errand.EMIGRATE)
            elif message.kind is Kind.CEDE:
                self._shipping.take_back(message.target, open_name(message.body))
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
        if not self._is_counted and self._are_doors_shut():
            self._count()
        self._shipping.send_deeds()
        if self._is_counted:
            if self._shipping.ship():
                self._hasten()
            self._tell_who_has_gone()
            self._call_roll()
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
        slots = self._shipping.count(places)
        clients = self._roll()
        self._abroad = {row.record for row in clients}
        pools = [
            PoolRow(name[1], name[2], self._pools.tidings.welcome(pool) or b"")
            for pool, name in names.items()
        ]
        # The successor has read its configuration anew.
        self._said = sayings.lasting(sayings.collect(self._pools))
        census = Census(pools, slots, clients, *self._crossing.history(), self._said)
        self._is_counted = self._outbox.send(Message(Kind.CENSUS, 0, body=pack(census)))
        if self._is_counted:
            self._told = {row.record: row.moment for row in clients}
        self._pools.board.publish(b"", True)  # whoever has asked for the upgrade waits for this

    def _tell_who_has_gone(self) -> None:
        for record in self._clients.unused_of(self._abroad):
            if not self._outbox.send(Message(Kind.GONE, record)):
                return
            self._abroad.discard(record)
            self._hasten()

    def _call_roll(self) -> None:
        """Tell how the clients fare that are still here, so that it can be shown; and that we live, if that is all."""
        if time.monotonic() < self._roll_due:
            return
        self._roll_due = time.monotonic() + _ROLL_SECONDS
        roll = self._roll()
        if self._outbox.send(Message(Kind.ROLL, 0, body=pack(roll))):
            self._told.update((row.record, row.moment) for row in roll)

    def _roll(self) -> list[ClientRow]:
        """Of whom there is something new."""
        rows, names = self._clients.roll(self._told), self._pools.tenancies.names
        for row in rows:
            if row["pool"] < self._estate.segment.pool_count:  # else the console's
                name = None if row["phase"] == Standing.LOGGING_IN else names(row["pool"])
                row["pool"] = 0 if name is None else PoolName(*name[1:])
        return [ClientRow(**row) for row in rows]
