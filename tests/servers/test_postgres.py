"""The PostgreSQL of the tests: its roles, its verbs, and what its fixtures promise."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_postgres import MakePostgres
from tests.servers import PASSWORDS, Postgres, wait_until


def test_rows_are_pythons_values(postgres: Postgres) -> None:
    assert postgres.sql("SELECT 1, NULL, 'a%sb', true") == [(1, None, "a%sb", True)]
    assert postgres.sql("CREATE TEMPORARY TABLE nothing ()") == []


def test_any_version_has_the_roles_and_the_database(any_postgres: Postgres) -> None:
    owners = any_postgres.sql(
        "SELECT rolname FROM pg_database d JOIN pg_roles r ON r.oid = datdba AND datname = 'app'"
    )
    assert owners == [("app",)]
    for user in PASSWORDS:
        assert any_postgres.sql("SELECT current_user", dbname="app", user=user) == [(user,)]


@pytest.mark.parametrize("user", PASSWORDS)
@pytest.mark.parametrize("is_tcp", [False, True], ids=["unix", "tcp"])
def test_a_wrong_password_is_refused(postgres: Postgres, user: str, is_tcp: bool) -> None:
    where = postgres.host if is_tcp else str(postgres.socket_dir)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(user=user), host=where, password="wrong")
    psycopg.connect(postgres.dsn(user=user), host=where).close()


def test_a_killed_backend_is_gone_and_its_client_was_told(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        assert postgres.backends(user="app") == 1
        postgres.kill_backend(pid)
        assert postgres.backends(user="app") == 0
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


def test_a_crashed_server_recovers(make_postgres: MakePostgres) -> None:
    postgres = make_postgres()
    postgres.sql("CREATE TABLE kept (x int)", dbname="app", user="app")
    postgres.crash()
    assert not postgres.is_running()
    postgres.start()
    assert postgres.sql("TABLE kept", dbname="app", user="app") == []
    assert postgres.log_contains("automatic recovery in progress")


def test_settings_and_hba_lines_of_ones_own_come_first(make_postgres: MakePostgres) -> None:
    postgres = make_postgres(settings={"work_mem": "123kB"}, hba=["local all app reject"])
    assert postgres.sql("SHOW work_mem") == [("123kB",)]
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        postgres.connect()


LEFT: list[psycopg.Connection[tuple[object, ...]]] = []


def test_leave_a_session_and_a_stopped_server_behind(postgres: Postgres) -> None:
    LEFT.append(postgres.connect(application_name="left behind"))
    postgres.sql("DO $$ BEGIN RAISE LOG 'said before'; END $$")
    postgres.wait_for_log("said before")
    assert postgres.backends(application="left behind") == 1


def test_find_neither_in_the_next_test(postgres: Postgres) -> None:
    LEFT.pop().close()
    assert postgres.backends(application="left behind") == 0
    assert not postgres.log_contains("said before")


def test_stop_the_server_that_others_use_too(postgres: Postgres) -> None:
    postgres.stop()
    assert not postgres.is_running()


def test_find_it_started_again(postgres: Postgres) -> None:
    assert postgres.sql("SELECT 1") == [(1,)]


def test_a_test_with_a_server_is_marked(postgres: Postgres, request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("pg")


def test_log_lines_are_found(postgres: Postgres) -> None:
    with postgres.connect(application_name="noticed"):
        assert "noticed" in postgres.wait_for_log("connection authorized.*application_name=noticed")
    wait_until(lambda: postgres.log_contains("disconnection"), what="the end in the log")
