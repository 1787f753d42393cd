"""What the operator can have done, and how it is known to be done."""

from __future__ import annotations

import collections

import pytest

from pgmux.config import read_config
from pgmux.control.answers import Done, Notice
from pgmux.control.operator import AT_ONCE, WHEN_CLIENTS_ARE_GONE, WHEN_SERVERS_ARE_FREE
from pgmux.control.request import RequestError
from pgmux.shm.leases import Phase
from pgmux.shm.workers import Errand
from tests.control.bureau import Bureau


def end(bureau: Bureau, slot: int, worker: int = 0) -> None:
    """What a worker does to a free backend of a paused pool."""
    if bureau.world.phase(slot) == Phase.FREE:
        bureau.world.take_unpaused(slot, worker)
    assert bureau.world.pools.shut(slot, worker)
    assert bureau.world.pools.clear(slot, worker)


def test_pause_lends_nothing_and_is_done_when_no_backend_is_left(bureau: Bureau) -> None:
    pool = bureau.world.pool(3, "app", backends=2)
    bureau.world.take(pool, 1)

    def finish() -> None:
        assert bureau.world.pools.is_paused
        assert bureau.world.pools.try_take(pool, 2) is None
        slot = len(bureau.asker.waited_for) - 1
        end(bureau, slot, bureau.world.owner(slot) if slot == 0 else 0)

    bureau.asker.while_waiting = finish
    assert bureau.ask("pause") == [Done("PAUSE")]
    assert bureau.asker.waited_for == ["waiting for 2 backends", "waiting for 1 backend"]
    assert bureau.world.pools.is_paused


def test_a_pause_of_one_database_waits_for_that_alone(bureau: Bureau) -> None:
    bureau.world.pool(3, "other", backends=1)
    app = bureau.world.pool(3, "app")
    assert bureau.ask("pause", "app") == [Done("PAUSE")]
    assert bureau.world.pools.is_pool_paused(app)
    assert not bureau.world.pools.is_paused


def test_a_pause_that_is_given_up_is_taken_back(bureau: Bureau) -> None:
    bureau.world.pool(3, "app", backends=1)
    with pytest.raises(RequestError, match="does not wait"):
        bureau.ask("pause", "app")
    assert not bureau.world.pools.is_pool_paused(0)
    with pytest.raises(RequestError, match="does not wait"):
        bureau.ask("pause")
    assert not bureau.world.pools.is_paused


def test_a_second_pause_that_is_given_up_does_not_take_back_the_first(bureau: Bureau) -> None:
    bureau.world.pool(3, "app", backends=1)
    bureau.world.pools.pause()
    with pytest.raises(RequestError, match="does not wait"):
        bureau.ask("pause")
    assert bureau.world.pools.is_paused


def test_resume_wakes_every_worker_and_says_what_is_still_paused(bureau: Bureau) -> None:
    bureau.world.pool(3, "app")
    for worker in range(4):
        bureau.world.workers.enlist(worker, 100 + worker)
    bureau.ask("pause", "app")
    bureau.ask("pause")
    assert bureau.ask("resume") == [Notice("still paused by themselves: app"), Done("RESUME")]
    assert not bureau.world.pools.is_paused
    assert bureau.world.pools.is_pool_paused(0)
    errands = [bureau.world.workers.take_errands(worker) for worker in range(4)]
    assert all(errand & Errand.OPEN_BACKENDS for errand in errands)
    assert bureau.ask("resume", "app") == [Done("RESUME")]
    assert all(bureau.world.workers.take_errands(worker) & Errand.OPEN_BACKENDS for worker in range(4))
    for words in (("resume",), ("resume", "app")):
        with pytest.raises(RequestError, match="is not paused"):
            bureau.ask(*words)


@pytest.mark.parametrize("word", ["pause", "resume", "kill", "reconnect", "wait-close", "disable", "enable"])
def test_a_database_that_there_is_not_is_an_error(bureau: Bureau, word: str) -> None:
    with pytest.raises(RequestError, match="no such database: nowhere") as caught:
        bureau.ask(word, "nowhere")
    assert caught.value.sqlstate == "3D000"
    with pytest.raises(RequestError, match='"pgbouncer" is the console itself'):
        bureau.ask(word, "pgbouncer")


def test_a_database_that_a_reload_took_away_can_still_be_resumed(bureau: Bureau) -> None:
    bureau.world.pools.register(b"former", b"alice", 1)
    assert bureau.ask("pause", "former") == [Done("PAUSE")]
    assert bureau.ask("resume", "former") == [Done("RESUME")]


def test_what_fails_in_shared_memory_is_an_error_and_no_end(bureau: Bureau) -> None:
    bureau.config = read_config('[pgmux]\nauth_type = "trust"\n[databases."*"]\n', {})
    names = (f"database {number}" for number in range(100))
    with pytest.raises(RequestError, match="raise max_pools and restart") as caught:
        collections.deque((bureau.ask("disable", name) for name in names), maxlen=0)
    assert caught.value.sqlstate == "58000"


def test_reconnect_outdates_backends_and_wait_close_waits_for_their_end(bureau: Bureau) -> None:
    pool = bureau.world.pool(3, "app", backends=2)
    other = bureau.world.pool(1, "other", backends=1)
    assert bureau.ask("reconnect", "app") == [Done("RECONNECT")]
    bureau.asker.while_waiting = lambda: end(bureau, len(bureau.asker.waited_for) - 1)
    assert bureau.ask("wait-close", "app") == [Done("WAIT_CLOSE")]
    assert bureau.asker.waited_for == [
        "waiting for 2 backends to be closed",
        "waiting for 1 backend to be closed",
    ]
    assert bureau.world.pools.count(pool)[0] == 0
    assert bureau.world.pools.count(other)[0] == 1
    assert bureau.ask("wait-close") == [Done("WAIT_CLOSE")]
    bureau.ask("reconnect")
    assert bureau.world.pools.describe_slot(2)["expires_s"] == 1


def test_disable_and_enable_are_on_the_board(bureau: Bureau) -> None:
    assert bureau.ask("disable", "app") == [Done("DISABLE")]
    record = bureau.world.pools.board.find(b"app")
    assert record is not None
    row = bureau.world.pools.board.read(record)
    assert row is not None
    assert row["is_disabled"]
    assert bureau.ask("enable", "app") == [Done("ENABLE")]


def test_kill_asks_every_worker_and_says_when_one_does_not_answer(bureau: Bureau) -> None:
    pool = bureau.world.pool(1, "app")
    for worker in (0, 2):
        bureau.world.workers.enlist(worker, 100 + worker)
    record = bureau.admit(pool, worker=2)
    bureau.asker.while_waiting = lambda: None
    notice, done = bureau.ask("kill", "app")
    assert isinstance(notice, Notice)
    assert "did not answer" in notice.message
    assert done == Done("KILL")
    assert bureau.asker.waited_for[0] == "waiting for 1 client to go"
    assert bureau.world.pools.is_pool_paused(pool)
    assert [bureau.world.workers.take_errands(worker) for worker in (0, 2)] == [Errand.KILL_CLIENTS] * 2
    bureau.world.clients.give_back(record)
    assert bureau.ask("kill") == [Done("KILL")]
    assert bureau.world.pools.is_paused


def test_who_comes_after_a_kill_is_not_waited_for(bureau: Bureau) -> None:
    pool = bureau.world.pool(1, "app")
    bureau.ask("kill", "app")
    bureau.admit(pool)
    board, record = bureau.world.pools.board, bureau.world.pools.database_record(pool)
    assert bureau.figures.clients_before(record, board.killed_at(record)) == 0


def test_kill_client_asks_the_worker_that_holds_it(bureau: Bureau) -> None:
    pool = bureau.world.pool(1, "app")
    record = bureau.admit(pool, worker=3)
    number = bureau.world.clients.number_of(record)
    bureau.asker.while_waiting = lambda: bureau.world.clients.give_back(record)
    assert bureau.ask("kill-client", str(number)) == [Done("KILL_CLIENT")]
    assert bureau.levers.pulled == [("kill client", 3, record, number)]
    with pytest.raises(RequestError, match=f"no such client: {number}"):
        bureau.ask("kill-client", str(number))
    with pytest.raises(RequestError, match="not a client's number: x17"):
        bureau.ask("kill-client", "x17")


def test_kill_client_says_when_the_worker_does_not_answer(bureau: Bureau) -> None:
    record = bureau.admit(bureau.world.pool(1, "app"), worker=1)
    bureau.asker.while_waiting = lambda: None
    notice, done = bureau.ask("kill-client", str(bureau.world.clients.number_of(record)))
    assert notice == Notice("worker 1 does not answer; the client goes when it runs again")
    assert done == Done("KILL_CLIENT")


def test_set_is_the_supervisor_s_to_do_and_done_when_all_workers_follow(bureau: Bureau) -> None:
    bureau.world.workers.enlist(1, 4711)

    def follow() -> None:
        if bureau.world.pools.board.configuration == 0:
            bureau.world.pools.board.publish(b"log_level=debug\n", False)
        else:
            bureau.world.workers.beat(1, 0, 0, 1)

    bureau.asker.while_waiting = follow
    assert bureau.ask("set", "log_level", "debug") == [Done("SET")]
    assert bureau.levers.pulled == [("set", "log_level", "debug")]
    assert bureau.asker.waited_for == ["waiting for the supervisor", "waiting for the workers"]


def test_set_names_a_worker_that_does_not_follow(bureau: Bureau) -> None:
    bureau.world.workers.enlist(2, 4711)
    bureau.asker.while_waiting = lambda: (
        bureau.world.pools.board.publish(b"", False) if bureau.world.pools.board.configuration == 0 else None
    )
    notice, _ = bureau.ask("set", "log_level", "debug")
    assert isinstance(notice, Notice)
    assert notice.message.startswith("1 worker (2) did not answer within 3s")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("workers", "3", "workers: needs a restart"),
        ("nothing", "3", "nothing: no option is called so"),
        ("default_pool_size", "many", "default_pool_size: expected a whole number"),
        ("server_reset_query", "a\nb", "server_reset_query: a value has no line breaks"),
    ],
)
def test_set_refuses_what_the_file_could_not_hold(bureau: Bureau, key: str, value: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        bureau.ask("set", key, value)
    assert bureau.levers.pulled == []


def test_a_supervisor_that_does_nothing_is_told(bureau: Bureau) -> None:
    bureau.asker.while_waiting = lambda: None
    with pytest.raises(RequestError, match="the supervisor has not changed the configuration"):
        bureau.ask("set", "log_level", "debug")


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ((), AT_ONCE),
        (("WAIT_FOR_SERVERS",), WHEN_SERVERS_ARE_FREE),
        (("wait-for-clients",), WHEN_CLIENTS_ARE_GONE),
    ],
)
def test_shutdown_is_the_supervisor_s_to_do(bureau: Bureau, words: tuple[str, ...], mode: int) -> None:
    assert bureau.ask("shutdown", *words) == [Done("SHUTDOWN")]
    assert bureau.levers.pulled == [("shut down", mode)]


def test_shutdown_does_not_guess(bureau: Bureau) -> None:
    with pytest.raises(RequestError, match="SHUTDOWN does not know now"):
        bureau.ask("shutdown", "now")
    assert bureau.levers.pulled == []
