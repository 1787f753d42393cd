"""Real processes that share backends by the ten thousand, undisturbed and under fire."""

from __future__ import annotations

import os
import random
import signal

import pytest

from pgmux.shm.fencing import fence
from pgmux.shm.leases import Phase
from tests.shm.conftest import MakeWorld
from tests.shm.family import Child, Family
from tests.shm.model import Stage, Worker
from tests.shm.world import World

WORKERS = 4


class Supervisor:
    """What the supervisor does about its workers: fork, reap, fence, fork again."""

    def __init__(self, stage: Stage, family: Family) -> None:
        self._stage, self._family = stage, family
        self.workers: dict[int, Child] = {}

    def fork(self, number: int, times: int | None = None) -> None:
        child = self._family.fork(Worker(self._stage, number).run, times)
        self._stage.world.workers.enlist(number, child.pid)
        self.workers[number] = child

    def kill(self, number: int) -> None:
        self.workers[number].kill()
        assert self.workers[number].exit_code == -signal.SIGKILL, "it had failed before"
        self._mourn(number)

    def wait_for_all(self) -> None:
        """Until all have ended by themselves; each is mourned at once, as others may wait for what it has."""
        while self.workers:
            pid, status = os.waitpid(-1, 0)
            number = next(number for number, child in self.workers.items() if child.pid == pid)
            self.workers.pop(number).exit_code = os.waitstatus_to_exitcode(status)
            assert status == 0
            self._mourn(number)

    def _mourn(self, number: int) -> None:
        self._stage.world.workers.dismiss(number)
        fence(self._stage.world.pools, number, number)


def make_stage(world: World, pool_size: int) -> Stage:
    return Stage(world, world.pool(pool_size, backends=pool_size))


def assert_all_is_in_order(stage: Stage, pool_size: int) -> None:
    world, pool = stage.world, stage.pool
    for slot in range(world.segment.slot_count):
        phase, owner, _, _ = world.leases.read(slot)
        if phase is Phase.CLOSING:
            assert world.pools.clear(slot, owner)
    assert world.waiters.first(pool) is None
    while (slot_or_none := world.open(pool, 0)) is not None:
        assert world.pools.try_release(slot_or_none, 0)
    assert world.pools.count(pool) == (pool_size, 0, pool_size, pool_size)
    assert len({world.take(pool, 0) for _ in range(pool_size)}) == pool_size


@pytest.mark.parametrize("pool_size", [1, 2, 3])
def test_every_transaction_has_its_backend_alone_and_every_waiter_is_woken(
    make_world: MakeWorld, family: Family, pool_size: int
) -> None:
    stage = make_stage(make_world(), pool_size)
    supervisor = Supervisor(stage, family)
    times = 6_000
    for number in range(WORKERS):
        supervisor.fork(number, times)
    stage.has_begun[0] = 1
    supervisor.wait_for_all()
    assert stage.done.all() == [times] * WORKERS
    if pool_size == 1:  # with more, on a busy machine, nobody may ever have had to wait
        assert sum(stage.waits.all()) > 0
    assert_all_is_in_order(stage, pool_size)


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_any_instant_cost_nobody_else_a_transaction_or_a_backend(
    make_world: MakeWorld, family: Family, seed: int
) -> None:
    pool_size, kills = 3, 30
    chance = random.Random(seed)
    world = make_world(backends=6)
    stage = make_stage(world, pool_size)
    supervisor = Supervisor(stage, family)
    for number in range(WORKERS):
        supervisor.fork(number)
    stage.has_begun[0] = 1
    for _ in range(kills):
        victim, witness = chance.sample(range(WORKERS), 2)
        enough = stage.done[witness] + chance.randrange(20, 200)
        while stage.done[witness] < enough:
            assert world.pools.count(stage.pool)[0] <= pool_size
            assert supervisor.workers[witness].is_alive(), "a worker has failed"
        supervisor.kill(victim)
        supervisor.fork(victim)
    stage.is_over[0] = 1
    supervisor.wait_for_all()
    assert_all_is_in_order(stage, pool_size)
