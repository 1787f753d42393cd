"""Limits are exact over all workers, however many open at once."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from pgmux.shm.leases import Phase
from pgmux.shm.pools import ALL_FULL, DATABASE_FULL, POOL_FULL
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.tally import Tally
from tests.shm.world import World


def backends(world: World, pool: int) -> int:
    return world.pools.count(pool)[0]


@pytest.mark.parametrize(
    ("pool_size", "database_limit", "max_backends", "allowed"),
    [(7, 0, 40, 14), (30, 11, 40, 11), (30, 0, 13, 13), (5, 9, 40, 9)],
    ids=["pool_size", "database", "max_backends", "pool_size and database"],
)
def test_of_many_processes_that_open_at_once_exactly_as_many_succeed_as_are_allowed(
    make_world: MakeWorld,
    family: Family,
    pool_size: int,
    database_limit: int,
    max_backends: int,
    allowed: int,
) -> None:
    world = make_world(workers=10, backends=max_backends)
    pools = [world.pools.register(b"app", user, pool_size, database_limit) for user in (b"one", b"two")]
    opened = Tally(max_backends)

    def open_all(worker: int) -> None:
        for each in range(40):
            slot = world.pools.open(pools[(each + worker) % 2], worker)
            assert slot >= 0 or slot in (POOL_FULL, DATABASE_FULL, ALL_FULL)
            if slot >= 0:
                opened[slot] += 1

    for worker in range(10):
        family.fork(open_all, worker)
    family.end_well()
    assert Counter(opened.all()) == Counter({1: allowed, 0: max_backends - allowed})
    assert sum(backends(world, pool) for pool in pools) == allowed
    assert max(backends(world, pool) for pool in pools) <= pool_size


def test_limit_holds_at_every_moment_while_backends_come_and_go(
    make_world: MakeWorld, family: Family
) -> None:
    world = make_world(workers=4, backends=12)
    pool = world.pool(5)
    times, has_begun = 1_500, Tally(1)

    def come_and_go(worker: int) -> None:
        while not has_begun[0]:
            os.sched_yield()
        for each in range(times):
            slot = world.pools.open(pool, worker)
            if slot < 0:
                continue
            if each % 100 == 0:
                os.sched_yield()
            if each % 3:
                assert world.pools.try_adopt(slot, worker)
            assert world.pools.shut(slot, worker)
            assert world.pools.clear(slot, worker)

    for worker in range(4):
        family.fork(come_and_go, worker)
    most, has_begun[0] = 0, 1
    while any(child.is_alive() for child in family.children):
        most = max(most, sum(phase is not Phase.EMPTY for phase, *_ in world.leases.snapshot()))
    family.end_well()
    assert most <= 5
    assert backends(world, pool) == 0


def test_a_pool_registered_by_many_processes_at_once_is_one_pool(world: World, family: Family) -> None:
    found = Tally(4)

    def register(worker: int) -> None:
        for user in (b"d", b"c", b"b", b"a")[worker:]:
            world.pools.register(b"app", user, 1)
        found[worker] = world.pools.register(b"app", b"a", 1)

    for worker in range(4):
        family.fork(register, worker)
    family.end_well()
    assert len(set(found.all())) == 1
    rows = [world.pools.read(pool) for pool in range(4)]
    assert {row["user"] for row in rows if row is not None} == {b"a", b"b", b"c", b"d"}
