"""PostgreSQL down, restarted, refusing, or a backend of it dead: what clients hear, and what they do not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest

from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.crowd import connect
from tests.integration.inside import Inside
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.pgmux import Tables
from tests.wire import LoginRefusedError, Replies, Wire, frontend

PID = "SELECT pg_backend_pid()"
MODES = pytest.mark.parametrize("mode", ["fast", "immediate"])
Mode = Literal["fast", "immediate"]
Way = Callable[[Postgres], Tables]


def by_unix_socket(postgres: Postgres) -> Tables:
    return {"*": {"host": str(postgres.socket_dir), "port": postgres.port}}


def by_address(postgres: Postgres) -> Tables:
    return {"*": {"host": "127.0.0.1", "port": postgres.port}}


def by_name(postgres: Postgres) -> Tables:
    return {"*": {"host": "localhost", "port": postgres.port}}


# No PostgreSQL


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (by_unix_socket, "No such file or directory"),
        (by_address, "Connection refused"),
        (by_name, "Connection refused"),
    ],
)
def test_while_postgresql_is_down_clients_hear_why_and_get_in_when_it_is_up(
    make_pgmux: MakePgmux, postgres: Postgres, way: Way, reason: str
) -> None:
    postgres.stop()
    pgmux = make_pgmux(workers=2, databases=way(postgres), server_login_retry="100ms")
    for _ in range(4):
        fields = refusal(pgmux)
        assert (fields["S"], fields["C"]) == ("FATAL", "57P03")
        assert str(postgres.port) in fields["M"]
        assert fields["D"] == f"08001: {reason}"
        assert fields["H"]
    postgres.start()
    wait_until(lambda: can_log_in(pgmux), what="a log-in")
    with connect(pgmux) as client:
        assert client.query("SELECT 1").value == b"1"


@pytest.mark.parametrize("fail_fast", [True, False], ids=["failing fast", "waiting"])
def test_of_a_database_that_is_not_there_clients_hear_at_once_and_get_in_when_it_is(
    make_pgmux: MakePgmux, postgres: Postgres, fail_fast: bool
) -> None:
    databases = {"other": {**by_unix_socket(postgres)["*"], "dbname": "missing"}, **by_unix_socket(postgres)}
    pgmux = make_pgmux(workers=2, databases=databases, fail_fast=fail_fast, server_login_retry="100ms")
    for name in ("missing", "other"):
        fields = refusal(pgmux, database=name)
        assert (fields["S"], fields["C"]) == ("FATAL", "3D000")
        assert fields["M"] == 'database "missing" does not exist'
        assert "PostgreSQL" in fields["H"]
        assert "accepts the log-in" not in fields["H"]
    postgres.sql("CREATE DATABASE missing")
    try:
        for name in ("missing", "other"):
            wait_until(partial(can_log_in, pgmux, name), what="pgmux to see that it is there")
    finally:
        pgmux.stop(signal.SIGTERM)
        postgres.sql("DROP DATABASE missing WITH (FORCE)")


@MODES
def test_clients_who_are_in_when_postgresql_goes_down_stay_and_hear_why(
    make_pgmux: MakePgmux, postgres: Postgres, mode: Mode
) -> None:
    pgmux = make_pgmux(workers=2, server_login_retry="100ms")
    clients = Inside(pgmux).a_client_on_each_worker().values()
    for client in clients:
        assert client.query("SELECT 1").value == b"1"
    postgres.stop(mode)
    for client in clients:
        replies = client.query("SELECT 1")
        assert replies.types == b"EZ"
        assert (replies.error["S"], replies.sqlstate, replies.status) == ("ERROR", "57P03", "I")
        assert replies.error["D"]  # whatever the last attempt met: no socket, a server shutting down, an end
        replies = client.ask(frontend.extended("SELECT 1"))
        assert (replies.types, replies.sqlstate) == (b"EZ", "57P03")
    postgres.start()
    for client in clients:
        wait_until(lambda client=client: not client.query("SELECT 1").errors, what="an answer")  # type: ignore[misc]


def test_clients_who_wait_in_all_workers_hear_that_postgresql_went_down(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder = pgmux.wire()
    holder.startup()
    holder.query("BEGIN")
    clients = lobbies.a_client_on_each_worker().values()
    for client in clients:
        client.send(frontend.query("SELECT 1"))
    lobbies.wait_for_parked(2)
    postgres.stop("immediate")
    assert holder.read_to_the_end().sqlstate in ("57P01", "08006")
    for client in clients:
        replies = client.read_until(b"Z")
        assert (replies.types, replies.sqlstate) == (b"EZ", "57P03")


@MODES
def test_idle_clients_do_not_notice_a_restart_of_postgresql(
    make_pgmux: MakePgmux, postgres: Postgres, mode: Mode
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3)
    clients = [*Inside(pgmux).a_client_on_each_worker().values(), connect(pgmux), connect(pgmux)]
    for _ in range(3):
        before = set(all_at_once(clients))
        postgres.restart(mode)
        for client in clients:
            assert not client.query("SELECT 1").errors
        assert not before & set(all_at_once(clients))
    for client in clients:
        client.close()


@MODES
def test_a_client_in_a_transaction_hears_what_postgresql_said(
    make_pgmux: MakePgmux, postgres: Postgres, mode: Mode
) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client, connect(pgmux) as asking:
        client.query("BEGIN")
        asking.send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(
            lambda: postgres.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
            what="a query to run",
        )
        postgres.restart(mode)
        # An immediate stop is announced by a warning, and is then for pgmux a connection that was lost.
        expected = "57P01" if mode == "fast" else "08006"
        assert client.read_to_the_end().sqlstate == expected
        assert asking.read_to_the_end().sqlstate == expected
    assert can_log_in(pgmux)


# A backend dies


@pytest.mark.parametrize("busy", [False, True])
def test_a_client_whose_backend_is_terminated_hears_what_postgresql_said(
    make_pgmux: MakePgmux, postgres: Postgres, busy: bool
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as client, connect(pgmux) as other:
        client.query("BEGIN")
        pid = int(client.query(PID).value or 0)
        if busy:
            client.send(frontend.query("SELECT pg_sleep(60)"))
        other.send(frontend.query(PID))
        postgres.kill_backend(pid)
        error = client.read_to_the_end().error
        assert (error["S"], error["C"]) == ("FATAL", "57P01")
        assert error["M"] == "terminating connection due to administrator command"
        assert int(other.read_until(b"Z").value or 0) != pid


def test_a_client_whose_backend_is_killed_hears_that_the_connection_was_lost(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    """PostgreSQL then ends all other backends too, and recovers: meanwhile it says so to who asks."""
    postgres = make_postgres()
    pgmux = make_pgmux(postgres=postgres, workers=2, server_login_retry="100ms")
    with connect(pgmux) as client, connect(pgmux) as idle:
        idle.query("SELECT 1")
        client.query("BEGIN")
        os.kill(int(client.query(PID).value or 0), signal.SIGKILL)
        replies = client.read_to_the_end()
        assert (replies.error["S"], replies.sqlstate) == ("FATAL", "08006")
        assert "is not known" in replies.error["H"]
        postgres.wait_for_log("all server processes terminated")  # who asks before may share its fate

        def is_answered() -> bool:
            replies: Replies = idle.query("SELECT 1")
            assert [error["C"] for error in replies.errors] in ([], ["57P03"])
            return not replies.errors

        wait_until(is_answered, 20, "the end of PostgreSQL's recovery")
    assert can_log_in(pgmux)


def test_nobody_notices_that_idle_backends_are_terminated(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=4)
    clients = list(Inside(pgmux).a_client_on_each_worker().values())
    for _ in range(5):
        before = set(all_at_once(clients))
        assert len(before) == 4
        for pid in before:
            postgres.kill_backend(pid)
        for client in clients:
            assert not client.query("SELECT 1").errors
        assert not before & set(all_at_once(clients))
    for client in clients:
        client.close()


def test_nobody_notices_that_a_backend_is_terminated_which_others_used_last(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=1)
    clients = list(Inside(pgmux).a_client_on_each_worker().values())
    for turn in range(12):
        pids = {int(client.query(PID).value or 0) for client in clients}
        assert len(pids) == 1
        postgres.kill_backend(pids.pop())
        assert not clients[turn % 4].query("SELECT 1").errors
    for client in clients:
        client.close()


# PostgreSQL refuses


@pytest.mark.parametrize("role", ["plain", "hashed", "scram"])
def test_a_wrong_password_of_pgmux_is_told_in_the_words_of_postgresql(
    make_pgmux: MakePgmux, postgres: Postgres, role: str
) -> None:
    table = {**by_address(postgres)["*"], "user": role, "password": "wrong"}
    fields = refusal(make_pgmux(workers=2, databases={"*": table}))
    assert fields["C"] == "57P03"
    assert fields["D"] == f'28P01: password authentication failed for user "{role}"'


def test_a_missing_password_of_pgmux_is_told(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    fields = refusal(make_pgmux(databases={"*": {**by_address(postgres)["*"], "user": "scram"}}))
    assert fields["C"] == "57P03"
    assert "password" in fields["D"]


def test_a_role_or_database_that_postgresql_does_not_know_is_told_in_its_words(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2)
    fields = refusal(pgmux, user="nobody")
    assert (fields["C"], fields["D"]) == ("57P03", '28000: role "nobody" does not exist')
    fields = refusal(pgmux, database="nothing")
    assert (fields["C"], fields["M"]) == ("3D000", 'database "nothing" does not exist')
    assert can_log_in(pgmux)


def test_when_postgresql_has_no_connection_left_who_has_a_backend_shares_it(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres(settings={"max_connections": 5})  # 3 of them are reserved
    pgmux = make_pgmux(postgres=postgres, workers=2, default_pool_size=4, server_login_retry="100ms")
    lobbies = Lobbies(pgmux)
    clients = [connect(pgmux) for _ in range(4)]
    holders, waiting = clients[:2], clients[2:]
    for client in holders:
        client.query("BEGIN")
    for client in waiting:
        client.send(frontend.query("SELECT 1"))
    lobbies.wait_for_parked(2)
    pgmux.wait_for_log("53300: ")
    holders[0].query("COMMIT")
    for client in waiting:
        assert client.read_until(b"Z").value == b"1"
    for client in clients:
        client.close()


def refusal(pgmux: Pgmux, user: str = "app", database: str = "app") -> dict[str, str]:
    """What a client is told that is not let in."""
    with pgmux.wire() as client, pytest.raises(LoginRefusedError) as refused:
        client.startup(user=user, database=database)
    return refused.value.fields


def can_log_in(pgmux: Pgmux, database: str = "app") -> bool:
    """Whether a client is let in, or else told 57P03 or 3D000."""
    with pgmux.wire() as client:
        try:
            client.startup(database=database)
        except LoginRefusedError as refused:
            if refused.sqlstate not in ("57P03", "3D000"):
                raise
            return False
    return True


def all_at_once(clients: list[Wire]) -> list[int]:
    """Transactions of all clients, under way together; which backends there are, by as many as fit in."""
    for client in clients:
        client.send(frontend.query(f"SELECT pg_sleep(0.05); {PID}"))
    return [int(client.read_until(b"Z").rows[-1][0] or 0) for client in clients]
