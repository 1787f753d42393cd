"""The operator's signals: pause and resume, and a configuration that changes while pgmux runs."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.integration.routes import by_socket
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.pgmux import Tables
from tests.servers.toml import Value
from tests.wire import LoginRefusedError, Wire, frontend

# Pause and resume


def test_paused_clients_wait_until_they_are_resumed(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    clients = lobbies.a_client_on_each_worker().values()
    for client in clients:
        client.query("SELECT 1")
    pause(pgmux)
    for number, client in enumerate(clients):
        client.send(frontend.query(f"SELECT {number}"))
    lobbies.wait_for_parked(2)
    assert all(client.is_silent(for_s=0.3) for client in clients)
    resume(pgmux)
    assert [client.read_until(b"Z").value for client in clients] == [b"0", b"1"]


def test_a_pause_lets_a_transaction_finish_and_holds_the_next(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as client, connect(pgmux) as other:
        client.query("BEGIN")
        other.send(frontend.query("SELECT 2"))
        lobbies.wait_for_parked(1)
        pause(pgmux)
        assert client.query("SELECT 1").value == b"1"
        assert client.query("COMMIT").status == "I"
        client.send(frontend.query("SELECT 3"))
        lobbies.wait_for_parked(2)
        assert other.is_silent(for_s=0.3)
        resume(pgmux)
        assert other.read_until(b"Z").value == b"2"
        assert client.read_until(b"Z").value == b"3"


def test_who_comes_while_paused_is_served_after_it(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    pause(pgmux)
    with pgmux.wire() as client:
        client.send_startup(user="app", database="app")
        assert client.is_silent(for_s=0.3)
        resume(pgmux)
        client.read_until(b"Z")
        assert client.query("SELECT 1").value == b"1"


def test_who_waits_in_a_pause_can_cancel_or_leave(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as cancelling, connect(pgmux) as leaving:
        pause(pgmux)
        cancelling.send(frontend.query("SELECT 1"))
        leaving.send(frontend.query("SELECT 1"))
        lobbies.wait_for_parked(2)
        cancelling.cancel()
        assert cancelling.read_until(b"Z").sqlstate == "57014"
        leaving.close()
        lobbies.wait_for_parked(0)
        resume(pgmux)
        assert cancelling.query("SELECT 1").value == b"1"


# Reload


def test_a_larger_pool_size_serves_those_who_wait(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holders = [start_waiting(pgmux, lobbies, waiting) for waiting in range(3)]
    reload(pgmux, default_pool_size=3)
    assert [holder.read_until(b"Z").status for holder in holders] == ["T"] * 3
    one_more = start_waiting(pgmux, lobbies, 1)
    assert one_more.is_silent(for_s=0.3)
    lobbies.wait_for_parked(1)


def test_a_shorter_wait_holds_for_those_who_wait_already(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder, waiting = start_waiting(pgmux, lobbies, 0), start_waiting(pgmux, lobbies, 1)
    reload(pgmux, query_wait_timeout="500ms")
    error = waiting.read_until(b"Z").error
    assert error["C"] == "53300"
    assert "query_wait_timeout (0.5s)" in error["M"]
    assert holder.read_until(b"Z").status == "T"


def test_a_changed_address_holds_for_backends_opened_from_then_on(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    nowhere: Tables = {"*": {"host": "127.0.0.1", "port": 1}}
    pgmux = make_pgmux(workers=1, databases=nowhere, server_login_retry="1ms")
    with pgmux.wire() as client, pytest.raises(LoginRefusedError, match="57P03"):
        client.startup()
    text = pgmux.config_path.read_text()
    pgmux.config_path.write_text(text.replace("port = 1\n", f"port = {postgres.port}\n"))
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("supervisor: reloaded$")
    wait_until(lambda: is_served(pgmux), what="a log-in")


def test_backends_of_a_changed_database_are_replaced_when_they_are_free(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, databases={"app": by_socket(postgres, dbname="app")}, default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        busy.query("BEGIN")
        before = idle.query("SELECT pg_backend_pid()").value
        text = pgmux.config_path.read_text()
        pgmux.config_path.write_text(text.replace('dbname = "app"', 'dbname = "postgres"'))
        pgmux.signal(signal.SIGHUP)
        pgmux.wait_for_log("supervisor: reloaded$")
        wait_until(lambda: idle.query("SELECT current_database()").value == b"postgres", what="the new one")
        assert idle.query("SELECT pg_backend_pid()").value != before
        assert busy.query("SELECT current_database()").value == b"app"
        busy.query("COMMIT")
        wait_until(lambda: busy.query("SELECT current_database()").value == b"postgres", what="the new one")


def test_the_log_takes_its_new_form_at_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    pgmux.write_configuration(log_format="json")
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log('"message":"reloaded"')


def test_a_wrong_file_changes_nothing_and_is_told_with_its_line(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder, waiting = start_waiting(pgmux, lobbies, 0), start_waiting(pgmux, lobbies, 1)
    good = pgmux.config_path.read_text()
    line = 1 + good[: good.index("default_pool_size")].count("\n")
    bad = good.replace("default_pool_size = 1", "default_pool_size = 3\nquery_wait_timeuot = 1")
    told = complaint(pgmux, bad)
    assert (
        f'/pgmux.toml:{line + 1}: query_wait_timeuot: unknown key (did you mean "query_wait_timeout"' in told
    )
    told = complaint(pgmux, good.replace("default_pool_size = 1", "default_pool_size = three"))
    assert f"/pgmux.toml:{line}: " in told
    told = complaint(pgmux, bad.replace("query_wait_timeuot = 1", 'auth_file = "/nowhere"'))
    assert "auth_file: /nowhere cannot be read: No such file" in told
    assert waiting.is_silent(for_s=0.5)
    assert lobbies.parked() == 1
    pgmux.config_path.write_text(good)
    reload(pgmux, default_pool_size=2)
    assert [holder.read_until(b"Z").status, waiting.read_until(b"Z").status] == ["T", "T"]


def test_what_needs_a_restart_is_named_and_the_rest_is_applied(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder, waiting = start_waiting(pgmux, lobbies, 0), start_waiting(pgmux, lobbies, 1)
    told = reload(pgmux, default_pool_size=2, workers=3, max_client_conn=77)
    assert told.endswith("reloaded; these wait for a restart: workers, max_client_conn")
    assert [holder.read_until(b"Z").status, waiting.read_until(b"Z").status] == ["T", "T"]
    assert len(pgmux.worker_pids()) == 2
    pgmux.write_configuration(workers=2)


def test_a_worker_born_after_a_reload_has_the_new_configuration(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    reload(pgmux, query_wait_timeout="500ms")
    dead = pgmux.kill_worker()
    wait_until(lambda: pgmux.worker_pids() not in ([], [dead]), what="a new worker")
    lobbies = Lobbies(pgmux)
    _holder, waiting = start_waiting(pgmux, lobbies, 0), start_waiting(pgmux, lobbies, 1)
    assert waiting.read_until(b"Z").sqlstate == "53300"


def pause(pgmux: Pgmux) -> None:
    """Pauses all pools, and returns when that is so."""
    pgmux.signal(signal.SIGUSR1)
    wait_until(Lobbies(pgmux).is_paused, what="the pause")


def resume(pgmux: Pgmux) -> None:
    """Ends the pause."""
    pgmux.signal(signal.SIGUSR2)


def reload(pgmux: Pgmux, **settings: Value) -> str:
    """Has pgmux read the changed configuration, and gives what the supervisor then says."""
    pgmux.write_configuration(**settings)
    pgmux.log_file.mark()
    pgmux.signal(signal.SIGHUP)
    return pgmux.wait_for_log("supervisor: reloaded")


def complaint(pgmux: Pgmux, text: str) -> str:
    """What pgmux says about a file that it is told to reload."""
    pgmux.config_path.write_text(text)
    pgmux.log_file.mark()
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("not reloaded, nothing has changed")
    return pgmux.log_file.text().strip()


def is_served(pgmux: Pgmux) -> bool:
    """Whether a client is let in."""
    with pgmux.wire() as client, suppress(LoginRefusedError):
        return client.startup().status == "I"
    return False


def start_waiting(pgmux: Pgmux, lobbies: Lobbies, waiting: int) -> Wire:
    """A client that wants a transaction, when so many wait with it."""
    client = pgmux.wire()
    client.startup()
    client.send(frontend.query("BEGIN"))
    lobbies.wait_for_parked(waiting)
    return client
