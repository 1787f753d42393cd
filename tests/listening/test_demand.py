"""What is said to PostgreSQL for what workers want, and which questions are answered by it."""

from __future__ import annotations

from pgmux.worker.demand import CHANNELS_A_BATCH, Batch, Demand, Question

BARRIER = Batch(b"")


def asked(demand: Demand, worker: int, number: int, *channels: bytes) -> Question:
    question = Question(worker, number, channels)
    demand.listen(question)
    return question


def composed(demand: Demand) -> Batch:
    batch = demand.compose()
    assert batch is not None
    return batch


def test_nothing_wanted_is_nothing_said() -> None:
    demand = Demand()
    assert demand.compose() is None
    assert demand.is_met


def test_questions_that_came_together_are_answered_together() -> None:
    demand = Demand()
    questions = (asked(demand, 0, 1, b"a"), asked(demand, 1, 1, b"b", b"a"), asked(demand, 0, 2, b"b"))
    batch = composed(demand)
    assert batch.sql == b'LISTEN "a";LISTEN "b"'
    assert demand.settle(batch) == questions
    assert demand.compose() is None


def test_a_question_that_came_after_a_batch_was_said_waits_for_the_next() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a")
    batch = composed(demand)
    later = asked(demand, 1, 1, b"a")
    assert later not in demand.settle(batch)
    assert composed(demand) == BARRIER._replace(answers=(later,))


def test_names_are_quoted() -> None:
    demand = Demand()
    asked(demand, 0, 1, b'"; DROP TABLE users; --"')
    assert composed(demand).sql == b'LISTEN """; DROP TABLE users; --"""'


def test_a_channel_is_left_when_the_last_worker_leaves_it() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a", b"b")
    asked(demand, 1, 1, b"b")
    demand.settle(composed(demand))
    demand.unlisten(0, [b"a", b"b"])
    assert composed(demand).sql == b'UNLISTEN "a"'
    demand.unlisten(0, [b"b", b"never"])
    assert demand.compose() is None
    demand.unlisten(1, [b"b"])
    assert composed(demand).sql == b'UNLISTEN "b"'


def test_a_channel_left_and_wanted_again_before_anything_was_said_stays() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a")
    demand.settle(composed(demand))
    demand.unlisten(0, [b"a"])
    question = asked(demand, 0, 2, b"a")
    assert composed(demand) == BARRIER._replace(answers=(question,))


def test_a_channel_wanted_again_while_it_is_being_left_is_listened_to_again() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a")
    demand.settle(composed(demand))
    demand.unlisten(0, [b"a"])
    leaving = composed(demand)
    question = asked(demand, 0, 2, b"a")
    demand.settle(leaving)
    batch = composed(demand)
    assert (batch.sql, batch.answers) == (b'LISTEN "a"', (question,))


def test_so_many_channels_that_it_takes_several_batches_are_answered_by_the_last() -> None:
    demand = Demand()
    names = [b"%d" % number for number in range(2 * CHANNELS_A_BATCH + 1)]
    question = asked(demand, 0, 1, *names)
    other = asked(demand, 1, 1, b"0")
    batches = []
    while (batch := demand.compose()) is not None:
        batches.append(batch)
        demand.settle(batch)
    assert [len(batch.listens) for batch in batches] == [CHANNELS_A_BATCH, CHANNELS_A_BATCH, 1]
    assert [batch.answers for batch in batches] == [(other,), (), (question,)]


def test_a_dead_worker_wants_nothing_and_is_not_answered() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a", b"b")
    alive = asked(demand, 1, 1, b"b")
    demand.forget(0)
    batch = composed(demand)
    assert (batch.sql, batch.answers) == (b'LISTEN "b"', (alive,))
    demand.forget(0)
    demand.forget(7)
    assert set(demand.wanted) == {1}


def test_a_new_backend_is_told_everything_and_answers_what_the_old_one_owed() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a", b"b")
    demand.settle(composed(demand))
    owed = asked(demand, 0, 2, b"c")
    waiting = composed(demand)
    later = asked(demand, 1, 1, b"d")
    demand.unlisten(0, [b"b"])
    demand.fail(waiting)
    demand.begin_again()
    assert not demand.is_met
    batch = composed(demand)
    assert set(batch.listens) == {b"a", b"c", b"d"}
    assert batch.unlistens == ()
    assert set(demand.settle(batch)) == {owed, later}


def test_a_channel_that_postgresql_refuses_keeps_no_other_from_being_listened_to() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a", b"bad", b"b")
    other = asked(demand, 1, 1, b"c")
    answered: list[Question] = []
    for _ in range(6):
        batch = composed(demand)
        if b"bad" in batch.listens:
            demand.fail(batch)
        else:
            answered += demand.settle(batch)
    assert demand.listened == {b"a", b"b", b"c"}
    assert answered == [other]
    assert not demand.is_met


def test_a_channel_that_could_not_be_left_is_left_later() -> None:
    demand = Demand()
    asked(demand, 0, 1, b"a")
    demand.settle(composed(demand))
    demand.unlisten(0, [b"a"])
    demand.fail(composed(demand))
    assert demand.listened == {b"a"}
    assert composed(demand).sql == b'UNLISTEN "a"'
