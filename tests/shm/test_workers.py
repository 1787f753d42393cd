"""Inboxes, errands and bells: nothing is lost, and nobody is woken who is awake."""

from __future__ import annotations

import os
import select

import pytest

from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from pgmux.shm.workers import Errand
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.world import World


def deliver(world: World, pool: int, worker: int) -> int:
    """Has worker 0 hand a backend to the worker. Gives the slot."""
    slot = world.open(pool, 0)
    assert slot is not None
    world.park(pool, worker)
    assert world.pools.try_release(slot, 0)
    return slot


def test_deliveries_are_told_once_and_each_worker_its_own(make_world: MakeWorld) -> None:
    world = make_world(backends=200)
    pool = world.pool(200)
    slots: dict[int, list[int]] = {1: [], 2: []}
    for each in range(200):
        worker = 1 + each % 2
        slots[worker].append(deliver(world, pool, worker))
    for worker in (1, 2):
        assert world.workers.take_deliveries(worker) == slots[worker]
        assert world.workers.take_deliveries(worker) == []


def test_errands_add_up_and_are_cleared_by_the_asking(world: World) -> None:
    world.workers.send_on_errand(2, Errand.OPEN_BACKENDS)
    world.workers.send_on_errand(2, Errand.REFUSE_WAITERS)
    world.workers.send_on_errand(2, Errand.OPEN_BACKENDS)
    assert world.workers.take_errands(1) == 0
    assert world.workers.take_errands(2) == Errand.OPEN_BACKENDS | Errand.REFUSE_WAITERS
    assert world.workers.take_errands(2) == 0


def test_a_worker_that_is_awake_is_not_rung(world: World) -> None:
    pool = world.pool(8)
    deliver(world, pool, 1)
    world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert not world.has_rung(1)


@pytest.mark.parametrize("news", ["backend", "errand"])
def test_a_worker_that_sleeps_is_rung_once(world: World, news: str) -> None:
    pool = world.pool(8)
    assert world.workers.try_sleep(1)
    for _ in range(3):
        if news == "backend":
            deliver(world, pool, 1)
        else:
            world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert world.has_rung(1)
    assert not world.has_rung(1)
    for other in (0, 2, 3):
        assert not world.has_rung(other)


@pytest.mark.parametrize("news", ["backend", "errand"])
def test_a_worker_with_news_must_not_sleep(world: World, news: str) -> None:
    pool = world.pool(8)
    if news == "backend":
        deliver(world, pool, 1)
    else:
        world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert not world.workers.try_sleep(1)
    world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert not world.has_rung(1)  # it has been told by the refusal
    world.workers.take_deliveries(1)
    world.workers.take_errands(1)
    assert world.workers.try_sleep(1)


def test_a_worker_that_woke_up_is_not_rung(world: World) -> None:
    assert world.workers.try_sleep(1)
    world.workers.wake(1)
    world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert not world.has_rung(1)


def test_an_errand_for_all_reaches_all_that_run_and_rings_them_whatever_they_do(world: World) -> None:
    """Who died may have been about to ring a bell, and have noted that it is rung already."""
    for worker in (0, 1, 2):
        world.workers.enlist(worker, 100 + worker)
    world.workers.dismiss(2)
    assert world.workers.try_sleep(1)
    world.workers.send_all_on_errand(Errand.LOOK_FOR_GRANTS)
    assert [world.workers.take_errands(worker) for worker in range(4)] == [1, 1, 0, 0]
    assert [world.has_rung(worker) for worker in range(4)] == [True, True, False, False]


def test_records_tell_who_runs_and_since_when(world: World) -> None:
    world.workers.enlist(1, 4711)
    world.workers.beat(1, 17)
    record = world.workers.read(1)
    assert (record["worker"], record["pid"], record["clients"], record["deaths"]) == (1, 4711, 17, 0)
    assert 0 < record["started_at_us"] <= record["heartbeat_us"]
    assert world.workers.silence_us(1) < 60_000_000
    world.workers.dismiss(1)
    record = world.workers.read(1)
    assert (record["pid"], record["clients"], record["deaths"], record["drains"]) == (0, 0, 1, 0)
    world.workers.dismiss(1, in_order=True)
    record = world.workers.read(1)
    assert (record["deaths"], record["drains"]) == (1, 1)
    with pytest.raises(IndexError):
        world.workers.read(4)


def test_a_successor_does_not_find_its_predecessor_s_deliveries(world: World) -> None:
    pool = world.pool(8)
    assert world.workers.try_sleep(1)
    deliver(world, pool, 1)
    world.workers.dismiss(1)
    assert world.workers.take_deliveries(1) == []
    world.has_rung(1)
    world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    assert not world.has_rung(1)


def test_a_reader_without_bells_rings_nothing(world: World) -> None:
    pools = Pools(Segment.attach(world.path, writable=True))
    read_end, write_end = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(write_end, 0)
        assert world.workers.try_sleep(1)
        pools.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
    finally:
        os.dup2(kept, 0)
        for fd in (kept, write_end):
            os.close(fd)
    assert os.read(read_end, 8) == b""
    os.close(read_end)


def test_no_bell_is_lost_between_processes(world: World, family: Family) -> None:
    """One sends errands by the thousand, each after the last was heard; the other sleeps in between."""
    times = 5_000

    def listen() -> None:
        for _ in range(times):
            while not world.workers.take_errands(1):
                if world.workers.try_sleep(1):
                    assert select.select([world.bells[1]], [], [], 10.0)[0], "a lost wake-up"
                    os.eventfd_read(world.bells[1])
                world.workers.wake(1)
            world.workers.send_on_errand(2, Errand.OPEN_BACKENDS)

    family.fork(listen)
    for _ in range(times):
        world.workers.send_on_errand(1, Errand.OPEN_BACKENDS)
        while not world.workers.take_errands(2):
            if world.workers.try_sleep(2):
                assert select.select([world.bells[2]], [], [], 10.0)[0], "a lost wake-up"
                os.eventfd_read(world.bells[2])
            world.workers.wake(2)
    family.end_well()
