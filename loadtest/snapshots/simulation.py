"""The same race on machines that are not here: a discrete simulation of 64 and 256 cores. It is a simulation.

What it knows is what a memory line costs. A core that writes a line, or takes a lock in it, needs it alone: when another
core has had it, that takes TRANSFER_NS, and whoever wants the same line meanwhile waits his turn. A core that only reads
a line pays a transfer if it was written since; independent reads overlap, OVERLAP at a time. A lock that is not free puts
its process to sleep, and waking it costs WAKE_NS. Instructions, the memory's bandwidth, sockets further away
than others and the scheduler are left out; they would hurt the lock, whose holder can be put aside, more than the
lock-free table.

- *ProcArray's model*: the lock's word is one line: every snapshot takes and gives it back, two turns with that line. A
  writer holds it alone for HOLD_NS. A snapshot copies a dense array: a few lines, written by each writer.
- *Lease table*: a slot is a line. A writer needs his own line, and the word of the free bitmap, in turn. A snapshot reads
  all lines, and pays for those that were written since its core read them last.

Every event is in nanoseconds of one clock; equal seeds give equal results.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

TRANSFER_NS = 100  # a line from another core's cache, on a server of two sockets
HIT_NS = 1  # of one in the own cache
OVERLAP = 8  # independent misses at once
WAKE_NS = 5000  # a futex that wakes a sleeper, until that runs
HOLD_NS = 60  # the array's tail moved
WORK_NS = 1000  # between two operations, on the average
PLACES = 128
DENSE_LINES = 2 * PLACES * 4 // 64  # of the array: indexes and transaction ids, four bytes each


@dataclass
class Simulated:
    """What all cores did in the simulated time."""

    snapshots_per_s: float
    changes_per_s: float
    p50_ns: float
    p99_ns: float


@dataclass
class _Line:
    """A line that is written: who has it, until when it is on its way, and how often it has changed."""

    owner: int = -1
    free_at: float = 0.0
    version: int = 0

    def grab(self, core: int, now: float) -> float:
        """When the core has it alone."""
        ready = max(now, self.free_at) + (HIT_NS if self.owner == core else TRANSFER_NS)
        self.owner, self.free_at = core, ready
        self.version += 1
        return ready


@dataclass
class _World:
    """The clock, and what is to happen."""

    random: random.Random
    now: float = 0.0
    queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    order: int = 0
    latencies: list[float] = field(default_factory=list)
    changes: int = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (when, self.order, what))

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] < until:
            self.now, _, what = heapq.heappop(self.queue)
            what()

    def work_ns(self) -> float:
        return self.random.expovariate(1 / WORK_NS)


class _Lock:
    """An LWLock: its word is a line, its waiters sleep in a list, the woken try again."""

    def __init__(self, world: _World) -> None:
        self._world = world
        self._line = _Line()
        self._sharing = 0
        self._alone = False
        self._sleepers: deque[tuple[int, bool, Callable[[], None]]] = deque()

    def take(self, core: int, alone: bool, then: Callable[[], None]) -> None:
        self._world.at(self._line.grab(core, self._world.now), lambda: self._try(core, alone, then))

    def _try(self, core: int, alone: bool, then: Callable[[], None]) -> None:
        if self._alone or (alone and self._sharing):
            self._sleepers.append((core, alone, then))
            return
        self._alone = alone
        self._sharing += not alone
        then()

    def give_back(self, core: int, alone: bool, then: Callable[[], None]) -> None:
        self._world.at(self._line.grab(core, self._world.now), lambda: self._released(alone, then))

    def _released(self, alone: bool, then: Callable[[], None]) -> None:
        if alone:
            self._alone = False
        else:
            self._sharing -= 1
        woken = 0
        if not self._sharing and not self._alone:
            while self._sleepers and not (woken and self._sleepers[0][1]):
                core, wants_alone, go_on = self._sleepers.popleft()
                woken += 1
                self._world.at(
                    self._world.now + WAKE_NS,
                    lambda core=core, wants=wants_alone, go=go_on: self.take(core, wants, go),  # type: ignore[misc]
                )
                if wants_alone:
                    break
        then()


def simulate_array(writers: int, readers: int, simulated_ns: float, seed: int = 1) -> Simulated:
    """The model of the ProcArray."""
    world = _World(random.Random(seed))
    lock = _Lock(world)
    written = 0
    seen = [0] * (writers + readers)

    def write(core: int) -> None:
        def changed() -> None:
            nonlocal written
            written += 1
            world.at(world.now + HOLD_NS, lambda: lock.give_back(core, True, done))

        def done() -> None:
            world.changes += 1
            world.at(world.now + world.work_ns(), lambda: write(core))

        lock.take(core, True, changed)

    def read(core: int) -> None:
        began = world.now

        def copy() -> None:
            stale = written > seen[core]
            seen[core] = written
            cost = DENSE_LINES * (TRANSFER_NS / OVERLAP if stale else HIT_NS)
            world.at(world.now + cost, lambda: lock.give_back(core, False, done))

        def done() -> None:
            world.latencies.append(world.now - began)
            world.at(world.now + world.work_ns(), lambda: read(core))

        lock.take(core, False, copy)

    return _play(world, write, read, writers, readers, simulated_ns, changes_each=2)


def simulate_leases(writers: int, readers: int, simulated_ns: float, seed: int = 1) -> Simulated:
    """pgmux's lease table."""
    world = _World(random.Random(seed))
    slots = [_Line() for _ in range(PLACES)]
    bitmap = [_Line() for _ in range(PLACES // 64)]
    seen = [[0] * PLACES for _ in range(writers + readers)]

    def write(core: int) -> None:
        slot = core % PLACES  # a worker prefers what it leased last
        hint = bitmap[slot // 64]
        moved = slots[slot].grab(core, world.now)
        noted = hint.grab(core, moved)

        def done() -> None:
            world.changes += 1
            world.at(world.now + world.work_ns(), lambda: write(core))

        world.at(noted, done)

    def read(core: int) -> None:
        began = world.now
        mine = seen[core]
        stale = 0
        for place, line in enumerate(slots):
            if line.version != mine[place]:
                mine[place] = line.version
                line.owner = -1  # shared now: its writer must have it back before he writes again
                stale += 1
        cost = stale * TRANSFER_NS / OVERLAP + (PLACES - stale) * HIT_NS

        def done() -> None:
            world.latencies.append(world.now - began)
            world.at(world.now + world.work_ns(), lambda: read(core))

        world.at(world.now + cost, done)

    return _play(world, write, read, writers, readers, simulated_ns, changes_each=2)


def _play(
    world: _World,
    write: Callable[[int], None],
    read: Callable[[int], None],
    writers: int,
    readers: int,
    simulated_ns: float,
    changes_each: int,
) -> Simulated:
    for core in range(writers + readers):
        begin = write if core < writers else read
        world.at(world.work_ns(), lambda core=core, begin=begin: begin(core))  # type: ignore[misc]
    world.run(simulated_ns)
    latencies = sorted(world.latencies)
    return Simulated(
        snapshots_per_s=len(latencies) / simulated_ns * 1e9,
        changes_per_s=world.changes / changes_each / simulated_ns * 1e9,
        p50_ns=latencies[len(latencies) // 2] if latencies else 0.0,
        p99_ns=latencies[len(latencies) * 99 // 100] if latencies else 0.0,
    )
