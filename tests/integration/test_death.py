"""Deaths: of workers by the score, of the supervisor, and the orderly end."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest

from pgmux.demo.embedded import OBSERVER
from pgmux.shm.leases import Phase
from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import Crowd, approach, connect
from tests.integration.inside import Inside
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, WireClosedError, frontend

LONG = "SELECT pg_sleep(60)"
LOST = (WireClosedError, ConnectionResetError, BrokenPipeError)  # how a client learns that its worker died


# A worker's death


def test_the_death_of_a_worker_is_felt_by_its_own_clients_alone(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=4, log_level="info")
    inside = Inside(pgmux)
    worker_of: dict[int, int] = {}

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as client:
            worker_of[number] = inside.worker_of(client)
            yield from asks(number, client)

    with long_queries(postgres) as runs_long, Census(postgres) as census:
        with Crowd(40, member, may_fail=LOST) as crowd, connect(pgmux) as long:
            crowd.wait_for_rounds(5)
            victim = inside.worker_of(long)
            long.send(frontend.query(LONG))
            wait_until(runs_long, what="the long query to run")
            pgmux.kill_worker(inside.pid_of(victim))
            crowd.wait_for_rounds(30)
            wait_until(lambda: not runs_long(), what="the long query's cancellation")
            wait_until(lambda: len(pgmux.worker_pids()) == 4, what="a successor")
            crowd.wait_for_rounds(30)
        assert crowd.lost, "nobody was served by the worker that was killed"
        assert {worker_of[number] for number in crowd.lost} == {victim}
        assert crowd.lost.keys() == {number for number in worker_of if worker_of[number] == victim}
        serves_with_all_its_backends(pgmux, 4)
    assert census.most == 4
    assert_every_worker_serves(pgmux)


def test_a_client_in_a_transaction_keeps_it_when_another_worker_dies(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    doomed, client = inside.a_client_on_each_worker().values()
    for each in (doomed, client):
        each.query("BEGIN")
    mine = client.query("SELECT pg_backend_pid()").value
    other = int(doomed.query("SELECT pg_backend_pid()").value or 0)
    pgmux.kill_worker(inside.pid_of(0))
    wait_until(lambda: other not in postgres.backend_pids(), what="the end of the dead worker's backend")
    assert client.query("SELECT pg_backend_pid()").value == mine
    assert client.query("COMMIT").status == "I"
    with pytest.raises(WireClosedError):
        doomed.read_message()


def test_the_idle_backends_that_a_dead_worker_used_last_go_on(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    inside = Inside(pgmux)
    doomed, client = inside.a_client_on_each_worker().values()
    backend = doomed.query("SELECT pg_backend_pid()").value
    wait_until(lambda: inside.phases() == [Phase.FREE], what="its backend to be idle")
    pid = pgmux.kill_worker(inside.pid_of(0))
    wait_until(lambda: inside.pid_of(0) not in (0, pid), what="a successor")
    assert client.query("SELECT pg_backend_pid()").value == backend
    with connect_to_worker(pgmux, Lobbies(pgmux), 0) as newcomer:
        assert newcomer.query("SELECT pg_backend_pid()").value == backend


def test_who_waits_behind_a_dead_workers_clients_is_served(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    doomed, client = lobbies.a_client_on_each_worker().values()
    with connect_to_worker(pgmux, lobbies, 1) as holder:
        holder.query("BEGIN")
        for waiting, each in enumerate((doomed, client), start=1):
            each.send(frontend.query("SELECT 1"))
            lobbies.wait_for_parked(waiting)
        pgmux.kill_worker(lobbies.pid_of(0))
        lobbies.wait_for_parked(1)
        holder.query("COMMIT")
        assert client.read_until(b"Z").value == b"1"


def test_who_waits_for_the_backend_of_a_dead_worker_gets_another(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    doomed, client = lobbies.a_client_on_each_worker().values()
    doomed.query("BEGIN")
    gone = doomed.query("SELECT pg_backend_pid()").value
    client.send(frontend.query("SELECT pg_backend_pid()"))
    lobbies.wait_for_parked(1)
    pgmux.kill_worker(lobbies.pid_of(0))
    assert client.read_until(b"Z").value != gone


def test_a_worker_may_die_while_it_logs_in_to_postgresql(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    lobbies = Lobbies(pgmux)
    client, doomed = lobbies.a_client_on_each_worker().values()
    client.query("BEGIN")
    client.query("SELECT 1")
    os.kill(postgres.pid, signal.SIGSTOP)  # backends go on, connections are not answered
    try:
        doomed.send(frontend.query("SELECT 1"))
        wait_until(lambda: Phase.OPENING in lobbies.phases(), what="a backend that is being opened")
        pgmux.kill_worker(lobbies.pid_of(1))
        wait_until(lambda: len(pgmux.worker_pids()) == 2, what="a successor")
        wait_until(lambda: Phase.CLOSING not in lobbies.phases(), what="the slot's burial")
    finally:
        os.kill(postgres.pid, signal.SIGCONT)
    client.query("COMMIT")
    serves_with_all_its_backends(pgmux, 2)


@pytest.mark.timeout(180)
def test_twenty_deaths_at_any_instant_lose_no_backend_and_exceed_no_limit(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pgmux = make_pgmux(workers=4, default_pool_size=4, log_level="info")

    def member(number: int) -> Iterator[None]:
        """Comes again whenever its worker has died. It is never refused, and never given another's answer."""
        while True:
            with approach(pgmux) as client:
                try:
                    client.startup()
                    yield from asks(number, client, rounds=50)
                except LOST:
                    yield

    with Census(postgres) as census:
        with Crowd(30, member) as crowd:
            crowd.wait_for_rounds(5)
            for _ in range(20):
                crowd.last(chance.uniform(0, 0.25))
                victim = pgmux.kill_worker(chance.choice(wait_until(pgmux.worker_pids, what="a worker")))
                wait_until(lambda victim=victim: victim not in pgmux.worker_pids(), what="its end")  # type: ignore[misc]
            wait_until(lambda: len(pgmux.worker_pids()) == 4, 20, "four workers")
            crowd.wait_for_rounds(60)
        assert len(pgmux.log_file.lines("died \\(SIGKILL\\)")) == 20
        serves_with_all_its_backends(pgmux, 4)
        inside = Inside(pgmux)
        wait_until(lambda: set(inside.phases()) == {Phase.FREE}, what="every backend to be free")
        wait_until(lambda: inside.clients() == 0, what="the end of all clients")
    assert census.most == 4


def test_who_comes_to_the_accept_queue_of_a_worker_that_does_not_accept_is_served_by_another(
    make_pgmux: MakePgmux,
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    for client in inside.a_client_on_each_worker().values():
        client.close()
    pid = pgmux.kill_worker(inside.pid_of(0), signal.SIGSTOP)
    try:
        for _ in range(8):  # half of them in the queue of the one that is stopped
            with connect(pgmux) as newcomer:
                assert inside.worker_of(newcomer) == 1
                assert newcomer.query("SELECT 1").value == b"1"
    finally:
        os.kill(pid, signal.SIGCONT)
    inside.a_client_on_each_worker()


@pytest.mark.slow
def test_a_worker_that_does_not_move_is_replaced(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    stuck, client = inside.a_client_on_each_worker().values()
    stuck.query("BEGIN")
    pid = pgmux.kill_worker(inside.pid_of(0), signal.SIGSTOP)
    pgmux.wait_for_log(f"worker 0 \\(pid {pid}\\) has not moved for 10s", 25)
    wait_until(lambda: inside.pid_of(0) not in (0, pid), what="its successor")
    with pytest.raises(WireClosedError):
        stuck.read_message()
    assert client.query("SELECT 1").value == b"1"
    serves_with_all_its_backends(pgmux, 2)
    assert_every_worker_serves(pgmux)


# The supervisor's death


def test_when_the_supervisor_is_killed_its_workers_finish_and_another_pgmux_can_start(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    idle, client = Inside(pgmux).a_client_on_each_worker().values()
    client.query("BEGIN")
    processes = [psutil.Process(pid) for pid in pgmux.all_pids()]
    os.kill(pgmux.supervisor_pid, signal.SIGKILL)
    assert pgmux.wait_until_stopped() == -signal.SIGKILL
    assert idle.read_to_the_end().sqlstate == "57P01"
    idle.close()
    assert client.query("SELECT 1").value == b"1"
    assert client.query("COMMIT").status == "I"
    assert client.read_to_the_end().sqlstate == "57P01"
    client.close()
    wait_until(lambda: not any(map(is_alive, processes)), what="the end of the workers")
    wait_until(lambda: not postgres.backends(application="pgmux"), what="the end of their backends")
    pgmux.start()
    with connect(pgmux) as another:
        assert another.query("SELECT 1").value == b"1"


def test_a_supervisor_makes_no_hub_and_no_thread(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    supervisor, (worker,) = pgmux.supervisor_pid, pgmux.worker_pids()
    assert (epolls(supervisor), epolls(worker)) == (1, 2)  # its selector; the hub's and the relay's
    assert psutil.Process(supervisor).num_threads() == psutil.Process(worker).num_threads() == 1


# The orderly end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_transactions_finish(make_pgmux: MakePgmux, number: signal.Signals) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    idle, client = lobbies.a_client_on_each_worker().values()
    waiting = pgmux.wire()
    waiting.startup()
    client.query("BEGIN")
    waiting.send(frontend.query("SELECT 2"))
    lobbies.wait_for_parked(1)
    pgmux.signal(number)
    assert is_told_of_the_stop(idle)
    assert client.query("SELECT 1").value == b"1"
    assert client.query("COMMIT").status == "I"
    assert is_told_of_the_stop(client)
    assert waiting.read_until(b"Z").value == b"2"
    assert is_told_of_the_stop(waiting)
    assert pgmux.wait_until_stopped() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_stop_breaks_transactions_off(make_pgmux: MakePgmux, number: signal.Signals) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    idle, client = Inside(pgmux).a_client_on_each_worker().values()
    client.query("BEGIN")
    pgmux.signal(number)
    assert is_told_of_the_stop(idle)
    pgmux.signal(number)
    assert is_told_of_the_stop(client)
    assert pgmux.wait_until_stopped() == 0


def test_a_drain_has_a_deadline(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2, drain_timeout="300ms")
    idle, client = Inside(pgmux).a_client_on_each_worker().values()
    client.query("BEGIN")
    client.send(frontend.query(LONG))
    pgmux.signal(signal.SIGTERM)
    assert is_told_of_the_stop(idle)
    assert is_told_of_the_stop(client)
    assert pgmux.wait_until_stopped() == 0
    assert pgmux.log_contains("not finished within drain_timeout \\(0.3s\\): broken off")
    wait_until(lambda: not postgres.backends(application="pgmux"), what="the end of their backends")


def test_a_worker_that_does_not_heed_the_deadline_is_killed(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, drain_timeout="100ms")
    pgmux.kill_worker(number=signal.SIGSTOP)
    pgmux.signal(signal.SIGTERM)
    assert pgmux.wait_until_stopped() == 0


def test_a_quit_is_at_once(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client, connect(pgmux) as asking:
        client.query("BEGIN")
        asking.send(frontend.query("SELECT 1 FROM pg_sleep(1)"))
        pgmux.signal(signal.SIGQUIT)
        assert pgmux.wait_until_stopped() == 0
        for each in (client, asking):
            with pytest.raises(WireClosedError):
                each.read_message()
    wait_until(lambda: not postgres.backends(application="pgmux"), what="the end of its backends")


def test_a_stop_leaves_nothing_behind(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client:
        client.query("SELECT 1")
    assert pgmux.stop(signal.SIGTERM) == 0
    left = {str(path.relative_to(pgmux.folder)) for path in pgmux.folder.rglob("*")}
    assert left == {"pgmux.toml", "pgmux.log", "run"}
    wait_until(lambda: not postgres.backends(application="pgmux"), what="the end of its backends")
    pgmux.start()


# Two of them


def in_the_same_runtime_dir(make_pgmux: MakePgmux, first: Pgmux) -> Pgmux:
    return make_pgmux(is_started=False, runtime_dir=f"{first.folder}/run")


def on_the_same_port(make_pgmux: MakePgmux, first: Pgmux) -> Pgmux:
    return make_pgmux(is_started=False, listen=[f"{first.host}:{first.port}"])


def on_the_same_unix_socket(make_pgmux: MakePgmux, first: Pgmux) -> Pgmux:
    elsewhere = f"127.0.0.2:{first.port}"  # the socket's name has the port in it
    return make_pgmux(is_started=False, unix_socket_dir=str(first.folder), listen=[elsewhere])


@pytest.mark.parametrize(
    ("second_one", "message"),
    [
        (in_the_same_runtime_dir, "another pgmux (pid {pid}) uses runtime_dir"),
        (on_the_same_port, "{host}:{port} is in use"),
        (on_the_same_unix_socket, ".s.PGSQL.{port} is in use"),
    ],
)
def test_a_second_pgmux_in_the_same_place_is_refused_and_does_no_harm(
    make_pgmux: MakePgmux, second_one: Callable[[MakePgmux, Pgmux], Pgmux], message: str
) -> None:
    first = make_pgmux(workers=2)
    with connect(first) as client:
        before = files(first.folder)
        second = second_one(make_pgmux, first)
        second.launch()
        assert second.wait_until_stopped() == 1
        said = second.log_file.text()
        assert message.format(pid=first.supervisor_pid, host=first.host, port=first.port) in said
        assert "Traceback" not in said
        assert files(first.folder) == before
        assert client.query("SELECT 1").value == b"1"
        first.kill_worker()  # what a successor needs is still there
        wait_until(lambda: len(first.worker_pids()) == 2, what="its successor")
    assert_every_worker_serves(first)


def asks(member: int, client: Wire, rounds: int | None = None) -> Iterator[None]:
    """A client's life of transactions and single queries, whose answers are only its own."""
    for query in range(rounds) if rounds else count():
        mine = f"{member}-{query}"
        if query % 3:
            assert client.query(f"SELECT '{mine}', pg_sleep(0.001)").rows == [[mine.encode(), b""]]
        else:
            assert client.query("BEGIN").status == "T"
            assert client.query(f"SELECT '{mine}'").value == mine.encode()
            assert client.query("COMMIT").status == "I"
        yield


def serves_with_all_its_backends(pgmux: Pgmux, pool_size: int) -> None:
    """Has a pool's every backend used at the same time."""
    clients = [connect(pgmux) for _ in range(pool_size)]
    for client in clients:
        client.send(frontend.query("BEGIN; SELECT pg_backend_pid()"))
    assert len({client.read_until(b"Z").value for client in clients}) == pool_size
    for client in clients:
        assert client.query("COMMIT").status == "I"
        client.close()


def assert_every_worker_serves(pgmux: Pgmux) -> None:
    """Has a client on every worker ask something, and waits until each has counted a transaction."""
    inside = Inside(pgmux)
    for client in inside.a_client_on_each_worker().values():
        assert client.query("SELECT 1").value == b"1"
        client.close()
    wait_until(lambda: min(inside.counts("transactions")) > 0, what="a transaction of every worker")


def connect_to_worker(pgmux: Pgmux, inside: Inside, worker: int) -> Wire:
    """A client that a certain worker serves."""
    while True:
        client = connect(pgmux)
        if inside.worker_of(client) == worker:
            return client
        client.terminate()


@contextmanager
def long_queries(postgres: Postgres) -> Iterator[Callable[[], bool]]:
    """Tells whether a long query runs, asking over one connection that no census counts."""
    with postgres.connect("postgres", "postgres", application_name=OBSERVER) as connection:
        question = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = '{LONG}'"
        yield lambda: connection.execute(question.encode()).fetchone() is not None


def is_told_of_the_stop(client: Wire) -> bool:
    """Whether the next that the client hears is that pgmux stops, and then the end. It leaves."""
    with client:
        return client.read_to_the_end().sqlstate == "57P01"


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def epolls(pid: int) -> int:
    """How many epoll descriptors a process has."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.readlink(each) == "anon_inode:[eventpoll]" for each in descriptors)


def files(folder: Path) -> set[Path]:
    """All that is in a folder."""
    return set(folder.rglob("*"))
