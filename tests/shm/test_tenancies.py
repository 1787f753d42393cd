"""A pool's record is given to another (database, user) when nobody uses it, and never while somebody does."""

from __future__ import annotations

import pytest

from pgmux.shm.fencing import fence
from pgmux.shm.leases import Phase
from pgmux.shm.tenancies import PoolsExhausted, Tenancies
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.tally import Tally
from tests.shm.world import World

POOLS = 4


@pytest.fixture
def tenancies(world: World) -> Tenancies:
    return world.pools.tenancies


def fill(tenancies: Tenancies) -> list[int]:
    """As many pools as there are records."""
    return [tenancies.place(b"app", b"user%d" % number, 5)[0] for number in range(POOLS)]


def test_the_same_names_have_the_same_pool_and_tenancy(tenancies: Tenancies) -> None:
    place = tenancies.place(b"app", b"alice", 5)
    assert tenancies.place(b"app", b"alice", 5) == place
    assert tenancies.place(b"app", b"bob", 5) != place
    assert tenancies.names(place[0]) == (place[1], b"app", b"alice")


def test_a_record_that_nobody_uses_is_given_to_others_and_its_tenancy_grows(
    world: World, tenancies: Tenancies
) -> None:
    first, *_ = fill(tenancies)
    world.pools.tidings.set_trouble(first, b"28P01: no", 1_000_000)
    world.pools.resize(first, 99, 99)
    pool, tenancy = tenancies.place(b"other", b"newcomer", 7)
    assert (pool, tenancy) == (first, 1)
    assert tenancies.tenancy(first) == 1
    record = world.pools.read(pool)
    assert record is not None
    assert (record["database"], record["user"], record["pool_size"]) == (b"other", b"newcomer", 7)
    assert world.pools.tidings.trouble(pool) == (b"", 0)
    assert world.pools.tidings.welcome(pool) is None
    assert tenancies.pools() == [0, 1, 2, 3]


def test_who_remembers_an_old_tenancy_is_not_let_in(tenancies: Tenancies) -> None:
    first, *_ = fill(tenancies)
    tenancies.place(b"other", b"newcomer", 7)
    assert not tenancies.try_join(first, 0, 2)
    assert tenancies.guests(first) == 0
    assert tenancies.try_join(first, 1, 2)
    assert tenancies.guests(first) == 1


def test_a_record_is_kept_for_its_clients(tenancies: Tenancies) -> None:
    pools = fill(tenancies)
    for pool in pools:
        assert tenancies.try_join(pool, 0, 1)
    with pytest.raises(PoolsExhausted, match="raise max_pools"):
        tenancies.place(b"other", b"newcomer", 7)
    tenancies.give_up(pools[2], 1)
    assert tenancies.place(b"other", b"newcomer", 7)[0] == pools[2]


def test_a_record_is_kept_for_its_backends_in_whatever_phase(world: World, tenancies: Tenancies) -> None:
    pools = fill(tenancies)
    opening = world.pools.open(pools[0], 0)
    leased = world.open(pools[1], 0)
    free = world.open(pools[2], 0)
    closing = world.open(pools[3], 0)
    assert leased is not None
    assert free is not None
    assert closing is not None
    world.pools.try_release(free, 0)
    world.pools.shut(closing, 0)
    phases = [world.phase(slot) for slot in (opening, leased, free, closing)]
    assert phases == [Phase.OPENING, Phase.LEASED, Phase.FREE, Phase.CLOSING]
    with pytest.raises(PoolsExhausted):
        tenancies.place(b"other", b"newcomer", 7)
    world.pools.clear(closing, 0)
    assert tenancies.place(b"other", b"newcomer", 7)[0] == pools[3]


def test_a_pool_that_never_had_a_backend_goes_first_then_the_oldest(
    world: World, tenancies: Tenancies
) -> None:
    pools = fill(tenancies)
    for pool in (pools[0], pools[1], pools[3]):
        world.pools.tidings.set_welcome(pool, b"server_version\x0018\0")
    order = [tenancies.place(b"other", b"newcomer%d" % number, 7) for number in range(3)]
    assert [pool for pool, _ in order] == [pools[2], pools[2], pools[2]]
    tenancies.try_join(pools[2], tenancies.tenancy(pools[2]), 0)
    assert tenancies.place(b"other", b"another", 7)[0] == pools[0]


def test_counters_begin_anew_with_a_tenancy(world: World, tenancies: Tenancies) -> None:
    from pgmux.shm.counters import CounterTable

    counters = CounterTable(world.segment)
    first, *_ = fill(tenancies)
    counters.add(1, first, "logins")
    tenancies.place(b"other", b"newcomer", 7)
    assert counters.read(1, first)["logins"] == 0


def test_a_dead_worker_s_clients_use_nothing(world: World, tenancies: Tenancies) -> None:
    for pool in fill(tenancies):
        tenancies.try_join(pool, 0, 1)
    fence(world.pools, 1, 1)
    tenancies.place(b"other", b"newcomer", 7)


def test_nobody_is_ever_in_a_pool_of_others(make_world: MakeWorld, family: Family) -> None:
    """Four workers fight for two records; whoever is in finds its own names there, until it leaves."""
    world = make_world(pools=2)
    strangers = Tally(4)
    served = Tally(4)

    def visit(worker: int) -> None:
        tenancies = world.pools.tenancies
        remembered: dict[int, tuple[int, int]] = {}
        for turn in range(20_000):
            name = turn * 7 % 3
            place = remembered.get(name)
            if place is None or not tenancies.try_join(*place, worker):
                try:
                    remembered[name] = place = tenancies.place(b"app", b"%d %d" % (worker, name), 1)
                except PoolsExhausted:
                    continue
                if not tenancies.try_join(*place, worker):
                    continue
            served[worker] += 1
            found = tenancies.names(place[0])
            strangers[worker] += found is None or found[2] != b"%d %d" % (worker, name)
            tenancies.give_up(place[0], worker)

    for worker in range(4):
        family.fork(visit, worker)
    family.end_well()
    assert strangers.all() == [0] * 4
    assert all(count > 100 for count in served.all())
