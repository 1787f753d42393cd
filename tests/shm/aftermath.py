"""After a death: what supervisor and workers do then, and what must be there when they have done it."""

from __future__ import annotations

from pgmux.shm.fencing import fence
from pgmux.shm.leases import Phase
from pgmux.shm.pools import POOL_FULL
from pgmux.shm.workers import Errand
from tests.shm.world import World

DEAD, OTHER = 0, 1  # the worker that was killed, and the one that lives


def enlist(world: World) -> None:
    """Both workers run."""
    for worker in (DEAD, OTHER):
        world.workers.enlist(worker, 4711 + worker)


def assert_nothing_is_lost(world: World, pool: int) -> None:
    """Does all that follows a death, and looks whether somebody or something was forgotten."""
    mourn(world)
    run_errands(world, pool)
    assert_who_waits_waits_for_a_reason(world, pool)
    for slot in held_by(world, OTHER):
        assert world.pools.try_release(slot, OTHER)
    run_errands(world, pool)
    assert world.waiters.first(pool) is None
    assert_nothing_is_missing(world, pool)


def mourn(world: World) -> None:
    """What the supervisor does, and then the successor with the backends that were left to it."""
    world.workers.dismiss(DEAD)
    fenced = fence(world.pools, DEAD, DEAD)
    world.clients.expel(DEAD)
    world.workers.enlist(DEAD, 4713)
    assert {slot for slot in range(8) if world.phase(slot) is Phase.CLOSING} == set(fenced)
    for slot in fenced:
        assert world.pools.clear(slot, DEAD)


def run_errands(world: World, pool: int) -> None:
    """What the workers do when they are told to, and only then. A client that is served is done at once."""
    while slots := [(worker, slot) for worker in (DEAD, OTHER) for slot in told(world, pool, worker)]:
        for worker, slot in slots:
            assert world.pools.try_release(slot, worker)


def told(world: World, pool: int, worker: int) -> list[int]:
    """The slots that a worker comes by when it looks into its inbox: leased to it."""
    errands = world.workers.take_errands(worker)
    slots = [slot for slot in world.workers.take_deliveries(worker) if world.pools.try_accept(slot, worker)]
    if errands & Errand.LOOK_FOR_GRANTS:
        slots += [slot for slot in range(8) if world.pools.try_accept(slot, worker)]
    if errands & Errand.OPEN_BACKENDS:
        while world.waiters.waiting(pool) > len(slots):
            slot = world.pools.try_take(pool, worker)
            if slot is None:
                slot = world.open(pool, worker)
            if slot is None:
                break
            slots.append(slot)
    return slots


def held_by(world: World, worker: int) -> list[int]:
    """The slots that are leased to a worker."""
    return [slot for slot in range(8) if world.leases.read(slot)[:2] == (Phase.LEASED, worker)]


def assert_who_waits_waits_for_a_reason(world: World, pool: int) -> None:
    """All backends that the pool may have are in the hands of the worker that lives."""
    if world.waiters.first(pool) is not None:
        assert len(held_by(world, OTHER)) == size_of(world, pool)


def size_of(world: World, pool: int) -> int:
    """How many backends the pool may have."""
    row = world.pools.read(pool)
    assert row is not None
    return row["pool_size"]


def assert_nothing_is_missing(world: World, pool: int) -> None:
    """Each backend can be opened, freed and taken; each client record claimed; neither limit has moved."""
    size = size_of(world, pool)
    while (slot := world.open(pool, OTHER)) is not None:
        assert world.pools.try_release(slot, OTHER)
    assert world.pools.open(pool, OTHER) == POOL_FULL
    assert world.pools.count(pool) == (size, 0, size, size)
    taken = [world.take(pool, OTHER) for _ in range(size)]
    assert len(set(taken)) == size
    assert world.pools.try_take(pool, OTHER) is None
    records = {world.clients.try_claim(OTHER) for _ in range(world.clients.limit)}
    assert records == set(range(world.clients.limit))
