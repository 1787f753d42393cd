"""The lease table: what may happen to a slot, what may not, and what outlives its owner."""

from __future__ import annotations

import pytest

from pgmux.shm.fencing import fence
from pgmux.shm.leases import LAW, LeaseTable, Phase, Verb
from tests.shm.family import Family
from tests.shm.surgery import Surgery
from tests.shm.world import World

LEGAL = {
    (Phase.EMPTY, Verb.OPEN): Phase.OPENING,
    (Phase.OPENING, Verb.ADOPT): Phase.LEASED,
    (Phase.OPENING, Verb.CLOSE): Phase.CLOSING,
    (Phase.OPENING, Verb.FENCE): Phase.CLOSING,
    (Phase.FREE, Verb.TAKE): Phase.LEASED,
    (Phase.LEASED, Verb.RELEASE): Phase.FREE,
    (Phase.LEASED, Verb.GRANT): Phase.GRANTED,
    (Phase.LEASED, Verb.CLOSE): Phase.CLOSING,
    (Phase.LEASED, Verb.FENCE): Phase.CLOSING,
    (Phase.GRANTED, Verb.ACCEPT): Phase.LEASED,
    (Phase.GRANTED, Verb.RECALL): Phase.LEASED,
    (Phase.GRANTED, Verb.RETURN): Phase.FREE,
    (Phase.CLOSING, Verb.FENCE): Phase.CLOSING,
    (Phase.CLOSING, Verb.CLEAR): Phase.EMPTY,
}
RENEWING = {Verb.OPEN, Verb.CLOSE, Verb.FENCE, Verb.CLEAR}
WAY_TO = {
    Phase.EMPTY: (),
    Phase.OPENING: (Verb.OPEN,),
    Phase.LEASED: (Verb.OPEN, Verb.ADOPT),
    Phase.FREE: (Verb.OPEN, Verb.ADOPT, Verb.RELEASE),
    Phase.GRANTED: (Verb.OPEN, Verb.ADOPT, Verb.GRANT),
    Phase.CLOSING: (Verb.OPEN, Verb.ADOPT, Verb.CLOSE),
}
NOBODY, NO_POOL = 0xFF, 0xFFFF
SLOT, POOL, WORKER = 3, 2, 1


@pytest.fixture
def leases(world: World) -> LeaseTable:
    return world.leases


def bring(leases: LeaseTable, phase: Phase) -> None:
    for verb in WAY_TO[phase]:
        assert leases.try_move(SLOT, verb, WORKER, POOL)
    assert leases.read(SLOT)[0] is phase


def test_law_is_the_table_of_these_tests() -> None:
    told = {(origin, verb): target for verb, origins, target, _ in LAW for origin in origins}
    assert told == LEGAL
    assert {verb for verb, _, _, renews in LAW if renews} == RENEWING
    assert [verb for verb, *_ in LAW] == list(Verb)


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("phase", Phase)
def test_every_verb_in_every_phase_is_obeyed_or_refused_by_the_law(
    leases: LeaseTable, phase: Phase, verb: Verb
) -> None:
    bring(leases, phase)
    before = leases.read(SLOT)
    moved = leases.try_move(SLOT, verb, 2, 1)
    after = leases.read(SLOT)
    if (phase, verb) in LEGAL:
        assert moved
        assert after == (LEGAL[phase, verb], 2, 1, before[3] + (verb in RENEWING))
    else:
        assert not moved
        assert after == before


def test_a_new_segment_s_slots_are_empty_and_nobody_s(leases: LeaseTable) -> None:
    assert leases.count == 8
    assert leases.snapshot() == [(Phase.EMPTY, NOBODY, NO_POOL, 0)] * 8


def test_a_move_leaves_all_other_slots_alone(leases: LeaseTable) -> None:
    before = leases.snapshot()
    bring(leases, Phase.LEASED)
    after = leases.snapshot()
    assert [slot for slot in range(8) if before[slot] != after[slot]] == [SLOT]


def test_generation_grows_with_the_socket_and_when_a_lease_is_ended_but_not_by_use(
    leases: LeaseTable,
) -> None:
    bring(leases, Phase.FREE)
    opened = leases.read(SLOT)[3]
    for verb in (Verb.TAKE, Verb.RELEASE, Verb.TAKE, Verb.GRANT, Verb.ACCEPT, Verb.GRANT, Verb.RECALL):
        assert leases.try_move(SLOT, verb, WORKER)
    assert leases.read(SLOT)[3] == opened
    for verb in (Verb.CLOSE, Verb.CLEAR, Verb.OPEN):
        assert leases.try_move(SLOT, verb, WORKER)
    assert leases.read(SLOT)[3] == opened + 3


def test_widest_owner_and_pool_fit_into_a_word(leases: LeaseTable) -> None:
    assert leases.try_move(SLOT, Verb.OPEN, 249, 65_533)
    assert leases.read(SLOT) == (Phase.OPENING, 249, 65_533, 1)


def test_generation_outlives_hundreds_of_grants(leases: LeaseTable) -> None:
    bring(leases, Phase.LEASED)
    before = leases.read(SLOT)
    for _ in range(600):
        assert leases.try_move(SLOT, Verb.GRANT, 2)
        assert leases.try_move(SLOT, Verb.ACCEPT, WORKER)
    assert leases.read(SLOT) == before


def test_no_two_grants_in_a_row_are_the_same_word(leases: LeaseTable, world: World) -> None:
    """Or a granter that was slow to recall its own grant might recall the next one to the same heir."""
    bring(leases, Phase.LEASED)
    words = []
    with Surgery(world.path) as surgery:
        for _ in range(200):
            assert leases.try_move(SLOT, Verb.GRANT, 2)
            words.append(surgery.word(SLOT))
            assert leases.try_move(SLOT, Verb.ACCEPT, 2)
            assert leases.try_move(SLOT, Verb.RELEASE, NOBODY)
            assert leases.try_move(SLOT, Verb.TAKE, WORKER)
    assert len(set(words)) == 200


def test_a_move_can_insist_on_phase_and_holder(leases: LeaseTable) -> None:
    bring(leases, Phase.LEASED)
    assert not leases.try_move(SLOT, Verb.CLOSE, WORKER, phase=Phase.OPENING)
    assert not leases.try_move(SLOT, Verb.CLOSE, WORKER, holder=WORKER + 1)
    assert leases.try_move(SLOT, Verb.CLOSE, WORKER, phase=Phase.LEASED, holder=WORKER)


def test_release_after_fence_is_refused(world: World) -> None:
    pool = world.pool(2)
    slot = world.open(pool, 1)
    assert slot is not None
    generation = world.pools.generation(slot)
    assert fence(world.pools, 1, 2) == [slot]
    assert not world.pools.try_release(slot, 1)
    assert not world.pools.shut(slot, 1)
    assert not world.pools.clear(slot, 1)
    assert world.leases.read(slot) == (Phase.CLOSING, 2, pool, generation + 1)


def test_a_fenced_worker_s_old_grant_and_opening_are_worth_nothing(world: World) -> None:
    pool = world.pool(3)
    opening = world.pools.open(pool, 1)
    granted = world.open(pool, 0)
    assert granted is not None
    world.park(pool, 1)
    assert world.pools.try_release(granted, 0)
    assert world.phase(granted) is Phase.GRANTED
    assert fence(world.pools, 1, 2) == [opening]
    assert not world.pools.try_adopt(opening, 1)
    assert not world.pools.try_accept(granted, 1)
    assert world.phase(granted) is Phase.FREE


def test_a_slot_out_of_range_is_an_error_and_no_harm(leases: LeaseTable) -> None:
    for call in (
        lambda: leases.read(8),
        lambda: leases.try_move(8, Verb.OPEN, 0, 0),
        lambda: leases.introduce(8, 1, b""),
        lambda: leases.identity(8),
        lambda: leases.describe(8),
    ):
        with pytest.raises(IndexError, match="slot 8 of 8"):
            call()


def test_identity_of_a_backend_is_what_its_opener_wrote(leases: LeaseTable) -> None:
    for key in (b"four", bytes(range(256)), b"\0" * 4):
        leases.introduce(SLOT, 4711, key, expires_s=12)
        assert leases.identity(SLOT) == (4711, key)
    with pytest.raises(ValueError, match="256"):
        leases.introduce(SLOT, 4711, bytes(257))
    assert leases.identity(SLOT) == (4711, b"\0" * 4)


def test_description_of_a_slot_names_owner_and_pool_only_where_there_is_one(world: World) -> None:
    row = world.pools.describe_slot(SLOT)
    assert (row["slot"], row["phase"], row["owner"], row["pool"]) == (SLOT, Phase.EMPTY, None, None)
    pool = world.pool(1)
    slot = world.open(pool, 3)
    assert slot is not None
    row = world.pools.describe_slot(slot)
    assert (row["phase"], row["owner"], row["pool"]) == (Phase.LEASED, 3, pool)
    assert row["backend_pid"] == 1000 + slot
    assert row["generation"] == world.pools.generation(slot) == 1
    assert row["opened_at_us"] > 0
    assert world.pools.try_release(slot, 3)
    assert world.pools.describe_slot(slot)["owner"] is None


def test_of_processes_that_want_the_same_slot_exactly_one_gets_it(world: World, family: Family) -> None:
    """Each wins a round when its move is the one that succeeds; no round is won twice or by nobody."""
    rounds, contenders = 8, 4

    def contend(worker: int) -> None:
        for slot in range(rounds):
            world.leases.try_move(slot, Verb.OPEN, worker, 0)

    for worker in range(contenders):
        family.fork(contend, worker)
    family.end_well()
    for phase, owner, _, generation in world.leases.snapshot():
        assert phase is Phase.OPENING
        assert owner < contenders
        assert generation == 1
