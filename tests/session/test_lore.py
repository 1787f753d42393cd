"""Functions whose source says that they leave something behind; and texts that name such a function."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmux.session import lore
from pgmux.session.studies import study
from pgmux.session.traces import Trace, learn, traces_of
from tests.servers import Postgres

LEAVING = {
    "sets": "BEGIN PERFORM set_config('a.b', v, false); END",
    "sets_last": "BEGIN PERFORM set_config('a.b', v, true); PERFORM set_config('a.c', v, false); END",
    "locks": "BEGIN PERFORM pg_try_advisory_lock(1); END",
    "makes": "BEGIN CREATE TEMP TABLE x (n int); END",
    "executes": "BEGIN EXECUTE 'SET work_mem TO ' || v; END",
    "says_set": "BEGIN SET work_mem TO '1MB'; END",
    "says_reset": "BEGIN UPDATE t SET a = 1; RESET ROLE; END",
    "listens": "BEGIN LISTEN channel; END",
    "calls": "BEGIN PERFORM locks(v); END",
    "calls_that": "BEGIN PERFORM CALLS(v); END",
    "Quoted Name": "BEGIN PERFORM pg_advisory_lock(1); END",
}
CLEAN = {
    "updates": "BEGIN UPDATE t SET a = 1; INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2; END",
    "sets_locally": "BEGIN PERFORM set_config('a.b', v, true); SET LOCAL work_mem TO '1MB'; END",
    "locks_shortly": "BEGIN PERFORM pg_advisory_xact_lock(1); END",
    "reads": "BEGIN PERFORM current_setting('a.b'); PERFORM pg_advisory_unlock(1); END",
}


RELATIONS = """
    CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM set_config('a.b', 'v', false); RETURN NEW; END$$;
    CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE FUNCTION default_that_locks() RETURNS int LANGUAGE sql AS 'SELECT pg_advisory_lock(1); SELECT 1';
    CREATE TABLE lore_fired (n int PRIMARY KEY);
    CREATE TRIGGER a AFTER INSERT ON lore_fired FOR EACH ROW EXECUTE FUNCTION fires();
    CREATE TABLE lore_counted (n int PRIMARY KEY);
    CREATE TRIGGER a AFTER INSERT ON lore_counted FOR EACH ROW EXECUTE FUNCTION counts();
    CREATE VIEW lore_seen AS SELECT n FROM lore_fired;
    CREATE VIEW lore_counted_view AS SELECT n FROM lore_counted;
    CREATE TABLE lore_defaulting (n int DEFAULT default_that_locks());
    CREATE TABLE lore_checked (n int CHECK (default_that_locks() > n));
    CREATE TABLE lore_whole (n int) PARTITION BY LIST (n);
    CREATE TABLE lore_part PARTITION OF lore_whole FOR VALUES IN (1);
    CREATE TRIGGER a AFTER INSERT ON lore_part FOR EACH ROW EXECUTE FUNCTION fires();
    CREATE TABLE lore_owner (n int PRIMARY KEY);
    CREATE TABLE lore_owned (n int REFERENCES lore_owner ON DELETE CASCADE);
    CREATE TRIGGER a AFTER DELETE ON lore_owned FOR EACH ROW EXECUTE FUNCTION fires();
    CREATE TABLE lore_referred (n int REFERENCES lore_fired);
    CREATE TABLE lore_ruled (n int);
    CREATE RULE a AS ON INSERT TO lore_ruled DO ALSO SELECT default_that_locks();
    CREATE FUNCTION inserts_there() RETURNS void LANGUAGE sql AS 'INSERT INTO lore_whole VALUES (1)';
"""
LEADING_THERE = {
    *("fires", "default_that_locks", "lore_fired", "lore_seen", "lore_defaulting", "lore_checked"),
    *("lore_whole", "lore_part", "lore_owner", "lore_owned", "lore_ruled", "inserts_there"),
}


@pytest.fixture
def functions(postgres: Postgres) -> Iterator[None]:
    both = {**LEAVING, **CLEAN}
    made = (
        f'CREATE FUNCTION "{name}"(v text) RETURNS void LANGUAGE plpgsql AS $${source}$$'
        for name, source in both.items()
    )
    postgres.sql("; ".join(made), "app", "app")
    yield
    postgres.sql("; ".join(f'DROP FUNCTION "{name}"' for name in both), "app", "app")


@pytest.mark.usefixtures("functions")
def test_the_catalog_tells_which_functions_leave_something_behind(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("SET search_path TO ''")
        told = {name for _, name in connection.execute(lore.QUESTION.encode()).fetchall()}
    assert told & {name.lower() for name in {**LEAVING, **CLEAN}} == {name.lower() for name in LEAVING}


def test_the_catalog_tells_by_which_relations_one_gets_to_such_a_function(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("BEGIN; CREATE SCHEMA lore; SET LOCAL search_path TO lore")
        before = {name for _, name in connection.execute(lore.QUESTION.encode()).fetchall()}
        connection.execute(RELATIONS.encode())
        connection.execute("SET LOCAL search_path TO ''")
        told = {name for _, name in connection.execute(lore.QUESTION.encode()).fetchall()}
        connection.execute("ROLLBACK")
    assert told - before == {*LEADING_THERE, "a.b"} - before


def test_a_name_that_was_learnt_is_a_trace_wherever_it_is_called() -> None:
    names = [b"leaves_something_behind", b"another one"]
    assert learn(names) == names
    assert learn(names) == []
    for text in (
        b"SELECT leaves_something_behind(1)",
        b"SELECT 1; SELECT x.LEAVES_something_behind (1)",
        b'INSERT INTO t SELECT "leaves_something_behind"(a) FROM t',
        b"DO $$BEGIN PERFORM leaves_something_behind(1); END$$",
    ):
        assert traces_of(text) & Trace.LEARNT
        assert study(text, traces_of(text)).sets_any
    for text in (b"SELECT leaves_something()", b"SELECT 'leaves_something_behind'", b"SELECT 1"):
        assert traces_of(text) == 0


@pytest.mark.parametrize("text", [b"CALL p()", b"SELECT 1; call p()", b"DO 'BEGIN PERFORM f(); END'"])
def test_what_calls_code_may_change_anything(text: bytes) -> None:
    studied = study(text, traces_of(text))
    assert studied.sets_any
    assert studied.traces & Trace.LOCKING
    assert studied.traces & Trace.TEMPORARY
