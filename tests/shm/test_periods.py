"""Snapshots of the counters: averages begin with the one before the last."""

from __future__ import annotations

import pytest

from pgmux.shm.counters import CounterTable
from pgmux.shm.periods import Periods
from pgmux.shm.segment import Segment
from tests.shm.family import Family
from tests.shm.world import World


def test_before_there_are_two_averages_begin_with_the_start(world: World) -> None:
    pool, counters, periods = world.pool(1), CounterTable(world.segment), Periods(world.segment)
    start = periods.since()
    counters.add(0, pool, "queries", 10)
    assert periods.read(pool)["queries"] == 0
    periods.take()
    assert periods.since() == start
    assert periods.read(pool)["queries"] == 0


def test_the_snapshot_before_the_last_is_kept_over_all_workers(world: World) -> None:
    pool, counters, periods = world.pool(1), CounterTable(world.segment), Periods(world.segment)
    moments = []
    for turn in range(1, 8):
        counters.add(turn % 4, pool, "queries", turn)
        counters.add(turn % 4, pool, "errors", 1)
        periods.take()
        moments.append(periods.age_us())
        if turn > 1:
            assert periods.read(pool)["queries"] == sum(range(turn))
            assert periods.read(pool)["errors"] == turn - 1
    assert all(age < 60_000_000 for age in moments)
    counters.add(0, pool, "queries", 1000)
    assert periods.read(pool)["queries"] == sum(range(7))


def test_a_reader_sees_them_and_pools_are_apart(world: World) -> None:
    pools = [world.pool(1, "one"), world.pool(1, "two")]
    counters, periods = CounterTable(world.segment), Periods(world.segment)
    for pool in pools:
        counters.add(1, pool, "logins", 5 + pool)
    periods.take()
    periods.take()
    reader = Periods(Segment.attach(world.path))
    assert [reader.read(pool)["logins"] for pool in pools] == [5, 6]
    assert reader.since() == periods.since()
    with pytest.raises(IndexError):
        reader.read(4)


def test_a_pool_that_came_after_the_snapshot_began_with_nothing(world: World) -> None:
    periods = Periods(world.segment)
    periods.take()
    periods.take()
    pool = world.pool(1)
    CounterTable(world.segment).add(0, pool, "queries", 3)
    assert periods.read(pool)["queries"] == 0


def test_readers_are_not_disturbed_by_the_next_snapshot(world: World, family: Family) -> None:
    """Only who reads for a whole period could be."""
    pool, counters, periods = world.pool(1), CounterTable(world.segment), Periods(world.segment)

    def count_and_take() -> None:
        for _ in range(2000):
            counters.add(0, pool, "queries", 7)
            counters.add(0, pool, "leases", 7)
            periods.take()

    taker = family.fork(count_and_take)
    last = 0
    while taker.is_alive():
        row = periods.read(pool)
        assert row["queries"] % 7 == 0
        assert row["queries"] >= last
        last = row["queries"]
    family.end_well()
