"""What cannot be carried keeps its backend for its client: as far as the configuration allows, and cleanly given up.

And what a function does without a word of it in the text is found by the audit, told, and taken away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.inside import Inside
from tests.integration.routes import by_socket
from tests.servers import Pgmux, Postgres, wait_until

Connection = psycopg.Connection[Any]

KEEPERS = {
    "temporary table": "CREATE TEMPORARY TABLE kept (a int)",
    "cursor WITH HOLD": "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "advisory lock": "SELECT pg_advisory_lock(4711)",
    "LOAD": "LOAD 'plpgsql'",
}


def connect(pgmux: Pgmux) -> Connection:
    """As a superuser, who may LOAD anything."""
    return psycopg.connect(pgmux.connect_dsn(user="postgres"), autocommit=True, prepare_threshold=None)


def backend_of(client: Connection) -> int:
    (pid,) = client.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    return int(pid)


def what_is_held(client: Connection) -> list[tuple[int, int, int]]:
    return client.execute(
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),"
        " (SELECT count(*) FROM pg_cursors WHERE is_holdable),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    ).fetchall()


@pytest.mark.parametrize("reason", KEEPERS)
def test_where_nothing_may_be_kept_the_client_is_told_and_goes_on(make_pgmux: MakePgmux, reason: str) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, on_pin="reject")
    with connect(pgmux) as client, connect(pgmux) as other:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=reason) as refusal:
            client.execute(KEEPERS[reason])
        assert "on_pin" in str(refusal.value)
        for each in (other, client):
            assert what_is_held(each) == [(0, 0, 0)]


def test_what_ends_with_its_transaction_is_no_matter(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, on_pin="reject")
    with connect(pgmux) as client:
        with client.transaction():
            client.execute("CREATE TEMPORARY TABLE kept (a int) ON COMMIT DROP")
            client.execute("SELECT pg_advisory_xact_lock(4711)")
            client.execute("DECLARE kept CURSOR FOR SELECT 1")
        assert what_is_held(client) == [(0, 0, 0)]


def test_a_database_has_its_own_policy(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=1, on_pin="reject", databases={"app": by_socket(postgres, on_pin="allow")})
    with connect(pgmux) as client:
        client.execute(KEEPERS["temporary table"])
        assert client.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_who_is_to_be_warned_is_warned_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, on_pin="warn")
    with connect(pgmux) as client:
        notices: list[str] = []
        client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        client.execute(KEEPERS["temporary table"])
        client.execute("SELECT 1")
        assert [notice.split(":")[0] for notice in notices] == ["temporary table"]
        assert client.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_pins_cannot_take_a_whole_pool(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=4, max_pinned_percent=50)
    clients = [connect(pgmux) for _ in range(6)]
    for client in clients[:2]:
        client.execute(KEEPERS["temporary table"])
    for client in clients[2:]:
        with pytest.raises(psycopg.errors.TooManyConnections, match="max_pinned_percent"):
            client.execute(KEEPERS["temporary table"])
    for client in clients:
        assert client.execute("SELECT 1").fetchone() == (1,)
    clients[0].execute("DROP TABLE kept")
    clients[-1].execute(KEEPERS["temporary table"])
    for client in clients:
        client.close()


def test_a_library_goes_with_its_backend(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with connect(pgmux) as client:
        client.execute(KEEPERS["LOAD"])
        loaded = backend_of(client)
    with connect(pgmux) as other:
        assert backend_of(other) != loaded


@pytest.fixture
def lock(postgres: Postgres) -> Iterator[str]:
    """A function that takes a lock, and whose name does not say so."""
    postgres.sql(
        "CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_advisory_lock(1147); PERFORM set_config('work_mem', '7MB', false); END$$",
        "app",
        "app",
    )
    yield "SELECT pg_try_advisory_lock(1147)"
    postgres.sql("DROP FUNCTION work()", "app", "app")


@pytest.fixture
def hidden_lock(postgres: Postgres, lock: str) -> Iterator[str]:
    """Such a function that is called by an operator: no text names it."""
    postgres.sql(
        "CREATE FUNCTION work(int, int) RETURNS int LANGUAGE sql AS 'SELECT work(); SELECT $1';"
        "CREATE OPERATOR <<#>> (LEFTARG = int, RIGHTARG = int, FUNCTION = work)",
        "app",
        "app",
    )
    yield lock
    postgres.sql("DROP OPERATOR <<#>> (int, int); DROP FUNCTION work(int, int)", "app", "app")


def test_what_no_text_announces_is_found_told_and_taken_away(
    make_pgmux: MakePgmux, postgres: Postgres, hidden_lock: str
) -> None:
    lock = hidden_lock
    pgmux = make_pgmux(workers=1, default_pool_size=1, audit_interval="1ms")
    with connect(pgmux) as client, postgres.connect() as observer:
        client.execute("SELECT 1")
        pgmux.wait_for_log("functions of database app that change the session.*work")
        client.execute("SELECT 1 <<#>> 2")
        wait_until(lambda: observer.execute(lock).fetchone() == (True,), what="the lock to be free")
        assert client.execute("SHOW work_mem").fetchone() == ("4MB",)
    wait_until(
        lambda: pgmux.log_contains(
            r'left behind: .* client=\d+ .* backend=0 found="advisory lock, setting work_mem"'
        )
    )


def test_what_functions_leave_behind_is_kept_once_the_catalog_was_read(
    make_pgmux: MakePgmux, postgres: Postgres, lock: str
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2, roam=True)
    with connect(pgmux) as client, connect(pgmux) as other, postgres.connect() as observer:
        other.execute("SELECT 1")
        pgmux.wait_for_log("functions of database app that change the session.*work")
        client.execute("SELECT work()")
        for _ in range(4):
            assert client.execute("SHOW work_mem").fetchone() == ("7MB",)
            assert other.execute("SHOW work_mem").fetchone() == ("4MB",)
        assert observer.execute(lock).fetchone() == (False,)
        client.close()
        wait_until(lambda: observer.execute(lock).fetchone() == (True,), what="the lock to be free")


def test_what_functions_leave_behind_is_kept_before_the_catalog_was_read(
    make_pgmux: MakePgmux, postgres: Postgres, lock: str
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, min_pool_size=2, roam=True)
    with connect(pgmux) as client, connect(pgmux) as other, postgres.connect() as observer:
        client.execute("SELECT work()")
        for _ in range(4):
            assert client.execute("SHOW work_mem").fetchone() == ("7MB",)
            assert other.execute("SHOW work_mem").fetchone() == ("4MB",)
        assert observer.execute(lock).fetchone() == (False,)


@pytest.mark.parametrize(
    "text", ["SELECT 1", "DO $$BEGIN END$$", "DO $$BEGIN SET statement_timeout TO DEFAULT; END$$"]
)
def test_who_was_asked_about_everything_and_has_set_nothing_has_no_settings(
    make_pgmux: MakePgmux, text: str
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, min_pool_size=2, roam=True)
    with connect(pgmux) as client, connect(pgmux) as other:
        client.execute(text)
        for _ in range(4):
            client.execute("SELECT 1")
            other.execute("SELECT 1")
        assert sum(Inside(pgmux).counts("catch_ups")) == 0
        client.execute("DO $$BEGIN SET statement_timeout TO '90s'; END$$")
        for _ in range(3):
            assert client.execute("SHOW statement_timeout").fetchone() == ("90s",)
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_an_empty_setting_of_ones_own_is_kept_before_the_catalog_was_read(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, min_pool_size=2, roam=True)
    with connect(pgmux) as client:
        client.execute("SET my.tenant TO ''")
        for _ in range(4):
            assert client.execute("SHOW my.tenant").fetchone() == ("",)


def test_what_a_function_listens_to_is_heard_before_the_catalog_was_read(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    make = "CREATE FUNCTION attend() RETURNS void LANGUAGE plpgsql AS 'BEGIN LISTEN unnamed; END'"
    postgres.sql(make, "app", "app")
    pgmux = make_pgmux(workers=1, default_pool_size=2, roam=True)
    try:
        with connect(pgmux) as client:
            client.execute("SELECT attend()")
            postgres.sql("NOTIFY unnamed, 'heard'", "app", "app")
            [notification] = client.notifies(timeout=10, stop_after=1)
            assert notification.payload == "heard"
    finally:
        postgres.sql("DROP FUNCTION attend()", "app", "app")


@pytest.mark.parametrize(
    "made",
    [
        "CREATE FUNCTION at_once() RETURNS void LANGUAGE sql AS 'SELECT set_config(''work_mem'', ''7MB'', false)'",
        "ALTER FUNCTION at_last() RENAME TO at_once",
    ],
)
def test_a_function_is_known_in_every_worker_as_soon_as_it_was_made(
    make_pgmux: MakePgmux, postgres: Postgres, made: str
) -> None:
    before = "CREATE FUNCTION at_last() RETURNS void LANGUAGE sql AS 'SELECT set_config(''work_mem'', ''7MB'', false)'"
    postgres.sql(before, "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=3, min_pool_size=3, roam=True, audit_interval="1h")
    clients = [connect(pgmux) for _ in range(6)]
    try:
        for client in clients:
            client.execute("SELECT 1")
        pgmux.wait_for_log("functions of database app that change the session.*at_last")
        clients[0].execute(made)
        for client in clients[1:3]:
            client.execute("SELECT at_once()")
        for _ in range(3):
            told = [client.execute("SHOW work_mem").fetchone() for client in clients]
            assert told == [("4MB",), ("7MB",), ("7MB",), ("4MB",), ("4MB",), ("4MB",)]
    finally:
        for client in clients:
            client.close()
        postgres.sql("DROP FUNCTION IF EXISTS at_once(); DROP FUNCTION IF EXISTS at_last()", "app", "app")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('no' || 'where.known', 'secret', false)",
        "DO $$BEGIN SET nowhere.known TO 'secret'; END$$",
    ],
)
def test_a_setting_whose_name_nobody_knows_reaches_nobody_else(make_pgmux: MakePgmux, text: str) -> None:
    """PostgreSQL lists no settings of one's own: only DISCARD ALL takes one away whose name is not known."""
    pgmux = make_pgmux(workers=2, default_pool_size=2, min_pool_size=2, roam=True, audit_interval=0)
    with connect(pgmux) as client, connect(pgmux) as other:
        for _ in range(4):
            client.execute(text)
            for _ in range(2):
                [[found]] = other.execute("SELECT current_setting('nowhere.known', true)").fetchall()
                assert found in (None, "")


def test_an_audit_finds_nothing_in_what_is_carried(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, audit_interval="1ms")
    with connect(pgmux) as one, connect(pgmux) as other:
        for number, client in enumerate((one, other), 6):
            client.execute(f"SET work_mem = '{number}MB'")
            client.execute(f"SET my.own = '{number}'")
            client.execute("SET ROLE app")
        for _ in range(20):
            for number, client in enumerate((one, other), 6):
                assert client.execute("SHOW work_mem").fetchone() == (f"{number}MB",)
        one.execute(KEEPERS["temporary table"])
        assert one.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert not pgmux.log_contains("left behind")
