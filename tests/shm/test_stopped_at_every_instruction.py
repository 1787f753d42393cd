"""The compiled operations, stopped at their instructions: killed there, or overtaken there by somebody else.

What a test by steps cannot show is that the compiled code makes these steps and no others. Here it is run
one instruction at a time, in a process of its own, while the test plays the other workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgmux.shm.fencing import fence
from pgmux.shm.leases import Phase
from pgmux.shm.workers import Errand
from tests.shm.aftermath import DEAD, OTHER, assert_nothing_is_lost, enlist
from tests.shm.conftest import MakeWorld
from tests.shm.stepping import Stepped, is_possible
from tests.shm.tally import Tally
from tests.shm.world import World

pytestmark = pytest.mark.skipif(not is_possible(), reason="processes cannot be stepped through here")

MOST_STOPS = (
    10  # of one operation, beside its atomics; with 1000 it is stopped everywhere, which takes minutes
)
THIRD = 2

Step = Callable[[World, int], object]  # (world, pool)


def stops(prepare: Callable[[], World], work: Callable[[World], object]) -> Iterator[tuple[World, Stepped]]:
    """A fresh world, again and again, and in it a process that has stopped a little later each time.

    Before and after each atomic instruction, and at some places between.
    """
    world = prepare()
    with Stepped(lambda: work(world)) as process:
        entry, length, places = process.entry, 0, set[int]()
        while process.advance(1):
            length += 1
            if process.is_at_an_atomic():
                places |= {length, length + 1}
    world.close()
    assert places
    for stop in sorted(places.union(range(0, length, max(1, length // MOST_STOPS)))):
        world = prepare()
        with Stepped(lambda world=world: work(world), entry) as process:  # type: ignore[misc]
            process.advance(stop)
            yield world, process
        world.close()


def take(world: World, pool: int) -> object:
    return world.pools.try_take(pool, DEAD)


def release(world: World, pool: int) -> object:
    return world.pools.try_release(0, DEAD)


def lease(worker: int) -> Step:
    return lambda world, pool: world.take(pool, worker)


def park(worker: int) -> Step:
    return lambda world, pool: world.park(pool, worker)


KILLED: dict[str, tuple[list[Step], Step]] = {
    "take": ([], take),
    "release to nobody": ([lease(DEAD)], release),
    "release to another": ([lease(DEAD), lease(OTHER), park(OTHER), park(OTHER)], release),
    "release to itself": ([lease(DEAD), lease(OTHER), park(DEAD), park(OTHER)], release),
    "release past one who left": (
        [
            lease(DEAD),
            lease(OTHER),
            park(OTHER),
            lambda world, pool: world.waiters.try_leave(pool, 0),
            park(OTHER),
        ],
        release,
    ),
    "park": ([lease(OTHER), lease(OTHER)], park(DEAD)),
    "leave": (
        [lease(OTHER), lease(OTHER), park(DEAD), park(OTHER)],
        lambda world, pool: world.waiters.try_leave(pool, 0),
    ),
    "accept": (
        [lease(OTHER), park(DEAD), lambda world, pool: world.pools.try_release(0, OTHER), park(OTHER)],
        lambda world, pool: world.pools.try_accept(0, DEAD),
    ),
    "open": (
        [lambda world, pool: world.pools.resize(pool, 3)],
        lambda world, pool: world.pools.open(pool, DEAD),
    ),
    "close": ([lease(DEAD), lease(OTHER), park(OTHER)], lambda world, pool: world.pools.shut(0, DEAD)),
    "clear": (
        [lease(DEAD), lease(OTHER), park(OTHER), lambda world, pool: world.pools.shut(0, DEAD)],
        lambda world, pool: world.pools.clear(0, DEAD),
    ),
    "claim": ([], lambda world, pool: world.clients.try_claim(DEAD)),
    "register": ([], lambda world, pool: world.pools.register(b"other", b"other", 1)),
}


@pytest.mark.parametrize("name", KILLED)
def test_a_worker_killed_in_the_middle_of_it_leaves_nothing_behind(make_world: MakeWorld, name: str) -> None:
    before, work = KILLED[name]

    def prepare() -> World:
        world = make_world()
        pool = world.pool(2, backends=2)
        enlist(world)
        for step in before:
            step(world, pool)
        return world

    for world, process in stops(prepare, lambda world: work(world, 0)):
        process.kill()
        assert_nothing_is_lost(world, 0)


def with_one_backend(make_world: MakeWorld, *before: Step) -> Callable[[], World]:
    def prepare() -> World:
        world = make_world()
        pool = world.pool(1, backends=1)
        for step in before:
            step(world, pool)
        return world

    return prepare


def test_who_parks_while_the_last_backend_is_being_freed_gets_it(make_world: MakeWorld) -> None:
    for world, process in stops(with_one_backend(make_world, lease(DEAD)), lambda world: release(world, 0)):
        world.park(0, OTHER)
        found = world.pools.try_take(0, OTHER)
        process.go_on()
        if found is None:
            assert world.workers.take_deliveries(OTHER) == [0]
            assert world.pools.try_accept(0, OTHER)
        assert world.leases.read(0)[:2] == (Phase.LEASED, OTHER)


def test_who_looks_while_another_parks_and_looks_leaves_nobody_waiting(make_world: MakeWorld) -> None:
    """The same the other way round: the parker is the slow one."""
    found = Tally(1)

    def park_and_look(world: World) -> None:
        world.park(0, OTHER)
        found[0] = world.pools.try_take(0, OTHER) is not None

    for world, process in stops(with_one_backend(make_world, lease(DEAD)), park_and_look):
        assert world.pools.try_release(0, DEAD)
        process.go_on()
        if not found[0]:
            assert world.workers.take_deliveries(OTHER) == [0]
            assert world.pools.try_accept(0, OTHER)
        assert world.leases.read(0)[:2] == (Phase.LEASED, OTHER)


def test_who_leaves_while_it_is_being_served_is_passed_over_or_told(make_world: MakeWorld) -> None:
    prepare = with_one_backend(make_world, lease(DEAD), park(OTHER), park(THIRD))
    for world, process in stops(prepare, lambda world: release(world, 0)):
        has_left = world.waiters.try_leave(0, 0)
        process.go_on()
        heir = THIRD if has_left else OTHER
        assert world.workers.take_deliveries(heir) == [0]
        assert world.pools.try_accept(0, heir)
        assert world.waiters.waiting(0) == (0 if has_left else 1)


def test_a_backend_that_is_being_freed_is_taken_by_one_worker_only(make_world: MakeWorld) -> None:
    for world, process in stops(with_one_backend(make_world, lease(DEAD)), lambda world: release(world, 0)):
        taken = world.pools.try_take(0, OTHER, favourite=0)
        process.go_on()
        assert world.leases.read(0)[:2] == ((Phase.FREE, 0xFF) if taken is None else (Phase.LEASED, OTHER))
        if taken is not None:
            assert world.pools.try_release(0, OTHER)
        assert world.pools.try_take(0, THIRD) == 0


def test_of_two_that_take_one_gets_it(make_world: MakeWorld) -> None:
    taken = Tally(1)

    def work(world: World) -> None:
        taken[0] = world.pools.try_take(0, DEAD) is not None

    for world, process in stops(with_one_backend(make_world), work):
        mine = world.pools.try_take(0, OTHER) is not None
        process.go_on()
        assert mine + taken[0] == 1
        owner = OTHER if mine else DEAD
        assert world.pools.try_release(0, owner)
        assert world.pools.try_take(0, THIRD) == 0


def test_two_that_accept_a_client_at_once_have_a_record_each(make_world: MakeWorld) -> None:
    claimed = Tally(1)

    def claim(world: World) -> None:
        record = world.clients.try_claim(DEAD)
        assert record is not None
        claimed[0] = record

    for world, process in stops(with_one_backend(make_world), claim):
        mine = world.clients.try_claim(OTHER)
        process.go_on()
        assert {mine, claimed[0]} == {0, 1}
        assert {told["worker"] for told in world.clients.snapshot()} == {DEAD, OTHER}


def test_a_ticket_is_left_or_served_and_never_both(make_world: MakeWorld) -> None:
    left = Tally(1)

    def work(world: World) -> None:
        left[0] = world.waiters.try_leave(0, 0)

    for world, process in stops(with_one_backend(make_world, lease(OTHER), park(DEAD)), work):
        assert world.pools.try_release(0, OTHER)
        is_granted = world.leases.read(0)[:2] == (Phase.GRANTED, DEAD)
        process.go_on()
        assert left[0] + is_granted == 1
        assert world.waiters.first(0) is None


def test_two_that_park_at_once_are_both_in_the_queue(make_world: MakeWorld) -> None:
    for world, process in stops(
        with_one_backend(make_world, lease(OTHER)), lambda world: park(DEAD)(world, 0)
    ):
        world.park(0, THIRD)
        served = world.waiters.first(0)
        assert served is not None
        assert world.waiters.try_pop(0, served[0])
        world.park(0, OTHER)
        process.go_on()
        rest = []
        while (first := world.waiters.first(0)) is not None:
            assert world.waiters.try_pop(0, first[0])
            rest.append(first[1])
        assert sorted([served[1], *rest]) == sorted([DEAD, THIRD, OTHER])


def test_a_backend_on_its_way_to_a_worker_that_dies_goes_to_the_next(make_world: MakeWorld) -> None:
    """The releaser lives and is slow: the heir dies and is fenced while it is being served."""
    prepare = with_one_backend(make_world, lease(OTHER), park(DEAD), park(THIRD))
    for world, process in stops(prepare, lambda world: world.pools.try_release(0, OTHER)):
        world.workers.enlist(THIRD, 4713)
        world.workers.dismiss(DEAD)
        assert fence(world.pools, DEAD, DEAD) == []
        process.go_on()
        errands = world.workers.take_errands(THIRD)
        if world.phase(0) is Phase.FREE:  # returned by the fence: then everybody has been told to look
            assert errands & Errand.OPEN_BACKENDS
            assert world.pools.try_take(0, THIRD) == 0
        else:
            assert world.workers.take_deliveries(THIRD) == [0]
            assert world.pools.try_accept(0, THIRD)


@pytest.mark.parametrize("slow", ["sleeper", "sender"])
def test_who_falls_asleep_while_it_is_sent_for_is_woken_or_does_not_sleep(
    make_world: MakeWorld, slow: str
) -> None:
    sleeps = Tally(1)

    def fall_asleep(world: World) -> None:
        sleeps[0] = world.workers.try_sleep(OTHER)

    def send(world: World) -> None:
        world.workers.send_on_errand(OTHER, Errand.OPEN_BACKENDS)

    first, second = (fall_asleep, send) if slow == "sleeper" else (send, fall_asleep)
    for world, process in stops(with_one_backend(make_world), first):
        second(world)
        process.go_on()
        assert world.has_rung(OTHER) or not sleeps[0]
        assert world.workers.take_errands(OTHER) == Errand.OPEN_BACKENDS
