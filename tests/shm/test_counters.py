"""Counters: each worker counts for itself, readers add up."""

from __future__ import annotations

import pytest

from pgmux.shm.counters import HISTOGRAMS, NAMES, CounterTable
from pgmux.shm.segment import Segment
from tests.shm.family import Family
from tests.shm.world import World


@pytest.fixture
def counters(world: World) -> CounterTable:
    return CounterTable(world.segment)


def test_every_counter_begins_at_zero_and_counts_for_itself(counters: CounterTable) -> None:
    for number, name in enumerate(NAMES, 1):
        assert counters.read(2, 1)[name] == 0
        counters.add(2, 1, name)
        counters.add(2, 1, name, number * 1_000_000_000_000)
    row = counters.read(2, 1)
    assert [row[name] for name in NAMES] == [
        1 + number * 1_000_000_000_000 for number in range(1, len(NAMES) + 1)
    ]
    assert all(row[name] == [0] * 32 for name in HISTOGRAMS)
    assert set(row) == {*NAMES, *HISTOGRAMS}


def test_rows_of_workers_and_pools_are_apart(counters: CounterTable) -> None:
    for worker in range(4):
        for pool in range(4):
            counters.add(worker, pool, "queries", 10 * worker + pool)
    for worker in range(4):
        for pool in range(4):
            assert counters.read(worker, pool)["queries"] == 10 * worker + pool


def test_total_adds_up_the_workers(counters: CounterTable) -> None:
    for worker in range(4):
        counters.add(worker, 2, "transactions", 10**worker)
        counters.add(worker, 3, "transactions", 7)
    total = counters.total(2)
    assert total["transactions"] == 1111
    assert total["errors"] == 0
    assert total["wait"] == [0] * 32


def test_an_unknown_counter_or_row_is_an_error(counters: CounterTable) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        counters.add(0, 0, "nonsense")
    for worker, pool in ((4, 0), (0, 4)):
        with pytest.raises(IndexError):
            counters.read(worker, pool)
        with pytest.raises(IndexError):
            counters.add(worker, pool, "queries")


def test_a_reader_and_a_successor_go_on_where_a_dead_worker_stopped(
    world: World, counters: CounterTable, family: Family
) -> None:
    for _ in range(3):
        family.dies_after(lambda: counters.add(1, 0, "transactions", 5))
    counters.add(1, 0, "transactions")
    reader = CounterTable(Segment.attach(world.path))
    assert reader.read(1, 0)["transactions"] == 16
