"""Clients whose secrets PostgreSQL keeps: auth_query, its cache over all workers, and who may not log in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgmux.demo.embedded import Setting
from pgmux.protocol.scram import derive_verifier, format_verifier
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.crowd import Crowd, connect
from tests.integration.routes import by_socket
from tests.servers import PASSWORDS, Pgmux, Postgres, wait_until
from tests.wire import LoginRefusedError, WireClosedError

EVERY_STATEMENT: dict[str, Setting] = {"log_statement": "all", "log_min_duration_statement": -1}


@contextmanager
def role(postgres: Postgres, name: str, definition: str, *, memberships: str = "") -> Iterator[None]:
    """A role for the time of a test."""
    postgres.sql(f'CREATE ROLE "{name}" {definition}')
    if memberships:
        postgres.sql(f'GRANT {memberships} TO "{name}"')
    postgres.sql(f'GRANT app TO "{name}"')
    try:
        yield
    finally:
        postgres.sql(f'DROP ROLE "{name}"')


def refusal(pgmux: Pgmux, **who: Any) -> dict[str, str]:
    with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(**who)
    return refused.value.fields


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
def test_secrets_are_those_that_postgresql_keeps(
    make_pgmux: MakePgmux, any_postgres: Postgres, method: str
) -> None:
    pgmux = make_pgmux(
        postgres=any_postgres,
        auth_type=method,
        auth_user="postgres",
        databases={"app": by_socket(any_postgres, user="app")},
    )
    for user in ("plain", "scram", *(["hashed"] if method != "scram-sha-256" else [])):
        with connect(pgmux, user=user, password=PASSWORDS[user]) as client:
            assert client.query("SELECT current_user").value == b"app"
        assert refusal(pgmux, user=user, password="guessed")["C"] == "28P01"
    assert not pgmux.log_contains("SCRAM-SHA-256\\$|md5[0-9a-f]{32}")


@pytest.mark.parametrize("user", ["scram", "hashed"])
def test_a_client_s_proof_logs_pgmux_in_and_no_password_stands_anywhere(
    make_pgmux: MakePgmux, postgres: Postgres, user: str
) -> None:
    """PostgreSQL asks for SCRAM, or md5, of the client's own role."""
    pgmux = make_pgmux(auth_type="md5", auth_user="postgres", workers=3)
    clients = [connect(pgmux, user=user, password=PASSWORDS[user]) for _ in range(9)]
    for client in clients:
        assert client.query("SELECT current_user").value == user.encode()
    for client in clients:
        client.close()


def test_a_proof_is_enough_where_auth_file_has_a_copy_of_the_verifier(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    [(verifier,)] = postgres.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'")
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords={"scram": verifier})
    with connect(pgmux, user="scram", password=PASSWORDS["scram"]) as client:
        assert client.query("SELECT current_user").value == b"scram"


def test_another_verifier_than_postgresql_s_is_told_to_whoever_runs_pgmux(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    verifier = format_verifier(derive_verifier(PASSWORDS["scram"].encode(), b"another salt", 4096))
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords={"scram": verifier})
    told = refusal(pgmux, user="scram", password=PASSWORDS["scram"])
    assert told["C"] == "57P03"
    assert "another SCRAM verifier" in told["D"]


WHO_MAY_NOT = {
    "no such role": None,
    "no password": "LOGIN",
    "may not log in": "NOLOGIN PASSWORD 'secret'",
    "password too old": "LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01'",
}


@pytest.mark.parametrize("why", WHO_MAY_NOT)
def test_who_may_not_log_in_hears_what_a_wrong_password_hears(
    make_pgmux: MakePgmux, postgres: Postgres, why: str
) -> None:
    """VALID UNTIL: CVE-2025-2291 of another pooler."""
    pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="postgres")
    with perhaps_role(postgres, WHO_MAY_NOT[why]):
        wrong = refusal(pgmux, user="scram", password="guessed")
        told = refusal(pgmux, user="nobody", password="secret")
    assert {letter: text.replace("nobody", "scram") for letter, text in told.items()} == wrong
    assert wrong["C"] == "28P01"
    assert pgmux.wait_for_log(
        'log-in refused: .* user=nobody .* reason="no such user, or one without a secret"'
    )


@contextmanager
def perhaps_role(postgres: Postgres, definition: str | None) -> Iterator[None]:
    if definition is None:
        yield
        return
    with role(postgres, "nobody", definition):
        yield


def test_a_password_that_is_not_too_old_yet_is_good(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="postgres")
    with role(postgres, "fresh", "LOGIN PASSWORD 'secret' VALID UNTIL '2999-01-01'"):
        connect(pgmux, user="fresh", password="secret").close()


def asked(postgres: Postgres) -> int:
    return len(postgres.log_file.lines("pg_authid WHERE rolname"))


def test_a_thousand_log_ins_of_one_user_are_one_question(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres(settings=EVERY_STATEMENT)
    pgmux = make_pgmux(
        postgres=postgres,
        workers=4,
        auth_type="md5",
        auth_user="postgres",
        auth_query_ttl="1m",
        databases={"app": by_socket(postgres, user="app")},
    )

    def log_in(number: int) -> Iterator[None]:
        for _ in range(50):
            connect(pgmux, user="hashed", password=PASSWORDS["hashed"]).close()
            yield

    with Crowd(20, log_in) as crowd:
        wait_until(lambda: sum(crowd.rounds) == 1000, 60, "the log-ins")
    assert asked(postgres) == 1


def test_users_that_log_in_together_are_asked_about_together(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres(settings=EVERY_STATEMENT)
    pgmux = make_pgmux(postgres=postgres, auth_type="scram-sha-256", auth_user="postgres", max_backends=3)
    for _ in range(2):
        for number in range(30):
            assert refusal(pgmux, user=f"stranger {number}", password="x")["C"] == "28P01"
    assert asked(postgres) == 30
    assert len(postgres.backend_pids()) <= 3


def test_a_new_password_is_good_at_the_second_attempt(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="postgres", auth_query_ttl="1h")
    with role(postgres, "mover", "LOGIN PASSWORD 'old'"):
        connect(pgmux, user="mover", password="old").close()
        postgres.sql("ALTER ROLE mover PASSWORD 'new'")

        def gets_in() -> bool:
            try:
                connect(pgmux, user="mover", password="new").close()
            except LoginRefusedError:
                return False
            return True

        wait_until(gets_in, 10, "the new password to be good")
        assert refusal(pgmux, user="mover", password="old")["C"] == "28P01"


def test_a_query_of_one_s_own_is_asked_as_it_is(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256",
        auth_user="app",
        auth_query="SELECT $1, CASE $1 WHEN 'guest' THEN 'welcome' END",
        databases={"app": by_socket(postgres, user="app")},
    )
    connect(pgmux, user="guest", password="welcome").close()
    assert refusal(pgmux, user="host", password="welcome")["C"] == "28P01"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT nonsense, $1::text", "42703"),
        ("SELECT $1::text", "auth_query gave 1 columns"),
        ("SELECT $1::text, 'a' UNION SELECT 'b', 'c'", "auth_query gave 2 rows"),
        ("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1", "42501: permission denied"),
    ],
)
def test_a_query_that_fails_is_told_in_the_log_and_not_to_strangers(
    make_pgmux: MakePgmux, postgres: Postgres, query: str, reason: str
) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="app", auth_query=query)
    told = refusal(pgmux, user="anybody", password="x")
    assert told["C"] == "57P03"
    assert "D" not in told
    assert pgmux.wait_for_log(f"auth_query failed for user 'anybody': {reason}")


def test_a_postgresql_that_is_away_is_asked_again_when_it_is_back(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres()
    pgmux = make_pgmux(
        postgres=postgres, auth_type="scram-sha-256", auth_user="postgres", server_login_retry="100ms"
    )
    postgres.stop()
    assert refusal(pgmux, user="scram", password=PASSWORDS["scram"])["C"] == "57P03"
    postgres.start()

    def gets_in() -> bool:
        try:
            connect(pgmux, user="scram", password=PASSWORDS["scram"]).close()
        except LoginRefusedError:
            return False
        return True

    wait_until(gets_in, 20, "log-ins after PostgreSQL's return")


def test_nothing_that_a_client_sets_reaches_the_question(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """CVE-2025-12819 of another pooler: a search_path in the start-up packet."""
    postgres.sql("CREATE SCHEMA evil", "app")
    try:
        postgres.sql(
            "CREATE TABLE evil.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz)", "app"
        )
        postgres.sql(
            "CREATE FUNCTION evil.secret_of(name) RETURNS text LANGUAGE sql AS $$SELECT 'evil'$$", "app"
        )
        postgres.sql("GRANT ALL ON SCHEMA evil TO public", "app")
        for query in ("", "SELECT $1::name, secret_of($1::name)"):
            pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="postgres", auth_query=query)
            for wish in ({"search_path": "evil"}, {"options": "-c search_path=evil,pg_catalog"}):
                told = refusal(pgmux, user="scram", password="evil", **wish)
                assert told["C"] == ("57P03" if query else "28P01")
    finally:
        postgres.sql("DROP SCHEMA evil CASCADE", "app")


def test_an_unknown_database_is_told_once_it_is_clear_who_asks(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256", auth_user="postgres", databases={"app": by_socket(postgres)}
    )
    who = {"user": "scram", "database": "nowhere"}
    assert refusal(pgmux, password=PASSWORDS["scram"], **who)["C"] == "3D000"
    assert refusal(pgmux, password="guessed", **who)["C"] == "28P01"


def test_the_user_that_a_database_forces_is_not_the_one_that_asks(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    """The forced user may not read pg_authid, and has a password of its own."""
    login = {"user": "plain", "password": PASSWORDS["plain"]}
    pgmux = make_pgmux(
        auth_type="scram-sha-256", auth_user="postgres", databases={"app": by_socket(postgres, **login)}
    )
    with connect(pgmux, user="scram", password=PASSWORDS["scram"]) as client:
        assert client.query("SELECT current_user").value == b"plain"


def test_questions_are_asked_in_the_database_of_auth_dbname(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256",
        auth_user="app",
        auth_dbname="users",
        auth_query="SELECT $1, pg_catalog.current_database()::text",
        databases={"app": by_socket(postgres), "users": by_socket(postgres, dbname="postgres")},
    )
    with connect(pgmux, user="app", password="postgres") as client:
        assert client.query("SELECT current_database()").value == b"app"


def test_a_worker_killed_while_it_asks_keeps_nobody_waiting(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    """The other worker's log-ins wait for its answer; when it is dead, they ask for themselves."""
    postgres = make_postgres()
    query = "SELECT $1, CASE WHEN pg_catalog.pg_sleep(2) IS NOT NULL THEN 'secret' END"
    pgmux = make_pgmux(
        postgres=postgres, workers=2, auth_type="scram-sha-256", auth_user="app", auth_query=query
    )

    def log_in(number: int) -> Iterator[None]:
        connect(pgmux, user="app", password="secret").close()
        yield

    with Crowd(20, log_in, may_fail=(OSError, WireClosedError)) as crowd:
        wait_until(lambda: bool(postgres.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")))
        pgmux.kill_worker(pgmux.worker_pids()[0])
        wait_until(lambda: sum(crowd.rounds) >= 1, 20, "log-ins of the worker that was not killed")
