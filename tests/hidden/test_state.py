"""Each kind of session state, as a program: through pgmux as directly, and nothing of one for another.

Two clients have the same names everywhere with different contents, their transactions take turns, and every
one of them is on another backend than the last.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.servers import Pgmux, Postgres, wait_until

Connection = psycopg.Connection[Any]
Server = Pgmux | Postgres
Told = list[object]

# What each client runs, {n} being its number. Each line is a transaction, and its result is compared.
PROGRAMS: dict[str, list[str]] = {
    "SET and RESET": ["SET work_mem TO '{n}MB'", "SHOW work_mem", "RESET work_mem", "SHOW work_mem"],
    "SET LOCAL": ["BEGIN; SET LOCAL work_mem TO '{n}MB'; COMMIT", "SHOW work_mem"],
    "SET rolled back": ["BEGIN; SET work_mem TO '{n}MB'; ROLLBACK", "SHOW work_mem"],
    "SET and a savepoint": [
        "BEGIN; SET work_mem TO '{n}MB'; SAVEPOINT a; SET work_mem TO '9MB'; ROLLBACK TO a; COMMIT",
        "SHOW work_mem",
        "RESET ALL",
        "SHOW work_mem",
    ],
    "set_config": [
        "SELECT set_config('work_mem', '{n}MB', false)",
        "SHOW work_mem",
        "SELECT set_config('work_mem', '7MB', true)",
        "SHOW work_mem",
        "DISCARD ALL",
        "SHOW work_mem",
    ],
    "settings by code": [
        "DO $$BEGIN PERFORM set_config('work_mem', '{n}MB', false); END$$",
        "SHOW work_mem",
        "RESET work_mem",
    ],
    "a setting of one's own": [
        "SET my.own TO 'of {n}'",
        "SELECT current_setting('my.own')",
        "DISCARD ALL",
        "SELECT coalesce(current_setting('my.own', true), '')",
    ],
    "SET SESSION CHARACTERISTICS": [
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "RESET ALL",
        "SHOW transaction_isolation",
    ],
    "settings that PostgreSQL reports": [
        "SET application_name TO 'client {n}'",
        "SET TIME ZONE {n}",
        "SELECT current_setting('application_name'), current_setting('TimeZone')",
        "SELECT '2000-01-01 00:00+00'::timestamptz",
        "SET DateStyle TO 'German'",
        "SELECT date '2000-01-31'",
        "RESET ALL",
        "SELECT current_setting('TimeZone'), date '2000-01-31'",
    ],
    "a search_path": [
        "SET search_path TO pg_catalog, 'a b{n}'",
        "SHOW search_path",
        "SET search_path TO DEFAULT",
        "SHOW search_path",
    ],
    "statements": [
        "PREPARE s AS SELECT {n}",
        "EXECUTE s",
        "DEALLOCATE s",
        "PREPARE s AS SELECT -{n}",
        "EXECUTE s",
        "DEALLOCATE ALL",
        "EXECUTE s",
    ],
    "a temporary table": [
        "CREATE TEMP TABLE t AS SELECT {n} AS n",
        "SELECT n FROM t",
        "INSERT INTO t VALUES (5)",
        "SELECT * FROM t ORDER BY n",
        "DROP TABLE t",
        "SELECT n FROM t",
        "CREATE TEMP TABLE t AS SELECT 10 + {n} AS n",
        "SELECT n FROM t",
        "DISCARD ALL",
        "SELECT n FROM t",
    ],
    "a cursor WITH HOLD": [
        "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series({n}, {n} + 3)",
        "FETCH 2 FROM c",
        "FETCH 1 FROM c",
        "CLOSE c",
        "FETCH 1 FROM c",
    ],
    "an advisory lock": [
        "SELECT pg_advisory_lock({n})",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "SELECT pg_advisory_unlock({n})",
        "SELECT pg_advisory_unlock({n})",
        "SELECT pg_try_advisory_lock({n})",
        "SELECT pg_advisory_unlock_all()",
    ],
    "a wrong setting": [
        "SET work_mem TO 'much'",
        "SHOW work_mem",
        "SET my.own TO 'x'; SELECT 1/0",
        "SELECT 1",
    ],
}


def run(connection: Connection, sql: str) -> object:
    """Every result of a text, or its error."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql.encode(), prepare=False)
    except psycopg.Error as error:
        return error.sqlstate, str(error)
    told = []
    while True:
        told.append((cursor.statusmessage, cursor.fetchall() if cursor.description else None))
        if not cursor.nextset():
            return told


def connect(server: Server, **options: Any) -> Connection:
    return server.connect(**options)


def in_turns(server: Server, program: list[str]) -> tuple[Told, Told]:
    """What the two clients are told that run a program line by line, by turns."""
    with connect(server) as one, connect(server) as other:
        told: tuple[Told, Told] = ([], [])
        for line in program:
            told[0].append(run(one, line.replace("{n}", "1")))
            told[1].append(run(other, line.replace("{n}", "2")))
    return told


@pytest.fixture
def pgmux(make_pgmux: MakePgmux) -> Pgmux:
    return make_pgmux(workers=2, roam=True, default_pool_size=3, min_pool_size=3)


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_is_told_the_same(pgmux: Pgmux, postgres: Postgres, what: str) -> None:
    expected = in_turns(postgres, PROGRAMS[what])
    for _ in range(2):
        assert in_turns(pgmux, PROGRAMS[what]) == expected


def traces(pgmux: Pgmux) -> object:
    """What a new client finds on several backends: settings, locks, temporary tables, cursors, names."""
    found = []
    with connect(pgmux) as stranger:
        for _ in range(4):
            found.append(
                run(
                    stranger,
                    "SELECT current_setting('work_mem'), current_setting('TimeZone'),"
                    " current_setting('search_path'),"
                    " coalesce(current_setting('my.own', true), ''), current_user,"
                    " current_setting('application_name'),"
                    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
                    " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),"
                    " (SELECT count(*) FROM pg_cursors WHERE is_holdable)",
                )
            )
            found.append(run(stranger, "EXECUTE s"))
    return found


@pytest.mark.parametrize("is_killed", [False, True], ids=["politely", "suddenly"])
@pytest.mark.parametrize("what", PROGRAMS)
def test_the_next_client_finds_nothing(pgmux: Pgmux, what: str, is_killed: bool) -> None:
    """The client leaves after each of a program's lines."""
    clean = traces(pgmux)
    for end in range(1, len(PROGRAMS[what]) + 1):
        client = connect(pgmux)
        for line in PROGRAMS[what][:end]:
            run(client, line.replace("{n}", "1"))
        if is_killed:
            with suppress(psycopg.Error):
                client.pgconn.send_query(b"SELECT pg_sleep(10)")
                with socket.socket(fileno=os.dup(client.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)
        client.close()
        wait_until(lambda: traces(pgmux) == clean, what=f"a clean backend after {PROGRAMS[what][end - 1]}")


def test_start_up_options_are_carried_and_are_what_reset_goes_back_to(
    pgmux: Pgmux, postgres: Postgres
) -> None:
    def program(server: Server) -> Told:
        one = connect(server, options="-c work_mem=1MB -c TimeZone=Asia/Tokyo", application_name="one")
        other = connect(server, options="-c work_mem=2MB", application_name="other")
        told: Told = []
        with one, other:
            for line in (
                "SHOW work_mem",
                "SHOW TimeZone",
                "SHOW application_name",
                "SET work_mem TO '5MB'",
                "SHOW work_mem",
                "RESET work_mem",
                "SHOW work_mem",
                "SET TimeZone TO 'UTC'; SET work_mem TO '6MB'",
                "DISCARD ALL",
                "SELECT current_setting('work_mem'), current_setting('TimeZone')",
            ):
                told += [run(one, line), run(other, line)]
        return told

    assert program(pgmux) == program(postgres)


def test_another_role(pgmux: Pgmux, postgres: Postgres) -> None:
    postgres.sql("DROP ROLE IF EXISTS hidden_role", "app")
    postgres.sql("CREATE ROLE hidden_role", "app")
    postgres.sql("GRANT hidden_role TO app", "app")
    program = [
        "SET ROLE hidden_role",
        "SELECT current_user, session_user",
        "RESET ROLE",
        "SELECT current_user",
    ]
    assert in_turns(pgmux, program) == in_turns(postgres, program)


# What the start-up has set comes back

RESETS = {
    "alone": (["SET DateStyle TO iso, mdy", "RESET DateStyle"], "SHOW DateStyle"),
    "to what it is": (["SET DateStyle TO iso, mdy", "SET DateStyle TO DEFAULT"], "SHOW DateStyle"),
    "all": (["SET DateStyle TO iso, ymd", "RESET ALL"], "SHOW DateStyle"),
    "in a transaction": (["BEGIN", "SET DateStyle TO german", "RESET DateStyle"], "SHOW DateStyle"),
    "in a transaction, all": (["BEGIN", "SET DateStyle TO german", "RESET ALL"], "SHOW DateStyle"),
    "undone": (["SET DateStyle TO german", "BEGIN", "RESET DateStyle", "ROLLBACK"], "SHOW DateStyle"),
    "undone by a savepoint": (
        ["SET DateStyle TO german", "BEGIN", "SAVEPOINT a", "RESET DateStyle", "ROLLBACK TO a", "COMMIT"],
        "SHOW DateStyle",
    ),
    "all is discarded": (["SET DateStyle TO german", "DISCARD ALL"], "SHOW DateStyle"),
    "another": (["SET work_mem TO '1MB'", "RESET work_mem"], "SHOW work_mem"),
}


ASKED: dict[str, dict[str, Any]] = {
    "by a Query": {},
    "by a named statement": {"prepare": True},
    "by the unnamed one": {"binary": True},
}


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("title", RESETS)
def test_a_reset_leads_to_the_start_ups_value(
    make_pgmux: MakePgmux, postgres: Postgres, mode: str, asked: str, title: str
) -> None:
    texts, question = RESETS[title]
    pgmux = make_pgmux(pool_mode=mode, workers=1, default_pool_size=2, roam=True)
    told = []
    for server in (postgres, pgmux):
        with server.connect(options="-c DateStyle=Postgres,DMY -c work_mem=7MB") as connection:
            for text in texts:
                connection.execute(text.encode(), **ASKED[asked])
            told.append(connection.execute(question.encode()).fetchall())
    assert told[0] == told[1]


# A database that is to go


@pytest.mark.parametrize("name", ["doomed", "Doomed too"])
def test_a_database_can_be_dropped_though_the_pool_had_backends_in_it(
    make_pgmux: MakePgmux, postgres: Postgres, name: str
) -> None:
    pgmux = make_pgmux(workers=2)
    with pgmux.connect(user="postgres", dbname="postgres") as owner:
        owner.execute(f'CREATE DATABASE "{name}"'.encode())
        for worker in range(4):
            with pgmux.connect(user="postgres", dbname=name) as visitor:
                assert visitor.execute("SELECT %s::int", [worker]).fetchone() == (worker,)
        owner.execute(f'DROP DATABASE "{name}"'.encode())
        assert owner.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name]).fetchone() == (0,)
