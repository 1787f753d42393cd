"""What a text touches of its session, as the first look suspects and the closer one confirms."""

from __future__ import annotations

import pytest

from pgmux.session.studies import Lone, Study, Verb, study
from pgmux.session.traces import Trace, traces_of


def of(text: str) -> Study:
    return study(text.encode(), traces_of(text.encode()))


@pytest.mark.parametrize(
    ("text", "traces"),
    [
        ("SELECT 1", 0),
        ("select 'set_config', \"x\" -- SET a TO b", 0),
        ("SELECT /* /* ; SET */ ; SET */ 1", 0),
        ("SELECT 1; SET a TO b", Trace.SETTINGS),
        ("UPDATE t SET a = 1", 0),
        ("SELECT pg_catalog.set_config('a', 'b', false)", Trace.SETTINGS),
        ("/* x */ -- y\n set a to b", Trace.SETTINGS),
        ("(SELECT set_config($1, $2, $3))", Trace.SETTINGS),
        ("LISTEN a", Trace.LISTENING),
        ("SELECT pg_advisory_lock(1)", Trace.LOCKING),
        ("SELECT pg_try_advisory_lock_shared(1)", Trace.LOCKING),
        ("SELECT pg_advisory_xact_lock(1)", 0),
        ("SELECT pg_advisory_unlock(1)", Trace.FREEING),
        ("CREATE TEMP TABLE t ()", Trace.TEMPORARY),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Trace.HOLDING),
        ("LOAD 'x'", Trace.LOADING),
        ("NOTIFY a", Trace.NOTIFYING),
        ("SELECT pg_notify('a', 'b')", Trace.NOTIFYING),
        ("DROP DATABASE a", Trace.FREEING | Trace.EMPTYING),
        ("PREPARE s AS SELECT 1", Trace.NAMES),
        ("EXPLAIN EXECUTE s", Trace.NAMES),
        ("SELECT E'\\'; SET a TO b'", 0),
        ("SELECT 'it''s; SET a TO b'", 0),
        ("SELECT $x$; SET a TO b$x$", 0),
        ("SELECT $1; SET a TO b", Trace.SETTINGS),
        ("BEGIN", Trace.BLOCK),
        ("SELECT 'never ended; SET a TO b", 0),
        ("sElEcT\tset_config('a', 'b', false)", Trace.SETTINGS),
        ("SELECT set_config('a', 'b', false)", Trace.SETTINGS),
        ("selects; SET a TO b", Trace.SETTINGS),
        ("INSERT INTO t VALUES (1)", Trace.ADVANCING),
        ("WITH i AS (INSERT INTO t VALUES (1)) SELECT 1", Trace.ADVANCING),
        ("SELECT nextval('s')", Trace.ADVANCING),
        ("SELECT LASTVAL()", Trace.RECALLING),
        ("select pg_catalog.currval('s')", Trace.RECALLING),
    ],
)
def test_the_first_look(text: str, traces: int) -> None:
    assert traces_of(text.encode()) == traces


def test_backslashes_count_where_strings_have_escapes() -> None:
    text = b"SELECT '\\'; SET a TO b; --'"
    assert traces_of(text) == Trace.SETTINGS
    assert traces_of(text, backslashes=True) == 0


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("SET Work_Mem = '1MB'", {"work_mem"}),
        ("SET SESSION a.B TO 1", {"a.b"}),
        ('SET "My"."Own" TO 1', {"my.own"}),
        ("SET TIME ZONE 'UTC'", {"timezone"}),
        ("SET NAMES 'latin1'", {"client_encoding"}),
        ("SET SCHEMA 'x'", {"search_path"}),
        ("SET ROLE app", {"role"}),
        ("SET SESSION AUTHORIZATION app", {"session_authorization", "role"}),
        ("SELECT set_config('A.b', 'c', false), set_config('d', 'e', true)", {"a.b"}),
        ("SET LOCAL a TO b", set()),
        ("SET TRANSACTION READ ONLY", set()),
        ("SET CONSTRAINTS ALL DEFERRED", set()),
        ("SET a TO 1; SET b TO 2", {"a", "b"}),
    ],
)
def test_settings(text: str, sets: set[str]) -> None:
    assert of(text).sets == sets
    assert not of(text).sets_any


@pytest.mark.parametrize("text", ["RESET a", "SET a TO DEFAULT", "SET SESSION a = DEFAULT"])
def test_settings_that_return(text: str) -> None:
    assert of(text).resets == {"a"}
    assert not of(text).sets


@pytest.mark.parametrize("text", ["SELECT set_config(name, v, false) FROM t", "DO $$BEGIN SET a TO 1; END$$"])
def test_any_setting_may_be_changed(text: str) -> None:
    assert of(text).sets_any


@pytest.mark.parametrize(
    ("text", "empties"),
    [
        ("DROP DATABASE a", "a"),
        ('drop database if exists "A b" WITH (FORCE)', "A b"),
        ("ALTER DATABASE a RENAME TO b", "a"),
        ("ALTER DATABASE a SET TABLESPACE b", "a"),
        ("ALTER DATABASE a SET work_mem TO '1MB'", None),
        ("CREATE DATABASE a TEMPLATE b", "b"),
        ("CREATE DATABASE a OWNER x TEMPLATE = b ENCODING 'UTF8'", "b"),
        ("CREATE DATABASE a", None),
        ("CREATE DATABASE a TEMPLATE", None),
        ("SELECT database FROM t", None),
    ],
)
def test_the_database_to_which_nobody_may_be_connected(text: str, empties: str | None) -> None:
    assert of(text).empties == empties


def test_names_and_where_they_stand() -> None:
    text = (
        'PREPARE "A b" (int) AS SELECT 1; EXECUTE abc (1); DEALLOCATE PREPARE Abc; EXPLAIN ANALYZE EXECUTE x'
    )
    mentions = of(text).mentions
    assert [(each.verb, each.name, each.place) for each in mentions] == [
        (Verb.PREPARE, b"A b", 0),
        (Verb.EXECUTE, b"abc", 1),
        (Verb.DEALLOCATE, b"abc", 2),
        (Verb.EXECUTE, b"x", 3),
    ]
    assert [text[each.start : each.end] for each in mentions] == ['"A b"', "abc", "Abc", "x"]
    assert mentions[0].definition == b" (int) AS SELECT 1"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION f()",
        "PREPARE TRANSACTION 'x'",
        "GRANT EXECUTE ON FUNCTION f TO x",
    ],
)
def test_what_looks_like_a_name_and_is_none(text: str) -> None:
    assert of(text).mentions == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("DEALLOCATE ALL", 0),
        ("SELECT 1; DEALLOCATE PREPARE ALL", 1),
        ("DISCARD ALL", 0),
        ("DISCARD PLANS", -1),
    ],
)
def test_all_names_are_forgotten(text: str, place: int) -> None:
    assert of(text).forgets_at == place


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        ("begin", Lone.BEGIN),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY;", Lone.BEGIN),
        ("START TRANSACTION", Lone.START),
        ("END WORK", Lone.COMMIT),
        ("ABORT", Lone.ROLLBACK),
        ("ROLLBACK TO a", None),
        ("COMMIT AND CHAIN", None),
        ("BEGIN; SELECT 1", None),
        ("DISCARD ALL", Lone.DISCARD_ALL),
        ("reset all", Lone.RESET_ALL),
    ],
)
def test_one_command_alone(text: str, lone: Lone | None) -> None:
    assert of(text).lone is lone
