"""Ears: one a place, held by one worker at a time, and taken from the dead."""

from __future__ import annotations

import os

import pytest

from pgmux.shm.ears import Ears
from pgmux.shm.segment import Segment
from tests.shm.family import Family
from tests.shm.tally import Tally
from tests.shm.world import World

PLACE = b"/run:5432/app"


@pytest.fixture
def ears(world: World) -> Ears:
    return Ears(world.segment)


def test_a_place_has_one_ear_whoever_registers_it(world: World, ears: Ears) -> None:
    first, second = ears.register(PLACE), ears.register(b"/run:5432/other")
    assert first != second
    assert Ears(world.segment).register(PLACE) == first
    assert [ear["place"] for ear in ears.snapshot()] == [PLACE, b"/run:5432/other"]


def test_places_that_differ_only_where_they_are_cut_are_two(ears: Ears) -> None:
    long = b"/" + b"x" * 300
    assert ears.register(long + b"1") != ears.register(long + b"2")
    assert {len(ear["place"]) for ear in ears.snapshot()} == {255}


def test_there_are_as_many_as_pools(ears: Ears) -> None:
    assert [ears.register(str(number).encode()) for number in range(4)] == [0, 1, 2, 3]
    with pytest.raises(IndexError, match="4 ears are not enough"):
        ears.register(b"one more")
    assert ears.register(b"2") == 2


def test_one_claim_wins_and_the_epoch_grows_with_every_move(ears: Ears) -> None:
    ear = ears.register(PLACE)
    assert ears.holder(ear) == (None, 0)
    assert ears.try_claim(ear, 0) == 1
    assert ears.try_claim(ear, 1) is None
    assert ears.try_claim(ear, 0) is None
    assert ears.holder(ear) == (0, 1)
    assert not ears.release(ear, 1)
    assert ears.release(ear, 0)
    assert ears.holder(ear) == (None, 2)
    assert ears.try_claim(ear, 249) == 3
    assert ears.holder(ear) == (249, 3)


def test_a_dead_worker_s_ears_are_nobody_s_and_no_other_s(ears: Ears) -> None:
    mine, other, free = (ears.register(str(number).encode()) for number in range(3))
    ears.try_claim(mine, 1)
    ears.try_claim(other, 2)
    ears.introduce(mine, 4711)
    ears.count_channels(mine, 7)
    assert ears.fence(1) == [mine]
    assert ears.fence(1) == []
    assert [ears.holder(ear)[0] for ear in (mine, other, free)] == [None, 2, None]
    told = ears.read(mine)
    assert told is not None
    assert (told["backend_pid"], told["channels"], told["opened_at_us"]) == (0, 0, 0)


def test_what_the_holder_writes_is_read_by_others(world: World, ears: Ears) -> None:
    ear = ears.register(PLACE)
    ears.try_claim(ear, 3)
    ears.introduce(ear, 4711)
    ears.count_channels(ear, 7)
    (told,) = Ears(Segment.attach(world.path)).snapshot()
    assert (told["worker"], told["epoch"], told["backend_pid"], told["channels"]) == (3, 1, 4711, 7)
    assert told["opened_at_us"] > 0
    ears.lose(ear)
    (told,) = ears.snapshot()
    assert (told["worker"], told["backend_pid"], told["channels"], told["losses"]) == (3, 0, 0, 1)


def test_an_ear_that_is_not_there_is_an_error(ears: Ears) -> None:
    assert ears.read(0) is None
    for call in (ears.read, ears.holder, ears.lose):
        with pytest.raises(IndexError):
            call(4)


def test_of_many_claims_at_once_one_wins_each_time(world: World, family: Family) -> None:
    """Each winner counts, then lets go: the count is exact, and so is the epoch."""
    turns, count = 2000, Tally(1)
    ear = Ears(world.segment).register(PLACE)

    def claim(worker: int) -> None:
        ears, won = Ears(world.segment), 0
        while won < turns:
            if ears.try_claim(ear, worker) is not None:
                count[0] = count[0] + 1
                won += 1
                assert ears.release(ear, worker)

    for worker in range(4):
        family.fork(claim, worker)
    family.end_well()
    assert count[0] == 4 * turns
    assert Ears(world.segment).holder(ear) == (None, 8 * turns)


def test_a_claim_whose_worker_is_killed_is_ended_by_the_fence_alone(world: World, family: Family) -> None:
    ears = Ears(world.segment)
    ear = ears.register(PLACE)
    family.dies_after(lambda: ears.try_claim(ear, 2))
    assert ears.try_claim(ear, 3) is None
    assert ears.fence(2) == [ear]
    assert ears.try_claim(ear, 3) == 3


def test_a_registration_cut_short_by_death_is_done_again(world: World, family: Family) -> None:
    family.dies_after(lambda: world.segment.locked(lambda: os.kill(os.getpid(), 9)))
    assert Ears(world.segment).register(PLACE) == 0
