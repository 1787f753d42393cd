"""Answers about users: one question for all workers, good for a moment, and nobody waits for the dead."""

from __future__ import annotations

from hashlib import sha256

import pytest

from pgmux.shm.answers import Answers, Verdict
from pgmux.shm.workers import Errand
from tests.shm.family import Family
from tests.shm.tally import Tally
from tests.shm.world import World

FRESH_US = PATIENCE_US = 60_000_000
LONG_ANSWER = 440


def key_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


ALICE = key_of("alice")


@pytest.fixture
def answers(world: World) -> Answers:
    for worker in range(3):
        world.workers.enlist(worker, 1000 + worker)
    return Answers(world.segment, world.workers)


def consult(
    answers: Answers,
    worker: int,
    key: bytes = ALICE,
    fresh_us: int = FRESH_US,
    patience_us: int = PATIENCE_US,
) -> tuple[Verdict, bytes | None]:
    return answers.consult(key, worker, fresh_us, patience_us)


def test_the_first_asks_and_the_others_wait_for_its_answer(world: World, answers: Answers) -> None:
    assert consult(answers, 0) == (Verdict.ASK, None)
    assert consult(answers, 1) == (Verdict.WAIT, None)
    assert consult(answers, 2) == (Verdict.WAIT, None)
    assert answers.tell(ALICE, 0, b"+secret")
    for worker in range(3):
        assert world.workers.take_errands(worker) & Errand.HEAR_ANSWERS
        assert world.has_rung(worker)
        assert consult(answers, worker) == (Verdict.HAVE, b"+secret")


def test_an_answer_is_good_for_a_moment_only(answers: Answers) -> None:
    consult(answers, 0)
    answers.tell(ALICE, 0, b"+secret")
    assert consult(answers, 1, fresh_us=0) == (Verdict.ASK, None)
    assert consult(answers, 2, fresh_us=0) == (Verdict.WAIT, None)


def test_another_may_ask_when_the_first_gives_up_or_takes_too_long_or_dies(
    world: World, answers: Answers
) -> None:
    consult(answers, 0)
    answers.give_up(ALICE, 0)
    assert world.workers.take_errands(1) & Errand.HEAR_ANSWERS
    assert consult(answers, 1) == (Verdict.ASK, None)
    assert consult(answers, 2, patience_us=0) == (Verdict.ASK, None)
    assert consult(answers, 0) == (Verdict.WAIT, None)
    answers.expel(2)
    assert consult(answers, 0) == (Verdict.ASK, None)


def test_a_worker_that_was_born_anew_asks_what_its_predecessor_asked(answers: Answers) -> None:
    consult(answers, 0)
    assert consult(answers, 0) == (Verdict.ASK, None)


def test_who_gives_up_late_does_not_disturb_who_asks_now(answers: Answers) -> None:
    consult(answers, 0)
    consult(answers, 1, patience_us=0)
    answers.give_up(ALICE, 0)
    assert consult(answers, 2) == (Verdict.WAIT, None)


def test_an_answer_that_let_nobody_in_is_asked_anew_but_not_at_once(answers: Answers) -> None:
    consult(answers, 0)
    answers.tell(ALICE, 0, b"+old")
    answers.distrust(ALICE, FRESH_US)
    assert consult(answers, 1) == (Verdict.HAVE, b"+old")
    answers.distrust(ALICE, 0)
    assert consult(answers, 1) == (Verdict.ASK, None)


def test_an_answer_that_is_too_long_is_not_shared(answers: Answers) -> None:
    consult(answers, 0)
    assert not answers.tell(ALICE, 0, bytes(LONG_ANSWER + 1))
    assert consult(answers, 1) == (Verdict.ASK, None)
    assert answers.tell(ALICE, 1, bytes(LONG_ANSWER))
    assert consult(answers, 2) == (Verdict.HAVE, bytes(LONG_ANSWER))


def test_many_users_are_kept_apart_and_the_oldest_answers_make_room(answers: Answers) -> None:
    names = [f"user {number}" for number in range(5000)]
    for name in names:
        assert consult(answers, 0, key_of(name)) == (Verdict.ASK, None)
        answers.tell(key_of(name), 0, name.encode())
    for name in names[-300:]:
        verdict, answer = consult(answers, 1, key_of(name))
        assert (verdict, answer) in {(Verdict.HAVE, name.encode()), (Verdict.ASK, None)}
    assert consult(answers, 1, key_of(names[-1])) == (Verdict.HAVE, names[-1].encode())


def test_where_every_place_is_being_asked_each_asks_for_itself(answers: Answers) -> None:
    names = [f"user {number}" for number in range(5000)]
    verdicts = [consult(answers, 0, key_of(name))[0] for name in names]
    assert set(verdicts) == {Verdict.ASK}
    again = [consult(answers, 1, key_of(name))[0] for name in names]
    assert again.count(Verdict.WAIT) == 1024
    lost = names[again.index(Verdict.ASK)]
    assert not answers.tell(key_of(lost), 0, b"+secret")


def test_a_storm_over_all_workers_is_one_question(world: World, answers: Answers, family: Family) -> None:
    asked = Tally(200)

    def storm(worker: int) -> None:
        for number in range(200):
            key = key_of(str(number))
            while True:
                verdict, _ = consult(answers, worker, key)
                if verdict is Verdict.ASK:
                    asked[number] += 1
                    answers.tell(key, worker, b"+" + key)
                if verdict is not Verdict.WAIT:
                    break

    for worker in range(4):
        family.fork(storm, worker)
    family.end_well()
    assert asked.all() == [1] * 200


def test_a_key_is_a_digest(answers: Answers) -> None:
    for ask in (answers.consult, answers.distrust):
        with pytest.raises(ValueError, match="32"):
            ask(b"alice", *range(3 if ask == answers.consult else 1))
