"""A worker killed between any two steps of anything leaves all that it held to the others.

Each operation is spelt out step by step, in the moves that the compiled one makes. For every step a process
does all up to it and is killed; then comes what the supervisor does, and what workers do on its errands; then
nothing may be missing: no slot, no waiter, no client record, no room within a limit.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgmux.shm.leases import Verb
from tests.shm.aftermath import DEAD, OTHER, assert_nothing_is_lost, enlist
from tests.shm.family import Family, die
from tests.shm.surgery import Surgery
from tests.shm.world import World

ACTOR, NOBODY = DEAD, 0xFF
POOL_SIZE = 2

Step = Callable[[World, int], object]  # (world, pool)
Scene = tuple[list[Step], list[Step]]  # what is so before, and the steps of the operation


def leased_by(worker: int) -> Step:
    return lambda world, pool: world.take(pool, worker, favourite=0)


def parked(worker: int) -> Step:
    return lambda world, pool: world.park(pool, worker)


def move(verb: Verb, owner: int, slot: int = 0) -> Step:
    def step(world: World, pool: int) -> None:
        assert world.leases.try_move(slot, verb, owner, pool)

    return step


def pop(ticket: int) -> Step:
    def step(world: World, pool: int) -> None:
        assert world.waiters.try_pop(pool, ticket)

    return step


def leave(ticket: int) -> Step:
    def step(world: World, pool: int) -> None:
        assert world.waiters.try_leave(pool, ticket)

    return step


def park_without_tail(world: World, pool: int) -> None:
    with Surgery(world.path) as surgery:
        surgery.set_tail(pool, world.park(pool, ACTOR))


def move_tail(world: World, pool: int) -> None:
    with Surgery(world.path) as surgery:
        surgery.set_tail(pool, surgery.tail(pool) + 1)


def pop_without_head(world: World, pool: int) -> None:
    with Surgery(world.path) as surgery:
        head = surgery.head(pool)
        assert world.waiters.try_pop(pool, head)
        surgery.set_head(pool, head)


def open_backend(world: World, pool: int) -> None:
    assert world.pools.open(pool, ACTOR) == 2


def introduce(world: World, pool: int) -> None:
    world.pools.introduce(2, 4711, b"key")


def release(slot: int) -> Step:
    def step(world: World, pool: int) -> None:
        assert world.pools.try_release(slot, ACTOR)

    return step


def accept(world: World, pool: int) -> None:
    assert world.pools.try_accept(0, ACTOR)


def die_with_the_lock(world: World, pool: int) -> None:
    world.segment.locked(die)


def claim(world: World, pool: int) -> None:
    record = world.clients.try_claim(ACTOR)
    assert record is not None


def admit(world: World, pool: int) -> None:
    world.clients.admit(0, b"4711", pool, b"psql")


SCENES: dict[str, Scene] = {
    "take": ([], [move(Verb.TAKE, ACTOR), release(0)]),
    "release to nobody": ([leased_by(ACTOR)], [move(Verb.RELEASE, NOBODY)]),
    "release when somebody has just looked in vain": (
        [leased_by(ACTOR), leased_by(OTHER), parked(OTHER)],
        [move(Verb.RELEASE, NOBODY)],
    ),
    "take again for one who parked meanwhile": (
        [leased_by(ACTOR), leased_by(OTHER), parked(OTHER)],
        [move(Verb.RELEASE, NOBODY), move(Verb.TAKE, ACTOR), move(Verb.GRANT, OTHER), pop(0)],
    ),
    "hand over": (
        [leased_by(ACTOR), leased_by(OTHER), parked(OTHER), parked(OTHER)],
        [move(Verb.GRANT, OTHER), pop_without_head],
    ),
    "hand over, the compiled way": ([leased_by(ACTOR), leased_by(OTHER), parked(OTHER)], [release(0)]),
    "recall": (
        [leased_by(ACTOR), leased_by(OTHER), parked(OTHER)],
        [move(Verb.GRANT, OTHER), leave(0), move(Verb.RECALL, ACTOR), move(Verb.RELEASE, NOBODY)],
    ),
    "hand over to itself": (
        [leased_by(ACTOR), leased_by(OTHER), parked(ACTOR), parked(OTHER)],
        [move(Verb.GRANT, ACTOR), pop(0), accept, release(0)],
    ),
    "park": ([leased_by(OTHER), leased_by(OTHER)], [park_without_tail, move_tail, leave(0)]),
    "park before another": (
        [leased_by(OTHER), leased_by(OTHER)],
        [park_without_tail, parked(OTHER), parked(ACTOR)],
    ),
    "accept": (
        [leased_by(OTHER), parked(ACTOR), parked(OTHER), lambda world, _: world.pools.try_release(0, OTHER)],
        [accept, release(0)],
    ),
    "open": (
        [lambda world, pool: world.pools.resize(pool, 3)],
        [open_backend, introduce, move(Verb.ADOPT, ACTOR, 2), release(2)],
    ),
    "open for one who waits": (
        [
            leased_by(OTHER),
            leased_by(OTHER),
            parked(OTHER),
            lambda world, pool: world.pools.resize(pool, 3),
        ],
        [open_backend, introduce, move(Verb.ADOPT, ACTOR, 2), move(Verb.GRANT, OTHER, 2), pop(0)],
    ),
    "close": ([leased_by(ACTOR)], [move(Verb.CLOSE, ACTOR), move(Verb.CLEAR, NOBODY)]),
    "close while somebody waits for room": (
        [leased_by(ACTOR), leased_by(OTHER), parked(OTHER)],
        [move(Verb.CLOSE, ACTOR), move(Verb.CLEAR, NOBODY)],
    ),
    "hold the lock": ([], [die_with_the_lock]),
    "claim a client record": ([], [claim, admit]),
}
CASES = [
    pytest.param(scene, steps, id=f"{name}, after {steps} of {len(SCENES[name][1])} steps")
    for name, scene in SCENES.items()
    for steps in range(len(scene[1]) + 1)
]


@pytest.mark.parametrize(("scene", "steps"), CASES)
def test_nothing_is_lost_when_a_worker_is_killed(
    world: World, family: Family, scene: Scene, steps: int
) -> None:
    before, operation = scene
    pool = world.pool(POOL_SIZE, backends=POOL_SIZE)
    enlist(world)
    for step in before:
        step(world, pool)
    family.dies_after(*(lambda step=step: step(world, pool) for step in operation[:steps]))
    assert_nothing_is_lost(world, pool)
