"""Backends with a home: who may take them, how they move, and that the limits stay what they are."""

from __future__ import annotations

import time

import pytest

from pgmux.shm.homes import STAY_SECONDS, Homes
from pgmux.shm.leases import Phase
from pgmux.shm.pools import DATABASE_FULL, POOL_FULL
from pgmux.shm.workers import Errand
from tests.servers import wait_until
from tests.shm.aftermath import DEAD, OTHER, enlist, mourn
from tests.shm.world import World

HOME, ABROAD = 1, 2


def open_at_home(world: World, pool: int, worker: int = HOME) -> int:
    """A new backend under TLS, LEASED to its home."""
    slot = world.pools.open(pool, worker)
    assert slot >= 0
    world.pools.introduce(slot, 1000 + slot, b"key", 0, worker)
    assert world.pools.try_adopt(slot, worker)
    Homes(world.pools).settle(pool, is_homed=True)
    return slot


def wait_out_the_stay(world: World, slot: int) -> None:
    """Until the backend has been where it is for as long as it must."""
    opened_at_us = world.pools.describe_slot(slot)["opened_at_us"]
    wait_until(lambda: time.monotonic() > opened_at_us / 1e6 + STAY_SECONDS + 0.001)


@pytest.fixture
def homes(world: World) -> Homes:
    return Homes(world.pools)


def test_only_its_home_takes_it(world: World) -> None:
    pool = world.pool(2)
    slot = open_at_home(world, pool)
    assert world.pools.try_release(slot, HOME)
    assert world.pools.try_take(pool, ABROAD) is None
    assert world.pools.try_take(pool, ABROAD, slot) is None
    assert world.pools.try_take(pool, HOME) == slot
    assert world.pools.describe_slot(slot)["home"] == HOME


def test_it_is_granted_to_nobody(world: World) -> None:
    pool = world.pool(1)
    slot = open_at_home(world, pool)
    ticket = world.park(pool, ABROAD)
    assert world.pools.try_release(slot, HOME)
    assert world.phase(slot) is Phase.FREE
    assert world.waiters.first(pool) is not None
    assert world.waiters.try_leave(pool, ticket)


def test_a_slot_without_a_home_is_everybodys_again(world: World) -> None:
    pool = world.pool(1)
    slot = open_at_home(world, pool)
    assert world.pools.shut(slot, HOME)
    assert world.pools.clear(slot, HOME)
    assert world.open(pool, HOME) == slot
    assert world.pools.try_release(slot, HOME)
    assert world.pools.try_take(pool, ABROAD) == slot


def test_it_counts_within_the_limit_of_its_pool(world: World) -> None:
    pool = world.pool(2)
    open_at_home(world, pool, HOME)
    open_at_home(world, pool, ABROAD)
    assert world.pools.open(pool, HOME) == POOL_FULL


def test_another_worker_does_not_evict_it(world: World) -> None:
    idle, wanted = world.pool(4, "idle"), world.pool(4, "wanted")
    slot = open_at_home(world, idle)
    assert world.pools.try_release(slot, HOME)
    assert world.pools.evict(wanted, ABROAD) < 0
    assert world.pools.evict(wanted, HOME) == slot


def test_each_worker_counts_what_is_of_use_to_it(world: World, homes: Homes) -> None:
    pool = world.pool(4)
    slot = open_at_home(world, pool)
    assert world.pools.open(pool, HOME) >= 0
    assert homes.count(pool, HOME) == (2, 1, 1)
    assert homes.count(pool, ABROAD) == (2, 0, 0)
    homes.settle(pool, is_homed=False)
    assert homes.count(pool, ABROAD) == (2, 1, 0)
    assert world.pools.try_release(slot, HOME)


def test_an_idle_one_is_found_for_a_client_elsewhere(world: World, homes: Homes) -> None:
    pool = world.pool(1)
    slot = open_at_home(world, pool)
    assert world.pools.try_release(slot, HOME)
    assert homes.find_idle_abroad(pool, ABROAD, POOL_FULL) is None  # it has only just come
    wait_out_the_stay(world, slot)
    assert homes.find_idle_abroad(pool, HOME, POOL_FULL) is None
    assert homes.find_idle_abroad(pool, ABROAD, POOL_FULL) == (slot, world.pools.generation(slot), HOME)


def test_none_is_found_while_it_is_busy_or_another_is_moving(world: World, homes: Homes) -> None:
    pool = world.pool(3)
    busy, idle = open_at_home(world, pool), open_at_home(world, pool)
    wait_out_the_stay(world, idle)
    assert homes.find_idle_abroad(pool, ABROAD, POOL_FULL) is None
    assert world.pools.try_release(idle, HOME)
    third = world.pools.open(pool, ABROAD)
    assert homes.find_idle_abroad(pool, ABROAD, POOL_FULL) is None
    assert world.pools.shut(third, ABROAD)
    assert homes.find_idle_abroad(pool, ABROAD, POOL_FULL) is None
    assert world.pools.clear(third, ABROAD)
    found = homes.find_idle_abroad(pool, ABROAD, POOL_FULL)
    assert found is not None
    assert found[0] == idle != busy


def test_another_pools_is_found_where_the_limit_is_over_both(world: World, homes: Homes) -> None:
    mine = world.pool(4)
    beside = world.pools.register(b"app", b"other user", 4)
    stranger = world.pool(4, "other database")
    slots = {pool: open_at_home(world, pool) for pool in (beside, stranger)}
    for slot in slots.values():
        assert world.pools.try_release(slot, HOME)
        wait_out_the_stay(world, slot)
    assert homes.find_idle_abroad(mine, ABROAD, POOL_FULL) is None
    found = homes.find_idle_abroad(mine, ABROAD, DATABASE_FULL)
    assert found is not None
    assert found[0] == slots[beside]
    world.park(beside, HOME)
    assert homes.find_idle_abroad(mine, ABROAD, DATABASE_FULL) is None


def test_room_is_told_to_every_worker(world: World) -> None:
    pool = world.pool(1)
    enlist(world)
    slot = open_at_home(world, pool, DEAD)
    world.park(pool, OTHER)
    assert world.pools.shut(slot, DEAD)
    assert world.pools.clear(slot, DEAD)
    assert world.workers.take_errands(OTHER) & Errand.OPEN_BACKENDS


@pytest.mark.parametrize("is_idle", [True, False])
def test_it_ends_with_its_home(world: World, is_idle: bool) -> None:
    pool = world.pool(2)
    enlist(world)
    slot = open_at_home(world, pool, DEAD)
    elsewhere = open_at_home(world, pool, OTHER)
    for each, worker in ((slot, DEAD), (elsewhere, OTHER)):
        if is_idle:
            assert world.pools.try_release(each, worker)
    mourn(world)
    assert world.phase(slot) is Phase.EMPTY
    assert world.phase(elsewhere) is (Phase.FREE if is_idle else Phase.LEASED)
    assert open_at_home(world, pool, OTHER) == slot
    assert world.pools.open(pool, OTHER) == POOL_FULL
