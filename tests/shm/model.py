"""A worker as the shared memory sees it: it takes, parks, sleeps, wakes, uses, releases.

Whoever uses a backend writes itself down beside it, and finds out if it is not alone. Whoever sleeps too long
says so: its wake-up was lost.
"""

from __future__ import annotations

import os
import select

from pgmux.shm.leases import Phase
from pgmux.shm.workers import Errand
from tests.shm.tally import Tally
from tests.shm.world import World

LOST_AFTER_S = 20.0  # no wait is nearly so long, even on a machine that has other things to do


class Stage:
    """What all workers of a test share beside the segment."""

    def __init__(self, world: World, pool: int) -> None:
        self.world = world
        self.pool = pool
        self.users = Tally(world.segment.slot_count)  # pid of who uses the backend, 0 = nobody
        self.done = Tally(world.segment.worker_count)  # transactions, by worker
        self.waits = Tally(world.segment.worker_count)  # of these, how many had to park
        self.has_begun = Tally(1)
        self.is_over = Tally(1)


class Worker:
    """One worker process with one busy client."""

    def __init__(self, stage: Stage, number: int) -> None:
        self._stage, self._world, self._pool, self._number = stage, stage.world, stage.pool, number
        self._pools, self._workers = stage.world.pools, stage.world.workers
        self._favourite = -1

    def run(self, times: int | None = None) -> None:
        """So many transactions, or as many as there is time for."""
        while not self._stage.has_begun[0]:
            os.sched_yield()
        self._bury()
        while self._stage.done[self._number] < times if times else not self._stage.is_over[0]:
            for slot in self._look_around(wants_more=False):
                self._release(slot)
            self._transact()

    def _transact(self) -> None:
        slot = self._acquire()
        self._use(slot)
        self._favourite = slot
        self._release(slot)
        self._stage.done[self._number] += 1

    def _acquire(self) -> int:
        if self._world.waiters.waiting(self._pool) == 0:
            slot = self._pools.try_take(self._pool, self._number, self._favourite)
            if slot is not None:
                return slot
        self._stage.waits[self._number] += 1
        ticket = self._world.park(self._pool, self._number)
        slot = self._pools.try_take(self._pool, self._number)
        if slot is not None:
            self._release(slot)  # to the head of the queue, which need not be our client
        while not (slots := self._look_around(wants_more=True)):
            self._sleep()
        self._world.waiters.try_leave(self._pool, ticket)
        for more in slots[1:]:
            self._release(more)
        return slots[0]

    def _sleep(self) -> None:
        if self._workers.try_sleep(self._number):
            bell = self._world.bells[self._number]
            if not select.select([bell], [], [], LOST_AFTER_S)[0]:
                raise AssertionError(f"worker {self._number} was not woken: {self._world.leases.snapshot()}")
            os.eventfd_read(bell)
        self._workers.wake(self._number)

    def _look_around(self, *, wants_more: bool) -> list[int]:
        """The slots that have come to us, or that errands have us find."""
        errands = self._workers.take_errands(self._number)
        told = self._workers.take_deliveries(self._number)
        if errands & Errand.LOOK_FOR_GRANTS:
            told = list(range(self._world.segment.slot_count))
        slots = [slot for slot in told if self._pools.try_accept(slot, self._number)]
        if errands & Errand.OPEN_BACKENDS:
            self._open_missing()
            free = self._pools.try_take(self._pool, self._number) if wants_more and not slots else None
            if free is not None:
                self._release(free)
                return slots + self._look_around(wants_more=wants_more)
        return slots

    def _open_missing(self) -> None:
        while self._world.waiters.waiting(self._pool):
            slot = self._world.open(self._pool, self._number)
            if slot is None:
                return
            self._release(slot)

    def _release(self, slot: int) -> None:
        assert self._pools.try_release(slot, self._number), "a lease was lost"

    def _use(self, slot: int) -> None:
        users, me = self._stage.users, os.getpid()
        assert users[slot] == 0, f"slot {slot} has two owners"
        users[slot] = me
        if self._stage.done[self._number] % 16 == 0:
            os.sched_yield()  # or two cores would seldom meet
        assert users[slot] == me, f"slot {slot} has two owners"
        users[slot] = 0

    def _bury(self) -> None:
        """Ends the backends that a predecessor has left, and opens others for those who wait."""
        for slot in range(self._world.segment.slot_count):
            if self._world.leases.read(slot)[:2] == (Phase.CLOSING, self._number):
                self._stage.users[slot] = 0
                assert self._pools.clear(slot, self._number)
        self._open_missing()
