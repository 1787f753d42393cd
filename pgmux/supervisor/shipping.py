"""Shipping: which backends of a regent's side go over to the successor, and when (regent.py says what for).

A slot goes over EMPTY, or with its backend as soon as that is FREE and one of two things holds: its pool has more than
its share here, which is as large a share of the backends as the clients are that stay, and one at least; or nobody has
used it for a moment. Where a pool's queue is long nothing would ever be FREE, so the regent stands in the queue too.

A pool whose clients wait here while all that it has is held by transactions WANTs a slot; one that is CEDEd is ours
again, OPENING, and goes over once more when it is not wanted.

Should all of us die, the successor must end what our backends are doing: so it has a *deed* of each from the beginning,
which is its socket and who it is.
"""

import math
import time
from collections import Counter

from pgmux.shm.crossing import Crossing
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand
from pgmux.supervisor.cargo import Cargo, PoolName, SlotRow, State, pack
from pgmux.supervisor.vault import Vault
from pgmux.worker.mailbox import Kind, Mailbox, Message

_IDLE_AFTER_US = 50_000  # a backend that nobody has used for so long
_STARVES_AFTER_US = 50_000  # a client that has waited for so long


class Shipping:
    """The slots that have not gone over."""

    def __init__(
        self, pools: Pools, crossing: Crossing, vault: Vault, mailboxes: list[Mailbox], outbox: Mailbox
    ) -> None:
        """`mailboxes`: one a worker of ours, then the vault's. `outbox`: the successor's."""
        self._pools, self._crossing, self._vault = pools, crossing, vault
        self._mailboxes, self._outbox = mailboxes, outbox
        self._unshipped = set(range(pools.leases.count))
        self._shares: dict[int, tuple[int, int]] = {}  # (backends, clients) of each pool at the census
        self._empty: set[int] = set()  # slots of ours in which there is no backend
        self._wanted: set[PoolName] = set()  # pools for which we have asked for a slot
        self._tickets: dict[int, int] = {}  # ours, in the queue of a pool
        self._deeds: dict[int, int] = {}  # generations of the slots' backends of which the successor has one

    @property
    def is_done(self) -> bool:
        """Whether every slot has gone over."""
        return not self._unshipped

    def count(self, places: dict[int, int]) -> list[SlotRow]:
        """The slots that are in use: the others are the successor's from now on. `places`: of pools, in the census."""
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
        return rows

    def send_deeds(self) -> None:
        """Of the backends of which the successor has none yet, as far as there is room in its mailbox."""
        for slot in self._unshipped:
            generation, fd = self._vault.sockets.get(slot, (0, -1))
            is_new = fd >= 0 and self._deeds.get(slot) != generation == self._crossing.introduced(slot)
            place = self._place_of(slot) if is_new else None
            if place is None:
                continue
            who = {**self._crossing.describe(slot), "settings": None, "statements": []}
            deed = Cargo(State.LOST, place.database, place.user, **who)
            if not self._outbox.send(Message(Kind.DEED, slot, fd=fd, body=pack(deed))):
                return
            self._deeds[slot] = generation

    def ship(self) -> bool:
        """Let go what can go now. Whether something has."""
        before = len(self._unshipped)
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
        return len(self._unshipped) < before

    def take_back(self, slot: int, wanted: PoolName) -> None:
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
            self._mailboxes[home].send(Message(Kind.GIVE_UP, slot, generation))
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
            fd, place = self._socket_of(slot), self._place_of(slot)
            assert place is not None  # a pool with a backend is somebody's
            plans, definitions = self._crossing.history()
            who = self._crossing.describe(slot)
            cargo = Cargo(state, place.database, place.user, plans=plans, definitions=definitions, **who)
        if self._outbox.send(Message(Kind.CARGO, slot, fd=fd, body=pack(cargo))):
            self._unshipped.discard(slot)
            self._crossing.shelve(slot)
            self._vault.drop(slot)

    def _place_of(self, slot: int) -> PoolName | None:
        """Whose a slot's backend is; None = it has none."""
        pool = self._pools.describe_slot(slot)["pool"]
        name = None if pool is None else self._pools.tenancies.names(pool)
        return None if name is None else PoolName(*name[1:])

    def _slots(self) -> list[tuple[int, tuple[Phase, int, int, int]]]:
        """The words of the slots that have not gone over."""
        return [(slot, self._pools.leases.read(slot)) for slot in sorted(self._unshipped)]
