"""The operator's commands, over all workers as one; asked of whichever worker takes them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, connect
from tests.integration.lobbies import Lobbies
from tests.integration.test_control_socket import Line, column, show, stopped
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.pgmux import Tables
from tests.servers.toml import Table
from tests.wire import LoginRefusedError, Wire, frontend


def two_databases(postgres: Postgres) -> Tables:
    place: Table = {"host": str(postgres.socket_dir), "port": postgres.port}
    return {"app": place, "other": {**place, "dbname": "app"}}


class Doing:
    """A command that takes its time: given now, awaited later."""

    def __init__(self, pgmux: Pgmux, *words: str) -> None:
        self._answer: list[str | AssertionError] = []
        self._thread = threading.Thread(target=self._do, args=(pgmux, words))
        self._thread.start()

    def _do(self, pgmux: Pgmux, words: tuple[str, ...]) -> None:
        try:
            self._answer.append(pgmux.ctl(*words))
        except AssertionError as error:
            self._answer.append(error)

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> str:
        self._thread.join(15)
        (answer,) = self._answer
        if isinstance(answer, AssertionError):
            raise answer
        return answer.strip()


# --- pause, resume


def test_pause_is_done_when_postgresql_has_no_backend_of_ours_left(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    before = len(postgres.backend_pids())
    pgmux = make_pgmux(workers=3, default_pool_size=5)
    lobbies = Lobbies(pgmux)
    clients = list(lobbies.a_client_on_each_worker().values())
    for client in clients:
        client.query("BEGIN")
    pausing = Doing(pgmux, "pause")
    wait_until(lobbies.is_paused, what="the pause")
    for client in clients[:-1]:
        assert client.query("COMMIT").status == "I"
        client.send(frontend.query("SELECT 1"))
    lobbies.wait_for_parked(2)
    assert not pausing.is_done()
    assert clients[-1].query("SELECT 'goes on'").value == b"goes on"
    assert clients[-1].query("COMMIT").status == "I"
    assert pausing.wait() == "PAUSE"
    assert len(postgres.backend_pids()) == before
    postgres.stop()
    postgres.start()  # what pauses are for
    assert pgmux.ctl("resume") == "RESUME\n"
    assert [client.read_until(b"Z").value for client in clients[:-1]] == [b"1", b"1"]


def test_a_paused_database_waits_and_the_other_goes_on(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, databases=two_databases(postgres))
    lobbies = Lobbies(pgmux)
    with connect(pgmux, database="app") as app, connect(pgmux, database="other") as other:
        app.query("SELECT 1")
        other.query("SELECT 1")
        assert pgmux.ctl("pause", "app") == "PAUSE\n"
        app.send(frontend.query("SELECT 'later'"))
        lobbies.wait_for_parked(1)
        for number in range(20):
            assert other.query(f"SELECT {number}").value == b"%d" % number
        rows = {row["name"]: row["paused"] for row in show(pgmux, "databases")}
        assert (rows["app"], rows["other"]) == (1, 0)
        (waiting,) = [row for row in show(pgmux, "waits") if row["database"] == "app"]
        assert (waiting["waiting"], waiting["reason"]) == (1, "paused")
        with connect(pgmux, database="app") as newcomer:  # its pool is known, so it is greeted, and waits
            newcomer.send(frontend.query("SELECT 'newcomer'"))
            lobbies.wait_for_parked(2)
            assert pgmux.ctl("resume", "app") == "RESUME\n"
            assert newcomer.read_until(b"Z").value == b"newcomer"
        assert app.read_until(b"Z").value == b"later"


def test_nothing_is_lost_when_pauses_come_and_go_under_load(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3, databases=two_databases(postgres))

    def member(number: int) -> Iterator[None]:
        with connect(pgmux, database=("app", "other")[number % 2]) as client:
            turn = 0
            while True:
                turn += 1
                assert client.query(f"SELECT '{number} {turn}'").value == f"{number} {turn}".encode()
                yield

    with Crowd(16, member) as crowd, Line(pgmux) as line:
        crowd.wait_for_rounds(5)
        for turn in range(6):
            database = ((), ("app",), ("other",))[turn % 3]
            assert line.ask("pause", *database)[-1] == {"type": "done", "tag": "PAUSE"}
            assert line.ask("resume", *database)[-1] == {"type": "done", "tag": "RESUME"}
            crowd.wait_for_rounds(3)


def test_a_pause_ends_although_a_worker_that_holds_a_backend_is_killed(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as client:
        client.query("BEGIN")
        victim = lobbies.pid_of(lobbies.worker_of(client))
        pausing = Doing(pgmux, "pause")
        wait_until(lobbies.is_paused, what="the pause")
        pgmux.kill_worker(victim)
        with contextlib.suppress(AssertionError):  # where the victim was the one that was asked
            pausing.wait()
        assert pgmux.ctl("pause") == "PAUSE\n"
        assert column(pgmux, "pools", "sv_active")[0] == 0


# --- kill


def test_kill_sends_all_clients_off_everywhere_and_leaves_a_pause(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    before = len(postgres.backend_pids())
    pgmux = make_pgmux(workers=3, databases=two_databases(postgres))
    lobbies = Lobbies(pgmux)
    victims = list(lobbies.a_client_on_each_worker(database="app").values())
    with connect(pgmux, database="other") as other:
        other.query("SELECT 1")
        victims[0].query("BEGIN")
        victims[1].send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(lambda: len(lobbies.phases()) >= 3, what="backends for them")
        assert pgmux.ctl("kill", "app") == "KILL\n"
        for victim in victims:
            assert victim.read_to_the_end().sqlstate == "57P01"
        assert other.query("SELECT 'untouched'").value == b"untouched"
        with connect(pgmux, database="app") as newcomer:
            newcomer.send(frontend.query("SELECT 'after'"))
            lobbies.wait_for_parked(1)
            wait_until(lambda: len(postgres.backend_pids()) == before + 1, what="the end of backends")
            pgmux.ctl("resume", "app")
            assert newcomer.read_until(b"Z").value == b"after"


def test_kill_of_everything(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, databases=two_databases(postgres))
    with connect(pgmux, database="app") as one, connect(pgmux, database="other") as two:
        one.query("SELECT 1")
        two.query("BEGIN")
        assert pgmux.ctl("kill") == "KILL\n"
        assert [client.read_to_the_end().sqlstate for client in (one, two)] == ["57P01", "57P01"]
        assert show(pgmux, "state")[1]["value"] == "yes"
        assert pgmux.ctl("resume") == "RESUME\n"
    with connect(pgmux, database="app") as client:
        assert client.query("SELECT 1").value == b"1"


def test_a_worker_that_was_stopped_at_a_kill_drops_who_was_there_and_nobody_else(
    make_pgmux: MakePgmux,
) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    clients = lobbies.a_client_on_each_worker()
    with stopped(lobbies.pid_of(0)), Line(pgmux) as line:
        answer = line.ask("kill")
        assert answer[-1]["tag"] == "KILL"
        assert any("did not answer" in each.get("message", "") for each in answer)
        assert line.ask("resume")[-1]["tag"] == "RESUME"
        assert clients[1].read_to_the_end().sqlstate == "57P01"
        later = [Wire("127.0.0.1", pgmux.port) for _ in range(8)]  # some of them reach the stopped one
        for client in later:
            client.send_startup(user="app", database="app")
    assert clients[0].read_to_the_end().sqlstate == "57P01"
    for client in later:
        client.read_until(b"Z")
        assert client.query("SELECT 1").value == b"1"


def test_kill_client_ends_one_in_whichever_worker_and_rolls_back(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=3)
    lobbies = Lobbies(pgmux)
    clients = lobbies.a_client_on_each_worker()
    clients[0].query("CREATE TABLE IF NOT EXISTS killed (n int); DELETE FROM killed")
    for worker, client in clients.items():
        client.query("BEGIN")
        client.query(f"INSERT INTO killed VALUES ({worker})")
        (number,) = [row["id"] for row in show(pgmux, "clients") if row["worker"] == worker]
        assert pgmux.ctl("kill-client", str(number)) == "KILL_CLIENT\n"
        assert client.read_to_the_end().sqlstate == "57P01"
    with connect(pgmux) as client:
        assert client.query("SELECT count(*) FROM killed").value == b"0"
        client.query("DROP TABLE killed")


def test_kill_client_of_one_who_has_gone_hits_nobody(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with connect(pgmux) as gone:
        number = column(pgmux, "clients", "id")[0]
        gone.terminate()
    wait_until(lambda: not column(pgmux, "clients", "id"), what="his end")
    with connect(pgmux) as heir, Line(pgmux) as line:
        assert column(pgmux, "clients", "id") != [number]
        (error,) = line.ask("kill-client", str(number))
        assert error["message"] == f"no such client: {number}"
        assert heir.query("SELECT 1").value == b"1"


# --- disable, enable


def test_a_disabled_database_lets_nobody_new_in_and_keeps_who_is_in(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, databases=two_databases(postgres))
    with connect(pgmux, database="app") as inside:
        inside.query("SELECT 1")
        assert pgmux.ctl("disable", "app") == "DISABLE\n"
        for _ in range(6):
            with pytest.raises(LoginRefusedError, match='55000 database "app" is disabled'):
                connect(pgmux, database="app")
        with connect(pgmux, database="other") as other:
            assert other.query("SELECT 1").value == b"1"
        assert inside.query("SELECT 'still'").value == b"still"
        assert pgmux.ctl("enable", "app") == "ENABLE\n"
        with connect(pgmux, database="app") as client:
            assert client.query("SELECT 1").value == b"1"


# --- reconnect, wait_close


def test_reconnect_replaces_backends_at_the_end_of_their_transactions(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        old = busy.query("BEGIN; SELECT pg_backend_pid()").value
        idle.query("SELECT 1")
        pgmux.ctl("reconnect", "app")
        waiting = Doing(pgmux, "wait-close", "app")
        assert busy.query("SELECT pg_backend_pid()").value == old
        wait_until(
            lambda: (
                [row["remote_pid"] for row in show(pgmux, "servers") if row["close_needed"]]
                == [int(old or 0)]
            ),
            what="the idle backend to be closed",
        )
        assert not waiting.is_done()
        busy.query("COMMIT")
        assert waiting.wait() == "WAIT_CLOSE"
        assert old is not None
        assert int(old) not in postgres.backend_pids()
        assert idle.query("SELECT pg_backend_pid()").value != old


# --- reload, set


def test_reload_is_told_what_it_could_not_do(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3)
    with connect(pgmux) as client, Line(pgmux) as line:
        client.query("SELECT 1")
        pgmux.write_configuration(default_pool_size=4, max_client_conn=77)
        answer = line.ask("reload")
        assert answer == [
            {"type": "notice", "message": "these wait for a restart: max_client_conn", "detail": ""},
            {"type": "done", "tag": "RELOAD"},
        ]
        assert column(pgmux, "pools", "pool_size")[0] == 4
        assert column(pgmux, "workers", "configuration") == [1, 1]
        pgmux.config_path.write_text(pgmux.config_path.read_text().replace("default_pool", "defautl_pool"))
        (error,) = line.ask("reload")
        assert "not reloaded, nothing has changed" in error["message"]
        assert 'did you mean "default_pool_size"' in error["message"]
        assert column(pgmux, "pools", "pool_size")[0] == 4


def test_set_holds_in_all_workers_also_in_those_that_come_later_until_a_reload(
    make_pgmux: MakePgmux,
) -> None:
    pgmux = make_pgmux(workers=2, query_wait_timeout="60s", default_pool_size=1)
    lobbies = Lobbies(pgmux)

    def wait_limits() -> list[str]:
        """As each worker's console tells it."""
        consoles = lobbies.a_client_on_each_worker(user="pgmux_boss", database="pgmux")
        rows = [console.query("SHOW CONFIG").rows for console in consoles.values()]
        for console in consoles.values():
            console.terminate()
        return [
            row[1].decode() for each in rows for row in each if row[0] == b"query_wait_timeout" and row[1]
        ]

    assert pgmux.ctl("set", "admin_users", "pgmux_boss") == "SET\n"
    assert pgmux.ctl("set", "query_wait_timeout", "300ms") == "SET\n"
    assert wait_limits() == ["300ms", "300ms"]
    victim = pgmux.kill_worker(lobbies.pid_of(0))
    wait_until(lambda: lobbies.pid_of(0) not in (0, victim), what="a successor")
    assert wait_limits() == ["300ms", "300ms"]
    with connect(pgmux) as holder, connect(pgmux) as waiting:
        holder.query("BEGIN")
        assert "query_wait_timeout (0.3s)" in waiting.query("SELECT 1").error["M"]
    assert pgmux.ctl("set", "default_pool_size", "2") == "SET\n"
    assert column(pgmux, "pools", "pool_size")[0] == 2
    pgmux.ctl("reload")
    assert column(pgmux, "pools", "pool_size")[0] == 1
    with connect(pgmux) as client:
        client.query("SELECT 1")
        rows = {row["key"]: row["value"] for row in show(pgmux, "config")}
        assert (rows["query_wait_timeout"], rows["admin_users"]) == ("1m", "")


def test_set_tells_what_is_wrong_with_it(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    for words, problem in (
        (("workers", "3"), "workers: needs a restart"),
        (("query_wait_timeuot", "3"), 'did you mean "query_wait_timeout"?'),
        (("log_level", "loud"), 'expected one of "debug"'),
    ):
        with pytest.raises(AssertionError) as failed:
            pgmux.ctl("set", *words)
        assert problem in str(failed.value)


# --- shutdown


def test_shutdown_tells_everybody_at_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        busy.query("BEGIN")
        idle.query("SELECT 1")
        assert pgmux.ctl("shutdown") == "SHUTDOWN\n"
        assert [client.read_to_the_end().sqlstate for client in (busy, idle)] == ["57P01", "57P01"]
        assert pgmux.wait_until_stopped() == 0


def test_shutdown_can_wait_for_transactions(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        busy.query("BEGIN")
        assert pgmux.ctl("shutdown", "wait_for_servers") == "SHUTDOWN\n"
        assert idle.read_to_the_end().sqlstate == "57P01"
        assert busy.query("SELECT 'goes on'").value == b"goes on"
        assert busy.query("COMMIT").status == "I"
        assert busy.read_to_the_end().sqlstate == "57P01"
        assert pgmux.wait_until_stopped() == 0


def test_shutdown_can_wait_for_clients(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    clients = list(lobbies.a_client_on_each_worker().values())
    assert pgmux.ctl("shutdown", "wait-for-clients") == "SHUTDOWN\n"
    pgmux.wait_for_log("no new clients, stopping when the last has left")
    wait_until(lambda: "leaving" in column(pgmux, "workers", "state"), what="workers that take no clients")
    for client in clients:
        assert client.query("SELECT 1").value == b"1"
    clients[0].terminate()
    wait_until(lambda: len(pgmux.worker_pids()) == 1, what="the end of the worker without clients")
    assert clients[1].query("SELECT 1").value == b"1"
    assert len(show(pgmux, "clients")) == 1
    clients[1].terminate()
    assert pgmux.wait_until_stopped() == 0


def test_shutdown_that_waits_for_clients_is_hastened_by_a_signal(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with connect(pgmux) as client:
        client.query("SELECT 1")
        pgmux.ctl("shutdown", "wait_for_clients")
        pgmux.wait_for_log("no new clients")
        pgmux.signal(signal.SIGTERM)
        assert client.read_to_the_end().sqlstate == "57P01"
        assert pgmux.wait_until_stopped() == 0


def test_nobody_is_told_twice_or_by_the_wrong_words(make_pgmux: MakePgmux) -> None:
    """A driver sees a kill as PostgreSQL's own."""
    pgmux = make_pgmux(workers=1)
    with pgmux.connect() as connection:
        connection.execute("SELECT 1")
        found: Any = json.loads(pgmux.ctl("show", "clients", "--json"))
        pgmux.ctl("kill-client", str(found[0]["id"]))
        with pytest.raises(psycopg.errors.AdminShutdown, match="due to administrator command"):
            connection.execute("SELECT 1")


# --- pins, statements


def test_who_keeps_a_backend_is_shown_with_the_reason(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    assert show(pgmux, "pins") == []
    with connect(pgmux) as client:
        client.query("CREATE TEMP TABLE mine (n int)")
        (pin,) = show(pgmux, "pins")
        assert (pin["reason"], pin["database"], pin["addr"]) == ("temporary table", "app", "127.0.0.1")
        (row,) = [row for row in show(pgmux, "clients") if row["id"] == pin["client"]]
        assert row["link"] == f"backend-{pin['slot']}"
        client.query("DROP TABLE mine")
        assert show(pgmux, "pins") == []


def test_what_is_prepared_is_counted_for_clients_and_for_postgresql(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    for _ in range(3):
        with connect(pgmux) as client:
            client.ask(frontend.parse("SELECT 1", "one"), frontend.sync())
    with connect(pgmux) as client:
        client.ask(frontend.parse("SELECT 1", "one"), frontend.parse("SELECT 2", "two"), frontend.sync())
        for _ in range(4):
            client.ask(frontend.bind(statement="two"), frontend.execute(), frontend.sync())
        assert column(pgmux, "clients", "prepared_statements") == [2]
        client.ask(frontend.close_statement("one"), frontend.sync())
        assert column(pgmux, "clients", "prepared_statements") == [1]
    (stats,) = [row for row in show(pgmux, "stats-totals") if row["database"] == "app"]
    assert (stats["client_parse_count"], stats["server_parse_count"], stats["bind_count"]) == (5, 2, 4)
    assert sum(column(pgmux, "servers", "prepared_statements")) == 2


def test_a_client_of_the_unix_socket_is_shown_with_its_process(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with connect(pgmux), pgmux.wire(unix=True) as local:
        local.startup(user="app", database="app")
        assert sorted(column(pgmux, "clients", "remote_pid")) == [0, os.getpid()]
