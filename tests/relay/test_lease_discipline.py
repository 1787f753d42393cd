"""Who may touch a backend, and when it may be let go: what must not go wrong between two clients."""

from __future__ import annotations

import os

import pytest

from pgmux.relay.endpoint import ClientPhase
from pgmux.shm.fencing import fence
from pgmux.shm.leases import Phase
from pgmux.shm.pools import FAVOUR_OWN_FOR_US
from tests.relay.conftest import MakeRig
from tests.relay.rig import DONE, ERROR, IN_TRANSACTION, LET_IN, POOL, READY, Peer, Rig
from tests.servers.waiting import wait_until
from tests.wire import frontend
from tests.wire.frontend import message

SELECT = frontend.query("SELECT 1")


def test_a_query_goes_to_the_backend_and_its_answer_to_the_client(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, client = rig.connect()
    application.send(SELECT)
    rig.run()
    assert backend.received() == SELECT
    assert rig.world.phase(slot) is Phase.LEASED
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY
    assert client.phase is ClientPhase.IDLE
    assert rig.world.phase(slot) is Phase.FREE


def test_half_a_ready_for_query_frees_nothing(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(SELECT)
    rig.run()
    replies = DONE + READY
    for at in range(len(replies)):
        assert rig.world.phase(slot) is Phase.LEASED
        backend.send(replies[at : at + 1])
        rig.run()
    assert rig.world.phase(slot) is Phase.FREE
    assert application.received() == replies


def test_clients_of_two_workers_that_have_waited_long_are_served_in_the_order_in_which_they_came(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(workers=2)
    backend, _ = rig.open()
    clients = [rig.connect(number % 2) for number in range(6)]
    queries = [frontend.query(f"SELECT {number}") for number in range(6)]
    for (application, _), query in zip(clients, queries, strict=True):
        application.send(query)
        rig.run()
    wait_until(lambda: rig.relays[1].waiting_place(clients[5][1])[0] > 2 * FAVOUR_OWN_FOR_US)
    for (application, _), query in zip(clients, queries, strict=True):
        assert backend.received() == query
        backend.send(DONE, READY)
        rig.run()
        assert application.received() == DONE + READY
    assert rig.world.waiters.first(POOL) is None


def test_clients_of_two_workers_that_have_just_come_are_all_served(make_rig: MakeRig) -> None:
    rig = make_rig(workers=2)
    backend, _ = rig.open()
    applications = [rig.connect(number % 2)[0] for number in range(6)]
    for number, application in enumerate(applications):
        application.send(frontend.query(str(number)))
    rig.run()
    served = []
    while query := backend.received():
        served.append(int(query[5:6]))
        backend.send(message(b"C", query[5:]), READY)
        rig.run()
        assert applications[served[-1]].received() == message(b"C", query[5:]) + READY
    assert sorted(served) == list(range(6))


def test_a_client_in_a_transaction_keeps_its_backend(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    one, _ = rig.connect()
    other, waiting = rig.connect()
    one.send(SELECT)
    rig.run()
    backend.send(DONE, IN_TRANSACTION)
    rig.run()
    other.send(SELECT)
    rig.run()
    assert waiting.phase is ClientPhase.PARKED
    backend.received()
    one.send(frontend.query("COMMIT"))
    rig.run()
    assert backend.received() == frontend.query("COMMIT")
    backend.send(DONE, READY)
    rig.run()
    assert backend.received() == SELECT


def test_the_cancel_for_a_client_that_vanished_cannot_hit_the_next_one(make_rig: MakeRig) -> None:
    """Its query ends in the same moment, and somebody waits for the backend."""
    rig = make_rig()
    backend, slot = rig.open()
    gone, _ = rig.connect()
    other, waiting = rig.connect()
    gone.send(SELECT)
    rig.run()
    other.send(SELECT)
    rig.run()
    assert waiting.phase is ClientPhase.PARKED
    gone.close()
    backend.send(DONE, READY)
    rig.relays[0].run(0)
    news = rig.relays[0].take_news()
    if any(word == "cancel" for word, _ in news):
        assert rig.relays[0].backend_of(waiting) != slot


def test_what_a_cancel_came_too_early_for_is_cancelled_again(make_rig: MakeRig) -> None:
    """PostgreSQL takes no notice of a cancel request that is there before the query is."""
    rig = make_rig()
    _, slot = rig.open()
    gone, _ = rig.connect()
    relay = rig.relays[0]
    gone.send(SELECT)
    rig.run()
    gone.close()
    for _ in range(2):
        relay.run(0)
        relay.sweep(0)
        assert [word for word, _ in relay.take_news()].count("cancel") == 1
        relay.cancel_settled(slot, rig.world.pools.generation(slot))
        relay.sweep(0)


def test_a_pipeline_that_its_client_left_half_sent_is_rolled_back(make_rig: MakeRig) -> None:
    """PostgreSQL undoes what came without a Sync when the client goes; a Sync would commit it."""
    rig = make_rig()
    backend, _ = rig.open()
    application, _ = rig.connect()
    application.send(frontend.parse("INSERT"), frontend.bind(), frontend.execute(), frontend.flush())
    rig.run()
    backend.received()
    backend.send(message(b"1"), message(b"2"), message(b"C", b"INSERT 0 1\0"))
    rig.run()
    application.close()
    rig.run()
    sent = backend.received()
    assert sent.startswith(frontend.query("ROLLBACK")) or backend.has_ended()


def test_a_copy_that_begins_when_its_client_has_gone_is_ended_and_the_backend_comes_back(
    make_rig: MakeRig,
) -> None:
    """PostgreSQL ignores the Sync that came before the CopyFail: it needs another."""
    rig = make_rig()
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(frontend.extended("COPY t FROM STDIN"), frontend.terminate())
    rig.run()
    backend.received()
    backend.send(message(b"1"), message(b"2"), message(b"n"), message(b"G", b"\0\0\0"))
    rig.run()
    assert backend.received() == message(b"f", b"\0") + frontend.sync()
    backend.send(ERROR, READY)
    rig.run()
    assert rig.world.phase(slot) is Phase.FREE


def test_a_backend_whose_socket_is_on_its_way_is_closed_for_good_when_it_must_make_room(
    make_rig: MakeRig,
) -> None:
    """It is evicted by a worker that has never seen its socket."""
    rig = make_rig(workers=2)
    other_pool = rig.world.pools.register(b"other", b"app", 1)
    backend, slot, copy = rig.open_unknown(0, other_pool)
    generation = rig.world.pools.generation(slot)
    rig.run()
    assert rig.world.pools.evict(POOL, 1) == slot
    rig.relays[1].close_backend(slot)
    rig.run()
    assert ("fetch", slot) in rig.news[1]
    assert rig.world.phase(slot) is Phase.CLOSING
    rig.relays[1].adopt_socket(slot, generation, copy)
    rig.run()
    assert backend.has_ended()
    backend.close()
    rig.run()
    assert rig.world.phase(slot) is Phase.EMPTY


def test_a_backend_whose_old_socket_is_all_a_worker_has_is_not_taken_for_closed(make_rig: MakeRig) -> None:
    """The slot was opened anew by another worker, and the new socket lies in the mailbox yet."""
    rig = make_rig(workers=2)
    other_pool = rig.world.pools.register(b"other", b"app", 1)
    old, slot = rig.open(0, other_pool)
    rig.run()
    assert rig.world.take(other_pool, 0) == slot
    rig.relays[0].close_backend(slot)
    old.close()
    rig.relays[0].run(0)
    rig.relays[0].take_news()
    assert rig.world.phase(slot) is Phase.EMPTY
    new, again, copy = rig.open_unknown(0, other_pool)
    assert again == slot
    assert rig.world.pools.evict(POOL, 1) == slot
    rig.relays[1].close_backend(slot)
    rig.run()
    os.close(copy)
    assert rig.world.phase(slot) is not Phase.EMPTY or new.has_ended()


def test_a_socket_that_never_came_is_not_mistaken_for_the_slots_next(make_rig: MakeRig) -> None:
    """Who opens a slot whose last socket it still awaited must hand it out once, not twice."""
    rig = make_rig(workers=2)
    old, slot, copy = rig.open_unknown(0)
    os.close(copy)
    rig.run()
    assert rig.world.take(POOL, 1) == slot
    rig.relays[1].hand_out(slot)  # to nobody; its socket has not come, and never will
    rig.run()
    assert rig.world.take(POOL, 0) == slot
    rig.relays[0].close_backend(slot)
    old.close()
    rig.run()
    assert rig.world.phase(slot) is Phase.EMPTY
    queries = [frontend.query("SELECT 'zero'"), frontend.query("SELECT 'one'")]
    for worker, query in enumerate(queries):
        application, _ = rig.connect(worker)
        application.send(query)
    rig.run()
    backend, again, copy = rig.open_unknown(1)
    rig.relays[0].adopt_socket(again, rig.world.pools.generation(again), copy)
    rig.run()
    assert backend.received() in queries


def test_a_client_that_was_sent_off_is_not_let_in_any_more(make_rig: MakeRig) -> None:
    """It waited for its pool's first backend, and its time was over just before that came."""
    rig = make_rig()
    _, client = rig.connect()
    rig.relays[0].send_off(client, ERROR)
    rig.relays[0].admit(client, LET_IN)
    assert client.phase is ClientPhase.LEAVING


def test_a_client_in_the_middle_of_a_message_hears_no_error_inside_it(make_rig: MakeRig) -> None:
    """Its backend dies with half a DataRow sent: the bytes of an error would be taken for the row's."""
    rig = make_rig()
    backend, _ = rig.open()
    application, _ = rig.connect()
    application.send(SELECT)
    rig.run()
    half = message(b"D", bytes(100))[:50]
    backend.send(half)
    rig.run()
    backend.close()
    rig.run()
    assert application.received() == half


@pytest.mark.parametrize("sent_before", [0, 3, 8])
def test_what_a_client_sends_while_we_ask_about_its_settings_is_dealt_with(
    make_rig: MakeRig, sent_before: int
) -> None:
    """The transaction's end is kept back meanwhile, and nothing is read; half a message may have come before."""
    rig = make_rig()
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(frontend.query("SET work_mem = '5MB'"), SELECT[:sent_before])
    rig.run()
    assert b"SET work_mem" in backend.received()
    backend.send(message(b"C", b"SET\0"), READY)
    rig.run()
    assert b"current_setting('work_mem'" in backend.received()
    application.send(SELECT[sent_before:])
    rig.run()
    row = b"\0\2" + b"\0\0\0\x08work_mem" + b"\0\0\0\x035MB"
    backend.send(message(b"C", b"SET\0"), message(b"T", b"\0\0"), message(b"D", row), DONE, READY)
    rig.run()
    assert application.received() == message(b"C", b"SET\0") + READY
    assert SELECT in backend.received()
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY
    assert rig.world.phase(slot) is Phase.FREE


@pytest.mark.parametrize("row", [b"", b"\0\1", b"\0\1\0\0\0\x011", b"\0\2\0\0\0\x011\0\0"])
def test_an_answer_that_is_none_ends_the_backend_and_nothing_else(make_rig: MakeRig, row: bytes) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(frontend.query("SET work_mem = '5MB'"))
    rig.run()
    backend.send(message(b"C", b"SET\0"), READY)
    rig.run()
    backend.send(message(b"D", row), DONE, READY)
    rig.run()
    assert rig.world.phase(slot) is Phase.CLOSING
    assert application.received().startswith(message(b"C", b"SET\0") + ERROR[:1])
    assert application.has_ended()


@pytest.mark.parametrize("answer", [ERROR, message(b"D", b"\0\1\0\0\0\x011")], ids=["an error", "nonsense"])
def test_an_audit_that_is_not_answered_harms_nobody(make_rig: MakeRig, answer: bytes) -> None:
    rig = make_rig()
    rig.relays[0].audit_interval_us = 1
    rig.relays[0].learnt(0, 0)
    backend, slot = rig.open()
    application, client = rig.connect()
    application.send(SELECT)
    rig.run()
    assert backend.received() == SELECT
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY
    assert client.phase is ClientPhase.IDLE
    assert b"pg_settings" in backend.received()
    backend.send(answer, READY)
    rig.run()
    assert rig.world.phase(slot) in (Phase.FREE, Phase.CLOSING)
    assert not application.has_ended()


def test_a_question_that_a_late_cancel_hits_is_asked_again_but_not_for_ever(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(frontend.query("SET work_mem = '5MB'"))
    rig.run()
    backend.send(message(b"C", b"SET\0"), READY)
    rig.run()
    for _ in range(4):
        assert b"current_setting('work_mem'" in backend.received()
        assert not application.has_ended()
        backend.send(ERROR, READY)
        rig.run()
    assert rig.world.phase(slot) is Phase.CLOSING
    assert application.has_ended()


def test_where_the_catalog_is_closed_no_transaction_is_suspected_any_more(make_rig: MakeRig) -> None:
    """As long as nobody knows what functions do, each transaction is asked about; then, audits alone."""
    rig = make_rig()
    rig.relays[0].audit_interval_us = 3_600_000_000
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(SELECT)
    rig.run()
    assert backend.received() == SELECT
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE
    assert b"pg_settings" in backend.received()
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == READY
    assert b"pg_inherits" in backend.received()
    backend.send(ERROR, READY)
    rig.run()
    assert b"RESET ALL" in backend.received()
    backend.send(DONE, READY)
    rig.run()
    assert rig.world.phase(slot) is Phase.FREE
    application.send(SELECT)
    rig.run()
    assert backend.received() == SELECT
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY
    assert backend.received() == b""


def test_what_a_client_asks_while_a_cancel_is_on_its_way_waits_for_its_end(make_rig: MakeRig) -> None:
    """The cancel was meant for what has been answered meanwhile, and would hit what comes next."""
    rig = make_rig()
    (relay,) = rig.relays
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(SELECT)
    rig.run()
    assert relay.is_asked(slot)
    relay.expect_cancel(slot)
    backend.send(DONE, IN_TRANSACTION)
    rig.run()
    assert not relay.is_asked(slot)
    assert backend.received() == SELECT
    application.send(SELECT)
    rig.run()
    assert backend.received() == b""
    relay.cancel_settled(slot, rig.world.pools.generation(slot))
    rig.run()
    assert backend.received() == SELECT


def test_a_cancel_for_the_backend_before_holds_back_nothing_of_the_next(make_rig: MakeRig) -> None:
    """A worker that inherits a dead one's slot cancels what ran there, and the slot may be another backend's soon."""
    rig = make_rig()
    rig.relays[0].expect_cancel(0)
    backend, slot = rig.open()
    application, _ = rig.connect()
    application.send(SELECT)
    rig.run()
    assert (slot, backend.received()) == (0, SELECT)


def test_what_a_dead_worker_left_is_ended_and_goes_to_no_client(make_rig: MakeRig) -> None:
    """Whoever is to end it had it before, and left it at rest."""
    rig = make_rig(workers=2)
    backend, slot = rig.open()
    heir, _ = rig.connect(worker=0)
    other, _ = rig.connect(worker=1)
    for application in (heir, other):
        application.send(SELECT)
        rig.run()
        assert backend.received() == SELECT
        if application is heir:
            backend.send(DONE, READY)
            rig.run()
    assert fence(rig.world.pools, 1, 0) == [slot]
    assert rig.relays[0].bury_fenced(slot)
    heir.send(SELECT)
    backend.send(DONE, READY)
    for _ in range(4):
        rig.relays[0].run(0)
    assert "handed on twice" not in [word for word, _ in rig.relays[0].take_news()]
    assert backend.received() == b""


FATAL = message(b"E", b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")


def ends_by_itself(rig: Rig, backend: Peer) -> None:
    """What PostgreSQL does to a connection when it stops."""
    backend.send(FATAL)
    backend.close()
    rig.run()


def test_a_backend_that_ends_right_behind_its_answer_is_told_to_nobody(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, client = rig.connect()
    application.send(SELECT)
    rig.run()
    backend.send(DONE, READY)
    ends_by_itself(rig, backend)
    assert application.received() == DONE + READY
    assert client.phase is ClientPhase.IDLE
    assert rig.world.phase(slot) is Phase.EMPTY


@pytest.mark.parametrize("asks_on", [False, True])
def test_a_backend_that_ends_while_we_tidy_up_after_its_client_is_told_to_nobody(
    make_rig: MakeRig, asks_on: bool
) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, client = rig.connect()
    application.send(frontend.query("PREPARE mine AS SELECT 1"))
    rig.run()
    backend.received()
    closed, prepared = message(b"3") + READY, message(b"C", b"PREPARE\0") + READY
    backend.send(closed, prepared)
    rig.run()
    assert application.received() == prepared
    assert backend.received()[:1] == b"C", "the name was not to be closed"
    assert rig.world.phase(slot) is Phase.LEASED
    ends_by_itself(rig, backend)
    assert application.received() == b""
    assert client.phase is ClientPhase.IDLE
    assert rig.world.phase(slot) is Phase.EMPTY
    if asks_on:
        another, _ = rig.open()
        application.send(SELECT)
        rig.run()
        assert SELECT in another.received()


def test_who_waits_for_the_end_of_a_transaction_that_is_asked_about_is_told_of_its_backends_end(
    make_rig: MakeRig,
) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    application, _ = rig.connect()
    application.send(frontend.query("SET work_mem = '3MB'"))
    rig.run()
    backend.received()
    told = message(b"C", b"SET\0")
    backend.send(told, READY)
    rig.run()
    assert backend.received(), "it was not asked"
    ends_by_itself(rig, backend)
    assert application.received() == told + ERROR
