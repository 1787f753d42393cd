"""A worker is replaced, and its clients are served on by others: they notice nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import psutil
import pytest

from pgmux.worker.main import DRAIN
from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import Crowd, connect
from tests.integration.inside import Inside
from tests.integration.test_death import assert_every_worker_serves, serves_with_all_its_backends
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, WireClosedError, frontend


def drain(pgmux: Pgmux, worker: int) -> None:
    """Drains a worker and waits for its successor."""
    wait_for_successor(pgmux, worker, start_draining(pgmux, worker))


def wait_for_successor(pgmux: Pgmux, worker: int, pid: int) -> None:
    """Waits until the worker's place is another process's."""
    inside = Inside(pgmux)
    wait_until(lambda: inside.pid_of(worker) not in (0, pid), what="a successor")


def start_draining(pgmux: Pgmux, worker: int) -> int:
    """Tells a worker to drain, and gives its process id."""
    inside = Inside(pgmux)
    inside.wait_until_serves(worker)  # one that has just been born hears no signal yet
    pid = inside.pid_of(worker)
    os.kill(pid, DRAIN)
    pgmux.wait_for_log(f"worker {worker}: draining")
    return pid


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_an_idle_client_goes_on_with_all_that_its_session_has(make_pgmux: MakePgmux, unix: bool) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    with pgmux.wire(unix=unix) as client:
        client.startup(application_name="mover", work_mem="3MB")
        key = client.pid, client.key
        client.query("SET statement_timeout = '47s'")
        client.query("PREPARE mine AS SELECT $1::int + 1")
        client.ask(frontend.parse("SELECT $1::int * 2", "theirs"), frontend.sync())
        client.ask(frontend.parse("SELECT 'unnamed'"), frontend.sync())
        before = Inside(pgmux).worker_of(client)
        drain(pgmux, before)
        assert Inside(pgmux).worker_of(client) != before
        assert client.is_silent(for_s=0.05)
        assert client.ask(frontend.bind(), frontend.execute(), frontend.sync()).value == b"unnamed"
        assert client.query("EXECUTE mine(4)").value == b"5"
        assert client.ask(frontend.bind([b"4"], "theirs"), frontend.execute(), frontend.sync()).value == b"8"
        assert client.query("SHOW statement_timeout").value == b"47s"
        assert client.query("SHOW application_name").value == b"mover"
        client.query("RESET ALL")
        assert client.query("SHOW work_mem").value == b"3MB"
        assert (client.pid, client.key) == key
        client.send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(lambda: "LEASED" in str(Inside(pgmux).phases()), what="the query to run")
        client.cancel()
        assert client.read_until(b"Z").sqlstate == "57014"


def test_a_client_in_a_transaction_goes_when_that_has_ended(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    client = inside.a_client_on_each_worker()[1]
    client.query("BEGIN")
    pid = start_draining(pgmux, 1)
    assert client.query("SELECT 1").value == b"1"
    assert inside.pid_of(1) == pid
    client.send(frontend.query("COMMIT") + frontend.query("SELECT 2"))
    assert client.read_until(b"Z").status == "I"
    assert client.read_until(b"Z").value == b"2"
    wait_until(lambda: inside.pid_of(1) not in (0, pid), what="a successor")
    assert inside.worker_of(client) == 0
    assert client.query("SELECT 3").value == b"3"


def test_who_comes_meanwhile_is_served_by_another(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    holder = inside.a_client_on_each_worker()[1]
    holder.query("BEGIN")
    start_draining(pgmux, 1)
    for _ in range(20):
        with connect(pgmux) as newcomer:
            assert inside.worker_of(newcomer) == 0
            assert newcomer.query("SELECT 1").value == b"1"
    holder.query("COMMIT")
    wait_until(lambda: inside.worker_of(holder) == 0, what="the holder's move")
    assert_every_worker_serves(pgmux)


def test_who_listens_stays_until_the_deadline(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, drain_timeout="500ms")
    inside = Inside(pgmux)
    client, listener = inside.a_client_on_each_worker().values()
    listener.query("LISTEN news")
    start_draining(pgmux, 1)
    client.query("NOTIFY news, 'hello'")
    assert listener.read_message().type == b"A"
    assert listener.read_to_the_end().sqlstate == "57P01"
    listener.close()
    wait_until(lambda: len(pgmux.worker_pids()) == 2, what="a successor")
    assert client.query("SELECT 1").value == b"1"


def test_the_clients_of_an_only_worker_are_left_to_its_successor(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    clients = [connect(pgmux) for _ in range(50)]
    for number, client in enumerate(clients):
        client.query(f"PREPARE mine AS SELECT {number}")
    pid = start_draining(pgmux, 0)
    for client in clients:
        client.send(frontend.query("EXECUTE mine"))
    assert [client.read_until(b"Z").value for client in clients] == [b"%d" % n for n in range(50)]
    assert pgmux.worker_pids() != [pid]
    for client in clients:
        client.close()


def test_a_parcel_may_be_longer_than_a_message(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    client = Inside(pgmux).a_client_on_each_worker()[1]
    long = "x" * 200_000
    client.query(f"PREPARE long AS SELECT '{long}'")
    drain(pgmux, 1)
    assert client.query("EXECUTE long").value == long.encode()


@pytest.mark.timeout(180)
def test_a_busy_crowd_notices_nothing_of_one_worker_after_another_being_replaced(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=3, default_pool_size=4, log_level="info", deferred_begin=True)

    def member(number: int) -> Iterator[None]:
        with connect(pgmux, application_name=f"member {number}") as client:
            client.query(f"PREPARE mine AS SELECT {number}, $1::int")
            for turn in count():
                assert client.query(f"EXECUTE mine({turn})").rows == [[b"%d" % number, b"%d" % turn]]
                told = client.query(f"BEGIN; SELECT '{number}/{turn}'; COMMIT")
                assert told.value == f"{number}/{turn}".encode()
                told = client.ask(frontend.extended("SELECT $1::text", [b"%d:%d" % (number, turn)]))
                assert told.value == b"%d:%d" % (number, turn)
                yield

    before = set(pgmux.worker_pids())
    with Census(postgres) as census, Crowd(60, member) as crowd:
        crowd.wait_for_rounds(3)
        pgmux.signal(DRAIN)
        pgmux.wait_for_log("all workers have been replaced", 60)
        crowd.wait_for_rounds(3)
    assert census.most == 4
    assert not before & set(pgmux.worker_pids())
    serves_with_all_its_backends(pgmux, 4)


@pytest.mark.parametrize("victim", ["giver", "heir"])
def test_who_is_killed_while_clients_move_takes_only_its_own_along(
    make_pgmux: MakePgmux, victim: str
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    clients = [connect(pgmux) for _ in range(40)]
    numbers = [f"{number}".encode() for number in range(40)]
    giver, heir = inside.pid_of(1), inside.pid_of(0)
    os.kill(heir, signal.SIGSTOP)
    start_draining(pgmux, 1)
    wait_until(lambda: all(inside.worker_of(each) == 0 for each in clients), what="all to be on their way")
    os.kill({"giver": giver, "heir": heir}[victim], signal.SIGKILL)
    if victim == "giver":
        os.kill(heir, signal.SIGCONT)
    wait_until(lambda: len(pgmux.worker_pids()) == 2, what="a successor")
    served = sum(answers(client, number) for client, number in zip(clients, numbers, strict=True))
    assert served <= 40
    wait_until(lambda: inside.clients() == served, what="the records of those who are lost to be free")
    for client in clients:
        client.close()
    wait_until(lambda: inside.pid_of(1) not in (0, giver), what="the drained worker's successor")
    wait_until(lambda: serves_all(inside), what="every worker to take its own clients again")


def serves_all(inside: Inside) -> bool:
    """Whether a client comes to each worker: nobody stands in for another any more."""
    try:
        for wire in inside.a_client_on_each_worker(user="app", database="app").values():
            wire.close()
    except AssertionError:
        return False
    return True


def answers(client: Wire, number: bytes) -> bool:
    """Whether a client still has a session; if so, its answer must be its own."""
    try:
        assert client.query(f"SELECT '{number.decode()}'").value == number
    except (WireClosedError, ConnectionResetError, BrokenPipeError):
        return False
    return True


def test_the_operator_drains_a_worker(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=3)
    inside = Inside(pgmux)
    clients = [connect(pgmux) for _ in range(9)]
    for worker in range(3):
        before = inside.pid_of(worker)
        pgmux.ctl("drain", str(worker))
        wait_for_successor(pgmux, worker, before)
    for number, client in enumerate(clients):
        assert client.query(f"SELECT {number}").value == b"%d" % number
        client.close()
    with pytest.raises(AssertionError, match="no such worker: 3"):
        pgmux.ctl("drain", "3")


def test_a_drained_worker_is_not_counted_as_one_that_died(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    drain(pgmux, 0)
    victim = pgmux.kill_worker(Inside(pgmux).pid_of(1))
    wait_for_successor(pgmux, 1, victim)
    workers = json.loads(pgmux.ctl("show", "workers", "--json"))
    assert [(worker["restarts"], worker["drains"]) for worker in workers] == [(0, 1), (1, 0)]


def test_newcomers_go_to_who_has_fewest_clients(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=4)
    inside = Inside(pgmux)
    inside.wait_until_all_serve()
    with ExitStack() as crowd:
        clients = [crowd.enter_context(connect(pgmux)) for _ in range(200)]
        spread = [0] * 4
        for client in clients:
            spread[inside.worker_of(client)] += 1
        assert max(spread) - min(spread) <= max(5, 200 // 4 // 10), spread
        for client in clients:
            assert client.query("SELECT 1").value == b"1"
    assert psutil.Process(pgmux.supervisor_pid).is_running()
