"""The wait queue: first come, first served over all workers, whoever leaves or dies in between."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.surgery import Surgery
from tests.shm.tally import Tally
from tests.shm.world import World

CELLS = 128  # of a ring for 20 clients, 64 spare ones and 4 workers: the next power of two


def serve(world: World, pool: int) -> int | None:
    """The worker of the first in the queue, who is taken out."""
    first = world.waiters.first(pool)
    if first is None:
        return None
    ticket, worker, _ = first
    assert world.waiters.try_pop(pool, ticket)
    return worker


def serve_all(world: World, pool: int) -> list[int]:
    served = []
    while (worker := serve(world, pool)) is not None:
        served.append(worker)
    return served


def test_queue_is_first_come_first_served_over_all_workers(world: World) -> None:
    pool = world.pool(1)
    arrivals = [0, 1, 1, 3, 0, 2, 3, 3, 1]
    tickets = [world.park(pool, worker) for worker in arrivals]
    assert tickets == sorted(set(tickets))
    assert world.waiters.waiting(pool) == len(arrivals)
    assert serve_all(world, pool) == arrivals
    assert world.waiters.waiting(pool) == 0


def test_queues_of_two_pools_have_nothing_to_do_with_each_other(world: World) -> None:
    one, other = world.pool(1, "one"), world.pool(1, "other")
    for worker in (0, 1, 2):
        world.park(one, worker)
    world.park(other, 3)
    assert serve_all(world, other) == [3]
    assert serve_all(world, one) == [0, 1, 2]


@pytest.mark.parametrize("leaving", [0, 1, 2, 3])
def test_who_leaves_is_passed_over_wherever_it_stands(world: World, leaving: int) -> None:
    pool = world.pool(1)
    tickets = [world.park(pool, worker) for worker in range(4)]
    assert world.waiters.try_leave(pool, tickets[leaving])
    assert serve_all(world, pool) == [worker for worker in range(4) if worker != leaving]


def test_a_ticket_is_left_once_and_popped_once(world: World) -> None:
    pool = world.pool(1)
    left, popped = world.park(pool, 0), world.park(pool, 1)
    assert world.waiters.try_leave(pool, left)
    assert not world.waiters.try_leave(pool, left)
    assert not world.waiters.try_pop(pool, left)
    assert world.waiters.first(pool, 0) == (popped, 1, 0)
    assert world.waiters.try_pop(pool, popped)
    assert not world.waiters.try_pop(pool, popped)
    assert not world.waiters.try_leave(pool, popped)
    assert world.waiters.first(pool) is None


def test_a_served_ticket_cannot_leave_when_its_cell_has_a_new_occupant(world: World) -> None:
    pool = world.pool(1)
    old = world.park(pool, 0)
    assert serve(world, pool) == 0
    for _ in range(CELLS - 1):
        world.park(pool, 1)
        assert serve(world, pool) == 1
    new = world.park(pool, 2)
    assert new == old + CELLS
    assert not world.waiters.try_leave(pool, old)
    assert not world.waiters.try_pop(pool, old)
    assert serve_all(world, pool) == [2]


def test_age_is_counted_from_parking_in_microseconds(world: World) -> None:
    pool = world.pool(1)
    start = 1_000_000 * 64
    ticket = world.park(pool, 2, start)
    for age in (0, 64, 2048, 3_600_000_000):
        assert world.waiters.first(pool, start + age) == (ticket, 2, age)


def test_age_survives_the_wrap_of_its_clock(world: World) -> None:
    """Parking times are kept in 30 bits of 64 microseconds: they wrap every 19 hours."""
    pool = world.pool(1)
    wrap = 64 << 30
    ticket = world.park(pool, 0, wrap - 640)
    assert world.waiters.first(pool, wrap + 640) == (ticket, 0, 1280)


def test_who_parked_after_a_clock_was_read_is_new_and_not_ancient(world: World) -> None:
    """A worker reads the clock once for a batch of events; another may park meanwhile."""
    pool = world.pool(1)
    ticket = world.park(pool, 2, 64_000_000)
    assert world.waiters.first(pool, 64_000_000 - 5_000) == (ticket, 2, 0)
    assert world.pools.may_serve_own(pool, 1, 64_000_000 - 5_000)


def test_order_is_kept_over_many_turns_of_the_ring(world: World) -> None:
    pool = world.pool(1)
    expected: list[int] = []
    served: list[int] = []
    for each in range(40 * CELLS):
        worker = each * 7 % 4
        world.park(pool, worker)
        expected.append(worker)
        if each % 3 == 2:
            for _ in range(3):
                first = serve(world, pool)
                assert first is not None
                served.append(first)
    assert served + serve_all(world, pool) == expected


def test_order_is_kept_when_the_turns_wrap(world: World) -> None:
    """A cell counts 2^24 turns of the ring and then begins again."""
    pool = world.pool(1)
    with Surgery(world.path) as surgery:
        assert surgery.cells == CELLS
        surgery.start_queue_at(pool, ((1 << 24) - 2) * CELLS + 5)
    arrivals = [each * 5 % 4 for each in range(4 * CELLS)]
    served = []
    for at, worker in enumerate(arrivals):
        ticket = world.park(pool, worker)
        if at % 10 == 0:
            assert world.waiters.try_leave(pool, ticket)
        if at >= CELLS // 2:
            first = serve(world, pool)
            if first is not None:
                served.append(first)
    assert served + serve_all(world, pool) == [worker for at, worker in enumerate(arrivals) if at % 10]


def test_ring_holds_more_than_there_can_be_clients_and_says_so_when_it_is_full(world: World) -> None:
    pool = world.pool(1)
    for _ in range(CELLS):
        world.park(pool, 1)
    assert world.segment.client_count < CELLS
    assert world.waiters.try_park(pool, 2) is None
    assert world.waiters.waiting(pool) == CELLS
    assert serve(world, pool) == 1
    world.park(pool, 2)
    assert world.waiters.try_park(pool, 3) is None
    assert serve_all(world, pool) == [1] * (CELLS - 1) + [2]


def test_a_ring_full_of_those_who_have_left_is_not_full(world: World) -> None:
    """Nobody has looked at its front: no backend was released all the time."""
    pool = world.pool(1)
    for _ in range(3 * CELLS):
        assert world.waiters.try_leave(pool, world.park(pool, 0))
    world.park(pool, 3)
    assert serve_all(world, pool) == [3]


def test_who_finds_the_tail_behind_moves_it_on(world: World) -> None:
    """A worker was killed after it had filled its cell and before it moved the tail."""
    pool = world.pool(1)
    with Surgery(world.path) as surgery:
        for worker in (0, 1):
            surgery.set_tail(pool, world.park(pool, worker))
        assert world.waiters.waiting(pool) == 1
        world.park(pool, 2)
        assert surgery.tail(pool) == 3
    assert serve_all(world, pool) == [0, 1, 2]


def test_a_waiter_before_the_tail_moved_is_served_and_the_next_parks_behind(world: World) -> None:
    pool = world.pool(1)
    with Surgery(world.path) as surgery:
        surgery.set_tail(pool, world.park(pool, 0))
    assert serve_all(world, pool) == [0]
    assert world.waiters.waiting(pool) == 0
    assert world.park(pool, 1) == 1
    assert serve_all(world, pool) == [1]


def test_who_finds_the_head_behind_moves_it_on(world: World) -> None:
    """A worker was killed after it had emptied a cell and before it moved the head."""
    pool = world.pool(1)
    tickets = [world.park(pool, worker) for worker in range(3)]
    with Surgery(world.path) as surgery:
        for ticket in tickets[:2]:
            assert world.waiters.try_pop(pool, ticket)
            surgery.set_head(pool, 0)
        assert world.waiters.first(pool) == (tickets[2], 2, 0)
        assert surgery.head(pool) == 2


def test_a_dead_worker_s_tickets_leave_every_queue_and_no_other_s_do(world: World) -> None:
    pools = [world.pool(1, name) for name in ("one", "two", "three")]
    for pool in pools[:2]:
        for worker in (1, 0, 1, 2, 1):
            world.park(pool, worker)
    assert world.waiters.expel(1) == 6
    assert world.waiters.expel(1) == 0
    for pool in pools[:2]:
        assert serve_all(world, pool) == [0, 2]


def test_a_dead_worker_s_ticket_beyond_the_tail_is_found(world: World) -> None:
    pool = world.pool(1)
    world.park(pool, 0)
    with Surgery(world.path) as surgery:
        surgery.set_tail(pool, world.park(pool, 1))
    assert world.waiters.expel(1) == 1
    world.park(pool, 2)
    assert serve_all(world, pool) == [0, 2]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ppplso"), st.integers(0, 200)), max_size=200))
def test_queue_behaves_like_a_list(make_world: MakeWorld, steps: list[tuple[str, int]]) -> None:
    """p: somebody parks; l: somebody leaves; s: the first is served; o: a worker is expelled."""
    world = make_world()
    pool = world.pool(1)
    queue: list[tuple[int, int]] = []  # (ticket, worker)
    for step, number in steps:
        if step == "p":
            worker = number % 4
            ticket = world.waiters.try_park(pool, worker)
            if ticket is not None:
                queue.append((ticket, worker))
        elif step == "l" and queue:
            ticket, _ = queue.pop(number % len(queue))
            assert world.waiters.try_leave(pool, ticket)
        elif step == "s":
            assert serve(world, pool) == (queue.pop(0)[1] if queue else None)
        elif step == "o":
            stay = [(ticket, worker) for ticket, worker in queue if worker != number % 4]
            assert world.waiters.expel(number % 4) == len(queue) - len(stay)
            queue = stay
    assert serve_all(world, pool) == [worker for _, worker in queue]


def test_tickets_given_out_by_many_processes_at_once_are_all_different_and_all_served(
    make_world: MakeWorld, family: Family
) -> None:
    world = make_world(clients=8_000)
    pool = world.pool(1)
    each = 2_000

    def park_many(worker: int) -> None:
        for _ in range(each):
            assert world.waiters.try_park(pool, worker) is not None

    for worker in range(4):
        family.fork(park_many, worker)
    family.end_well()
    assert world.waiters.waiting(pool) == 4 * each
    served = serve_all(world, pool)
    assert [served.count(worker) for worker in range(4)] == [each] * 4


def test_every_ticket_is_popped_or_left_exactly_once_by_many_processes(
    make_world: MakeWorld, family: Family
) -> None:
    """Two park, and leave now and then; two pop all the time."""
    world = make_world(clients=2_000)
    pool = world.pool(1)
    times, gone, has_ended = 3_000, Tally(4), Tally(1)

    def park_and_leave(worker: int) -> None:
        for each in range(times):
            while (ticket := world.waiters.try_park(pool, worker)) is None:
                pass
            if each % 3 == 0:
                gone[worker] += world.waiters.try_leave(pool, ticket)

    def pop_all(worker: int) -> None:
        while True:
            is_last = has_ended[0]
            first = world.waiters.first(pool)
            if first is not None:
                gone[worker] += world.waiters.try_pop(pool, first[0])
            elif is_last:
                return

    parkers = [family.fork(park_and_leave, worker) for worker in (0, 1)]
    for worker in (2, 3):
        family.fork(pop_all, worker)
    assert [child.wait() for child in parkers] == [0, 0]
    has_ended[0] = 1
    family.end_well()
    assert world.waiters.waiting(pool) == 0
    assert sum(gone.all()) == 2 * times
