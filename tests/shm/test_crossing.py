"""Two segments at once: what is in use in the one is set aside in the other."""

from __future__ import annotations

import time

from pgmux.shm.crossing import Crossing
from pgmux.shm.leases import Phase
from pgmux.shm.survey import Survey
from pgmux.supervisor.cargo import Cargo, State
from tests.shm.world import World


def now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def outdated(world: World) -> int:
    rows, *_ = Survey(world.segment).take()
    return sum(row["outdated"] for row in rows)


def arrive(world: World, slot: int, pool: int, opened_at_us: int) -> None:
    """A backend comes to a slot that was set aside."""
    crossing = Crossing(world.pools)
    cargo = Cargo(
        State.IDLE, b"app", b"app", 7, b"key!", opened_at_us=opened_at_us, expires_s=0,
        address=b"127.0.0.1", local_address=b"127.0.0.1",
    )  # fmt: skip
    crossing.introduce(slot, cargo, 0)
    crossing.open_to_all(slot, pool)


def test_what_is_set_aside_counts_and_nobody_opens_there(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    assert crossing.set_aside(0, pool, 0, 0)
    assert world.open(pool, 0) == 1
    assert world.open(pool, 0) is None
    assert crossing.vacate(0)
    assert world.open(pool, 0) == 0


def test_reconnect_means_what_is_set_aside_too(world: World) -> None:
    pool = world.pool(3)
    crossing = Crossing(world.pools)
    for slot in (0, 1):
        crossing.set_aside(slot, pool, 0, 0)
    assert outdated(world) == 0
    opened_before = now_us()
    world.pools.renewal.reconnect(world.pools.database_record(pool))
    assert outdated(world) == 2
    arrive(world, 0, pool, opened_before)  # it was shipped before who shipped it had heard
    assert outdated(world) == 2
    arrive(world, 1, pool, now_us() + 1)
    assert outdated(world) == 1


def test_what_was_outdated_elsewhere_is_so_here(world: World) -> None:
    pool = world.pool(2)
    Crossing(world.pools).set_aside(0, pool, 0, 1)
    assert outdated(world) == 1


def test_a_worker_takes_what_was_ceded_and_the_regent_what_was_not_wanted(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    crossing.leave()
    for slot in range(world.leases.count):
        assert crossing.seize_empty(slot)
    assert world.open(pool, 0) is None
    assert crossing.cede(3, pool)
    assert crossing.cede(4, pool)
    assert world.pools.open(pool, 1) == 3
    assert not crossing.take_ceded(3)
    assert crossing.take_ceded(4)
    assert world.leases.read(3)[:2] == (Phase.OPENING, 1)


def test_the_regent_takes_from_no_worker_what_that_is_opening(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    crossing.leave()
    assert crossing.seize_empty(0)
    assert crossing.cede(0, pool)
    assert world.pools.open(pool, 1) == 0
    crossing.shelve(0)
    assert not crossing.seize_empty(0)
    assert not crossing.seize_free(0)
    assert world.leases.read(0)[:2] == (Phase.OPENING, 1)


def test_a_client_that_is_away_keeps_its_number(world: World) -> None:
    assert world.clients.set_aside(5, 3)
    number = world.clients.number_of(5)
    assert world.clients.find_away(number) == 5
    assert world.clients.find_number(number) is None
    assert world.clients.find_away(number + 1) is None
    assert world.clients.find_away(0) is None
    assert world.clients.free_away(5)
    assert world.clients.find_away(number) is None
