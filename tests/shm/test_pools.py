"""Pools: to take a backend, to release it to whoever waits longest, and to open no more than allowed."""

from __future__ import annotations

import pytest

from pgmux.shm.leases import Phase, Private, Verb
from pgmux.shm.pools import ALL_FULL, DATABASE_FULL, FAVOUR_OWN_FOR_US, POOL_FULL, Pools
from pgmux.shm.segment import Segment, SegmentError
from pgmux.shm.tenancies import PoolsExhausted
from pgmux.shm.workers import Errand
from tests.shm.conftest import MakeWorld
from tests.shm.surgery import Surgery
from tests.shm.world import World

NO_SLOT = -1
NOBODY = 0xFF

# --- taking


def test_take_leases_a_free_backend_of_the_pool_and_of_no_other(world: World) -> None:
    one, other = world.pool(2, "one", backends=1), world.pool(2, "other", backends=1)
    slot = world.take(other, 3)
    assert world.leases.read(slot)[:3] == (Phase.LEASED, 3, other)
    assert world.pools.try_take(other, 3) is None
    assert world.take(one, 3) != slot


def test_take_gives_nothing_when_all_are_in_use(world: World) -> None:
    pool = world.pool(3, backends=3)
    assert sorted(world.take(pool, worker) for worker in range(3)) == [0, 1, 2]
    assert world.pools.try_take(pool, 3) is None


def test_favourite_is_taken_when_it_is_free(world: World) -> None:
    pool = world.pool(5, backends=5)
    assert world.take(pool, 1, favourite=3) == 3
    assert world.take(pool, 2, favourite=3) == 0
    assert world.take(pool, 1, favourite=4) == 4


def test_a_favourite_that_belongs_to_another_pool_by_now_is_left_alone(world: World) -> None:
    one, other = world.pool(2, "one", backends=1), world.pool(2, "other", backends=1)
    assert world.take(one, 1, favourite=1) == 0
    assert world.pools.try_take(one, 1, favourite=1) is None
    assert world.leases.read(1)[:3] == (Phase.FREE, NOBODY, other)


def test_every_slot_of_several_bitmap_words_can_be_taken(make_world: MakeWorld) -> None:
    world = make_world(backends=150)
    pool = world.pool(150, backends=150)
    assert sorted(world.take(pool, 0) for _ in range(150)) == list(range(150))


def test_bitmap_has_the_bit_of_every_free_slot_and_loses_it_when_taken(world: World) -> None:
    pool = world.pool(3, backends=3)
    with Surgery(world.path) as surgery:
        assert [surgery.is_free_bit_set(pool, slot) for slot in range(4)] == [True, True, True, False]
        slot = world.take(pool, 0, favourite=1)
        assert not surgery.is_free_bit_set(pool, slot)
        assert world.pools.try_release(slot, 0)
        assert surgery.is_free_bit_set(pool, slot)


def test_a_bit_too_many_does_no_harm(world: World) -> None:
    pool = world.pool(2, backends=2)
    taken = world.take(pool, 0)
    with Surgery(world.path) as surgery:
        for slot in range(8):
            surgery.set_free_bit(pool, slot)
    free = world.take(pool, 1)
    assert free != taken
    assert world.pools.try_take(pool, 1) is None
    assert world.owner(taken) == 0


def test_a_missing_bit_is_set_again_by_rebuild(world: World) -> None:
    """Its worker was killed between the move and the bit."""
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    assert world.leases.try_move(slot, Verb.RELEASE, NOBODY)
    assert world.pools.try_take(pool, 1) is None
    world.pools.rebuild()
    assert world.take(pool, 1) == slot


def test_favourite_needs_no_bit(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    assert world.leases.try_move(slot, Verb.RELEASE, NOBODY)
    assert world.take(pool, 1, favourite=slot) == slot


# --- releasing


def test_only_the_owner_can_release(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 2)
    assert not world.pools.try_release(slot, 1)
    assert world.owner(slot) == 2
    assert world.pools.try_release(slot, 2)
    assert not world.pools.try_release(slot, 2)


def test_release_grants_to_the_worker_of_the_longest_waiter(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    for worker in (2, 3, 2):
        world.park(pool, worker)
    for worker in (2, 3, 2):
        releaser = world.owner(slot)
        assert world.pools.try_release(slot, releaser)
        assert world.leases.read(slot)[:2] == (Phase.GRANTED, worker)
        assert world.workers.take_deliveries(worker) == [slot]
        assert world.pools.try_accept(slot, worker)
    assert world.waiters.waiting(pool) == 0
    assert world.pools.try_release(slot, 2)
    assert world.phase(slot) is Phase.FREE


def test_a_granted_slot_is_for_its_heir_alone(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    world.park(pool, 1)
    assert world.pools.try_release(slot, 0)
    assert world.pools.try_take(pool, 2, favourite=slot) is None
    assert not world.pools.try_accept(slot, 2)
    assert not world.pools.try_release(slot, 1)
    assert not world.pools.shut(slot, 1)
    assert world.pools.try_accept(slot, 1)
    assert not world.pools.try_accept(slot, 1)


def test_release_passes_over_waiters_that_have_left(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    tickets = [world.park(pool, worker) for worker in (1, 2, 3)]
    assert world.waiters.try_leave(pool, tickets[0])
    assert world.pools.try_release(slot, 0)
    assert world.owner(slot) == 2
    assert world.workers.take_deliveries(1) == []


def test_release_with_only_leavers_in_the_queue_frees_the_backend(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    assert world.waiters.try_leave(pool, world.park(pool, 1))
    assert world.pools.try_release(slot, 0)
    assert world.take(pool, 2) == slot


def test_a_grant_whose_waiter_has_left_is_recalled_and_goes_to_the_next(world: World) -> None:
    """The same three moves as release makes, with the waiter leaving in the middle."""
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 0)
    tickets = [world.park(pool, worker) for worker in (1, 2)]
    assert world.leases.try_move(slot, Verb.GRANT, 1)
    assert world.waiters.try_leave(pool, tickets[0])
    assert not world.waiters.try_pop(pool, tickets[0])
    assert world.leases.try_move(slot, Verb.RECALL, 0, phase=Phase.GRANTED, holder=1)
    assert world.pools.try_release(slot, 0)
    assert world.leases.read(slot)[:2] == (Phase.GRANTED, 2)


def test_release_to_the_releaser_s_own_waiter_is_a_grant_too(world: World) -> None:
    pool = world.pool(1, backends=1)
    slot = world.take(pool, 1)
    world.park(pool, 1)
    assert world.pools.try_release(slot, 1)
    assert world.workers.take_deliveries(1) == [slot]
    assert world.pools.try_accept(slot, 1)


def test_own_clients_come_first_while_the_head_of_the_queue_is_young_or_their_own(world: World) -> None:
    pool = world.pool(1, backends=1)
    parked_at = 64_000_000
    assert world.pools.may_serve_own(pool, 1, parked_at)
    ticket = world.park(pool, 2, parked_at)
    assert world.pools.may_serve_own(pool, 1, parked_at + FAVOUR_OWN_FOR_US - 64)
    assert not world.pools.may_serve_own(pool, 1, parked_at + FAVOUR_OWN_FOR_US + 64)
    assert world.pools.may_serve_own(pool, 2, parked_at + 3600 * 1_000_000)
    assert world.waiters.try_leave(pool, ticket)
    assert world.pools.may_serve_own(pool, 1, parked_at + FAVOUR_OWN_FOR_US + 64)


def test_paused_pools_lease_nothing_until_they_are_resumed(world: World) -> None:
    pool = world.pool(2, backends=2)
    slot = world.take(pool, 0)
    world.workers.enlist(1, 4711)
    world.pools.pause()
    assert world.pools.is_paused
    assert world.pools.try_take(pool, 1) is None
    world.park(pool, 1)
    assert world.pools.try_release(slot, 0)
    assert world.phase(slot) is Phase.FREE
    assert not world.pools.may_serve_own(pool, 1, 0)
    world.workers.take_errands(1)
    world.pools.resume()
    assert not world.pools.is_paused
    assert world.workers.take_errands(1) & Errand.OPEN_BACKENDS
    assert world.pools.try_take(pool, 1) is not None


# --- opening and closing


def test_open_stops_at_the_pool_s_size(world: World) -> None:
    pool = world.pool(3)
    assert [world.pools.open(pool, 0) for _ in range(4)] == [0, 1, 2, POOL_FULL]


def test_open_stops_at_the_database_s_limit_over_all_its_pools(world: World) -> None:
    one = world.pools.register(b"app", b"one", 3, 4)
    two = world.pools.register(b"app", b"two", 3, 4)
    other = world.pools.register(b"other", b"one", 3, 4)
    assert [world.pools.open(one, 0) for _ in range(3)] == [0, 1, 2]
    assert [world.pools.open(two, 0) for _ in range(2)] == [3, DATABASE_FULL]
    assert world.pools.open(other, 0) == 4


def test_open_stops_when_all_slots_are_in_use(world: World) -> None:
    pool = world.pool(100)
    assert [world.pools.open(pool, 0) for _ in range(9)] == [*range(8), ALL_FULL]


def test_a_backend_counts_from_its_opening_until_postgresql_has_ended_it(world: World) -> None:
    pool = world.pool(1)
    slot = world.pools.open(pool, 0)
    assert world.pools.open(pool, 1) == POOL_FULL
    assert world.pools.try_adopt(slot, 0)
    assert world.pools.try_release(slot, 0)
    assert world.pools.open(pool, 1) == POOL_FULL
    assert world.take(pool, 1) == slot
    assert world.pools.shut(slot, 1)
    assert world.pools.open(pool, 1) == POOL_FULL
    assert world.pools.clear(slot, 1)
    assert world.pools.open(pool, 2) == slot


def test_resize_takes_effect_at_the_next_opening(world: World) -> None:
    pool = world.pool(2, backends=2)
    world.pools.resize(pool, 3)
    assert world.open(pool, 0) == 2
    world.pools.resize(pool, 1)
    assert world.open(pool, 0) is None
    assert world.pools.count(pool) == (3, 0, 2, 3)


def test_only_who_opens_can_adopt_and_only_who_closes_can_clear(world: World) -> None:
    pool = world.pool(1)
    slot = world.pools.open(pool, 1)
    assert not world.pools.try_adopt(slot, 2)
    assert world.pools.try_adopt(slot, 1)
    assert not world.pools.try_adopt(slot, 1)
    assert not world.pools.clear(slot, 1)
    assert not world.pools.shut(slot, 2)
    assert world.pools.shut(slot, 1)
    assert not world.pools.shut(slot, 1)
    assert not world.pools.clear(slot, 2)
    assert world.pools.clear(slot, 1)
    assert world.leases.read(slot)[:2] == (Phase.EMPTY, NOBODY)


def test_room_that_was_made_is_announced_when_somebody_waits(world: World) -> None:
    one, other = world.pool(1, "one", backends=1), world.pool(1, "other")
    slot = world.take(one, 0)
    assert world.pools.shut(slot, 0)
    assert world.pools.clear(slot, 0)
    assert not world.workers.take_errands(0)
    slot = world.open(one, 0) or 0
    world.park(other, 2)
    assert world.pools.shut(slot, 0)
    assert world.pools.clear(slot, 0)
    assert world.workers.take_errands(0) == Errand.OPEN_BACKENDS


def test_count_tells_opening_free_and_serving_backends(world: World) -> None:
    pool = world.pool(6, backends=3)
    world.pools.open(pool, 0)
    leased, closing = world.take(pool, 0), world.take(pool, 0)
    assert world.pools.shut(closing, 0)
    assert world.pools.count(pool) == (4, 1, 1, 2)
    world.park(pool, 1)
    assert world.pools.try_release(leased, 0)
    assert world.pools.count(pool) == (4, 1, 1, 2)
    assert world.pools.read(pool) == {
        "pool": pool,
        "database": b"app",
        "user": b"app",
        "pool_size": 6,
        "backends": 4,
        "opening": 1,
        "free": 1,
        "waiting": 0,
    }


def test_evict_leases_an_idle_backend_of_a_pool_that_nobody_waits_for(world: World) -> None:
    one, other = world.pool(2, "one", backends=2), world.pool(2, "other", backends=1)
    third = world.pool(1, "third")
    busy = [world.take(one, 0), world.take(one, 0)]
    assert world.pools.evict(third, 3) == 2
    assert world.leases.read(2)[:3] == (Phase.LEASED, 3, other)
    with Surgery(world.path) as surgery:
        assert not surgery.is_free_bit_set(other, 2)
    assert world.pools.evict(third, 3) == NO_SLOT
    assert world.pools.try_release(busy[0], 0)
    assert world.pools.evict(one, 3) == NO_SLOT  # its own are not evicted
    assert world.pools.evict(third, 3) == busy[0]


def test_evict_leaves_a_pool_alone_whose_clients_wait(world: World) -> None:
    one, other = world.pool(2, "one", backends=1), world.pool(2, "other")
    world.park(one, 1)
    assert world.pools.evict(other, 3) == NO_SLOT


# --- what is known of a pool


def test_a_pool_is_registered_once_and_found_by_every_process(world: World) -> None:
    pool = world.pools.register(b"app", b"alice", 5)
    assert world.pools.register(b"app", b"alice", 9) == pool
    assert world.pools.register(b"app", b"bob", 5) != pool
    assert world.pools.register(b"other", b"alice", 5) != pool
    seen = Pools(Segment.attach(world.path, writable=True))
    assert seen.register(b"app", b"alice", 5) == pool
    record = seen.read(pool)
    assert record is not None
    assert record["pool_size"] == 5


def test_names_are_cut_to_63_bytes(world: World) -> None:
    pool = world.pools.register(b"d" * 63, b"u" * 63, 1)
    assert world.pools.register(b"d" * 64, b"u" * 200, 1) == pool
    assert world.pools.register(b"d" * 62, b"u" * 63, 1) != pool
    record = world.pools.read(pool)
    assert record is not None
    assert (record["database"], record["user"]) == (b"d" * 63, b"u" * 63)


def test_no_more_pools_than_the_segment_was_made_for(world: World) -> None:
    pools = [world.pools.register(b"app", b"user%d" % each, 1) for each in range(4)]
    assert pools == [0, 1, 2, 3]
    for pool in pools:
        assert world.pools.tenancies.try_join(pool, 0, 0)
    with pytest.raises(PoolsExhausted, match="all 4 pools are in use: raise max_pools"):
        world.pools.register(b"app", b"one more", 1)
    assert world.pools.register(b"app", b"user2", 1) == 2
    assert world.pools.read(4) is None


def test_welcome_is_unknown_until_the_first_backend_and_the_latest_afterwards(world: World) -> None:
    pool = world.pool(1)
    assert world.pools.tidings.welcome(pool) is None
    for welcome in (b"server_version\x0016\0", b"x" * 2048, b"TimeZone\0UTC\0"):
        world.pools.tidings.set_welcome(pool, welcome)
        assert world.pools.tidings.welcome(pool) == welcome
    with pytest.raises(ValueError, match="2049"):
        world.pools.tidings.set_welcome(pool, b"x" * 2049)
    assert world.pools.tidings.welcome(pool) == b"TimeZone\0UTC\0"


def test_trouble_is_known_to_all_until_it_is_over(world: World) -> None:
    pool = world.pool(1)
    world.workers.enlist(2, 4711)
    assert world.pools.tidings.trouble(pool) == (b"", 0)
    world.pools.tidings.set_trouble(pool, b"28P01: wrong password", 60_000_000)
    trouble, retry_after_us = world.pools.tidings.trouble(pool)
    assert trouble == b"28P01: wrong password"
    assert 0 < retry_after_us <= 60_000_000
    assert world.workers.take_errands(2) == Errand.REFUSE_WAITERS
    world.pools.tidings.set_trouble(pool, b"", 0)
    assert world.pools.tidings.trouble(pool) == (b"", 0)
    assert not world.workers.take_errands(2)


def test_trouble_may_be_tried_again_when_its_time_is_over(world: World) -> None:
    pool = world.pool(1)
    world.pools.tidings.set_trouble(pool, b"x" * 5000, 0)
    assert world.pools.tidings.trouble(pool) == (b"x" * 1023, 0)


# --- a reader


def test_a_reader_sees_the_same_and_can_take_no_lock(world: World) -> None:
    pool = world.pool(2, backends=1)
    world.take(pool, 3)
    reader = Pools(Segment.attach(world.path))
    assert reader.leases.snapshot() == world.leases.snapshot()
    assert reader.read(pool) == world.pools.read(pool)
    with pytest.raises(SegmentError, match="read-only"):
        reader.register(b"app", b"other", 1)
    with pytest.raises(SegmentError, match="read-only"):
        reader.open(pool, 0)


def test_a_private_backend_takes_no_place_of_its_pool_but_counts_within_the_other_limits(
    world: World,
) -> None:
    pool = world.pools.register(b"alone", b"app", 1, 3)
    private = [world.pools.open(pool, 0, private=Private.PHYSICAL) for _ in range(2)]
    assert min(private) >= 0
    assert world.pools.count(pool) == (0, 0, 0, 0)
    assert world.pools.open(pool, 0) >= 0
    assert world.pools.open(pool, 0) == POOL_FULL
    assert world.pools.open(pool, 0, private=Private.PHYSICAL) == DATABASE_FULL
    assert world.pools.count(pool)[:2] == (1, 1)
    assert world.pools.shut(private[0], 0)
    assert world.pools.clear(private[0], 0)
    assert world.pools.open(pool, 0, private=Private.PHYSICAL) == private[0]
