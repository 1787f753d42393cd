"""Conversations about what a session keeps: names of statements, settings, transactions.

As those of tests/integration/conversations.py, and held in the same way; they leave no session state behind.
"""

from __future__ import annotations

from tests.integration.conversations import Turn
from tests.wire.frontend import (
    bind,
    close_portal,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    extended,
    flush,
    parse,
    query,
    sync,
)

LONG = "n" * 200  # a name that PostgreSQL's own identifiers could not have
_MOST = 65_535  # parameters of a statement


def run(name: str, *values: bytes | None) -> bytes:
    """Executes a prepared statement, up to its Sync."""
    return bind(values, name) + describe_portal() + execute() + sync()


def prepare(name: str, sql: str) -> bytes:
    """Prepares a statement, up to its Sync."""
    return parse(sql, name) + sync()


def drop(*names: str) -> bytes:
    """Closes statements, in one segment."""
    return b"".join(close_statement(name) for name in names) + sync()


PROTOCOL: dict[str, list[Turn]] = {
    "a name across transactions": [
        (prepare("s", "SELECT $1::int + 1"), b"Z"),
        (run("s", b"1"), b"Z"),
        (run("s", b"2") + run("s", b"3"), b"ZZ"),
        (describe_statement("s") + sync(), b"Z"),
        (drop("s"), b"Z"),
        (run("s", b"4"), b"Z"),
    ],
    "a name that is taken": [
        (prepare("s", "SELECT 1"), b"Z"),
        (prepare("s", "SELECT 2"), b"Z"),
        (prepare("s", "SELECT 1"), b"Z"),
        (run("s"), b"Z"),
        (prepare("s", "SELEKT"), b"Z"),
        (run("s") + drop("s") + run("s"), b"ZZZ"),
    ],
    "a name that is taken, in a pipeline": [
        (parse("SELECT 1", "s") + parse("SELECT 2", "s") + bind(statement="s") + execute() + sync(), b"Z"),
        (run("s"), b"Z"),
        (parse("SELECT 3", "s") + sync() + run("s") + parse("SELECT 4", "s") + sync() + run("s"), b"ZZZZ"),
        (drop("s"), b"Z"),
    ],
    "unknown names": [
        (bind(statement="never") + execute() + sync(), b"Z"),
        (describe_statement("never") + sync(), b"Z"),
        (close_statement("never") + sync(), b"Z"),
        (run("pgmux_0123456789abcdef0123456789abcdef"), b"Z"),
        (run("") + query("SELECT 1"), b"ZZ"),
    ],
    "a name is free after a Parse that failed": [
        (prepare("s", "SELEKT"), b"Z"),
        (run("s"), b"Z"),
        (prepare("s", "SELECT 1"), b"Z"),
        (run("s"), b"Z"),
        (
            parse("SELEKT", "t") + sync() + parse("SELECT 2", "t") + sync() + run("t") + drop("s", "t"),
            b"Z" * 4,
        ),
    ],
    "a Parse that is skipped": [
        (extended("SELECT 1/0")[:-5] + parse("SELECT 1", "s") + sync(), b"Z"),
        (run("s"), b"Z"),
        (prepare("s", "SELECT 2") + run("s"), b"ZZ"),
        (extended("SELECT 1/0")[:-5] + close_statement("s") + sync(), b"Z"),
        (run("s"), b"Z"),
        (extended("SELECT 1/0")[:-5] + close_statement("s") + parse("SELECT 3", "s") + sync(), b"Z"),
        (run("s"), b"Z"),
        (close_statement("s") + parse("SELECT 3", "s") + bind(statement="s") + execute() + sync(), b"Z"),
        (drop("s"), b"Z"),
    ],
    "names in a failed transaction": [
        (prepare("s", "SELECT 1") + query("BEGIN") + query("SELECT 1/0"), b"ZZZ"),
        (run("s"), b"Z"),
        (prepare("t", "SELECT 2"), b"Z"),
        (prepare("s", "SELECT 2"), b"Z"),
        (describe_statement("s") + sync(), b"Z"),
        (prepare("r", "ROLLBACK"), b"Z"),
        (drop("s"), b"Z"),
        (run("s"), b"Z"),
        (run("r"), b"Z"),
        (run("s") + run("t") + run("r"), b"ZZZ"),
        (prepare("s", "SELECT 3") + run("s") + drop("s", "r"), b"ZZZ"),
    ],
    "names in a failed transaction, all sent ahead": [
        (prepare("s", "SELECT 1") + prepare("u", "SELECT 1"), b"ZZ"),
        (
            query("BEGIN")
            + query("SELECT 1/0")
            + prepare("t", "SELECT 1")
            + run("t")
            + run("s")
            + drop("s")
            + prepare("s", "SELECT 1")
            + query("ROLLBACK")
            + run("t")
            + run("s")
            + run("u")
            + drop("u"),
            b"Z" * 12,
        ),
    ],
    "names outlive a ROLLBACK": [
        (query("BEGIN") + prepare("s", "SELECT 1") + query("ROLLBACK") + run("s"), b"ZZZZ"),
        (query("BEGIN") + drop("s") + query("ROLLBACK"), b"ZZZ"),
        (run("s"), b"Z"),
    ],
    "a savepoint between": [
        (prepare("s", "SELECT 1/(random()*0 + $1::int)::int"), b"Z"),
        (query("BEGIN; SAVEPOINT a") + run("s", b"0") + run("s", b"1"), b"ZZZ"),
        (query("ROLLBACK TO a") + run("s", b"1") + query("COMMIT") + drop("s"), b"ZZZZ"),
    ],
    "errors in pipelines of names": [
        (
            parse("SELECT 1/(random()*0 + $1::int)::int", "s")
            + bind([b"1"], "s")
            + execute()
            + bind([b"0"], "s")
            + execute()
            + bind([b"1"], "s")
            + execute()
            + sync(),
            b"Z",
        ),
        (run("s", b"1"), b"Z"),
        (prepare("s", "SELECT 1/(random()*0 + $1::int)::int"), b"Z"),
        (run("s", b"0") + run("s", b"1") + drop("s"), b"ZZZ"),
    ],
    "too few parameters": [
        (prepare("s", "SELECT $1::int, $2::int"), b"Z"),
        (run("s", b"1"), b"Z"),
        (run("s", b"1", b"2") + drop("s"), b"ZZ"),
    ],
    "two names for one text": [
        (parse("SELECT 7", "a") + parse("SELECT 7", "b") + sync(), b"Z"),
        (run("a") + run("b") + drop("a") + run("b") + run("a") + drop("b"), b"Z" * 6),
    ],
    "one text, other types": [
        (parse("SELECT $1", "a", [23]) + parse("SELECT $1", "b", [25]) + sync(), b"Z"),
        (describe_statement("a") + describe_statement("b") + sync(), b"Z"),
        (run("a", b"1") + run("b", b"x") + drop("a", "b"), b"ZZZ"),
    ],
    "close, then the same name again": [
        (prepare("s", "SELECT 1"), b"Z"),
        (close_statement("s") + parse("SELECT 2", "s") + sync(), b"Z"),
        (run("s"), b"Z"),
        (drop("s") + prepare("s", "SELECT 1") + run("s") + drop("s"), b"ZZZZ"),
    ],
    "answered at a Flush": [
        (parse("SELECT 1", "s") + flush(), b"1"),
        (describe_statement("s") + flush(), b"T"),
        (close_statement("s") + flush(), b"3"),
        (parse("SELECT 1", "s") + flush(), b"1"),
        (bind(statement="s") + execute() + flush(), b"C"),
        (close_portal() + close_statement("s") + flush(), b"33"),
        (sync(), b"Z"),
    ],
    "the unnamed statement across Syncs": [
        (parse("SELECT $1::int") + sync(), b"Z"),
        (run("", b"1"), b"Z"),
        (describe_statement() + sync(), b"Z"),
        (run("", b"2") + run("", b"3"), b"ZZ"),
        (parse("SELEKT") + sync(), b"Z"),
        (run("", b"4"), b"Z"),
        (parse("SELECT $1::int") + sync() + run("", b"5") + query("SELECT 1"), b"ZZZ"),
        (run("", b"6"), b"Z"),
        (parse("SELECT 1") + sync() + close_statement("") + sync(), b"ZZ"),
        (run(""), b"Z"),
    ],
    "the unnamed statement in a transaction": [
        (query("BEGIN") + parse("SELECT $1::int") + sync(), b"ZZ"),
        (run("", b"1") + run("", b"x"), b"ZZ"),
        (query("ROLLBACK"), b"Z"),
        (run("", b"1"), b"Z"),
    ],
    "a long name": [
        (prepare(LONG, "SELECT 1") + run(LONG) + prepare(LONG, "SELECT 1"), b"ZZZ"),
        (run(LONG + "x") + describe_statement(LONG) + sync() + drop(LONG) + run(LONG), b"ZZZZ"),
    ],
    "names of any bytes": [
        (prepare("a b\"'\\ä", "SELECT 1") + run("a b\"'\\ä") + drop("a b\"'\\ä"), b"ZZZ"),
    ],
    "many statements": [
        (b"".join(prepare(f"s{n}", f"SELECT {n}") for n in range(12)), b"Z" * 12),
        (b"".join(run(f"s{n}") for n in range(12)), b"Z" * 12),
        (b"".join(run(f"s{n}")[:-5] for n in range(12)) + sync(), b"Z"),
        (b"".join(run(f"s{n}") + run("s0") for n in range(12)), b"Z" * 24),
        (drop(*(f"s{n}" for n in range(12))), b"Z"),
        (b"".join(run(f"s{n}") for n in range(2)), b"ZZ"),
    ],
    "many statements in one segment": [
        (b"".join(parse(f"SELECT {n}", f"s{n}") for n in range(9)) + sync(), b"Z"),
        (b"".join(run(f"s{n}") for n in range(9)), b"Z" * 9),
        (drop(*(f"s{n}" for n in range(9))), b"Z"),
    ],
    "a malformed Parse": [
        (b"P\0\0\0\x08abc\0" + sync(), b"Z"),
        (query("SELECT 1"), b"Z"),
    ],
}

SQL: dict[str, list[Turn]] = {
    "PREPARE and EXECUTE": [
        (query("PREPARE s (int) AS SELECT $1 + 1"), b"Z"),
        (query("EXECUTE s(1)"), b"Z"),
        (query("EXECUTE s(2); EXECUTE s(3)"), b"Z"),
        (query("EXPLAIN (COSTS OFF) EXECUTE s(2)"), b"Z"),
        (query("DEALLOCATE s"), b"Z"),
        (query("EXECUTE s(1)"), b"Z"),
        (query("DEALLOCATE s"), b"Z"),
    ],
    "PREPARE of a taken name": [
        (query("PREPARE s AS SELECT 1"), b"Z"),
        (query("PREPARE s AS SELECT 2"), b"Z"),
        (query("EXECUTE s"), b"Z"),
        (prepare("s", "SELECT 3"), b"Z"),
        (query("DEALLOCATE PREPARE s"), b"Z"),
        (prepare("s", "SELECT 3") + query("PREPARE s AS SELECT 2"), b"ZZ"),
        (query("EXECUTE s") + query("DEALLOCATE s"), b"ZZ"),
    ],
    "PREPARE that fails": [
        (query("PREPARE s AS SELECT nothing_here"), b"Z"),
        (query("EXECUTE s"), b"Z"),
        (query("PREPARE s AS SELEKT"), b"Z"),
        (query("PREPARE s AS SELECT 1"), b"Z"),
        (query("EXECUTE s") + query("DEALLOCATE s"), b"ZZ"),
    ],
    "PREPARE in transactions": [
        (query("BEGIN") + query("PREPARE s AS SELECT 1") + query("ROLLBACK"), b"ZZZ"),
        (query("EXECUTE s"), b"Z"),
        (query("BEGIN") + query("DEALLOCATE s") + query("ROLLBACK"), b"ZZZ"),
        (query("EXECUTE s"), b"Z"),
        (query("BEGIN") + query("SELECT 1/0") + query("PREPARE s AS SELECT 1") + query("ROLLBACK"), b"Z" * 4),
        (query("EXECUTE s"), b"Z"),
    ],
    "PREPARE in one text": [
        (query("PREPARE s AS SELECT 1; EXECUTE s; DEALLOCATE s"), b"Z"),
        (query("PREPARE s AS SELECT 1; SELECT 1/0"), b"Z"),
        (query("EXECUTE s"), b"Z"),
        (query("SELECT 1; PREPARE t AS SELECT 2; EXECUTE t"), b"Z"),
        (query("EXECUTE t; DEALLOCATE t; EXECUTE t"), b"Z"),
        (query("DEALLOCATE ALL"), b"Z"),
    ],
    "names of the protocol in SQL": [
        (prepare("S_1", "SELECT $1::int + 1"), b"Z"),
        (query('EXECUTE "S_1"(1)'), b"Z"),
        (query("EXECUTE S_1(1)"), b"Z"),
        (query('DEALLOCATE "S_1"'), b"Z"),
        (run("S_1", b"1"), b"Z"),
        (query('DEALLOCATE "S_1"'), b"Z"),
    ],
    "names of SQL in the protocol": [
        (query("PREPARE s (int) AS SELECT $1 + 1"), b"Z"),
        (run("s", b"1") + describe_statement("s") + sync() + drop("s") + run("s", b"1"), b"ZZZZ"),
        (query("DEALLOCATE s"), b"Z"),
        (prepare("t", "SELECT 2") + query("EXECUTE t"), b"ZZ"),
        (drop("t") + query("EXECUTE t"), b"ZZ"),
    ],
    "PREPARE by the extended protocol": [
        (extended("PREPARE s (int) AS SELECT $1 + 1"), b"Z"),
        (extended("EXECUTE s(4)"), b"Z"),
        (run("s", b"5"), b"Z"),
        (extended("PREPARE s AS SELECT 1"), b"Z"),
        (extended("DEALLOCATE s"), b"Z"),
        (extended("EXECUTE s(4)"), b"Z"),
        (extended("DEALLOCATE s"), b"Z"),
    ],
    "DEALLOCATE ALL": [
        (prepare("a", "SELECT 1") + query("PREPARE b AS SELECT 2"), b"ZZ"),
        (query("DEALLOCATE ALL"), b"Z"),
        (run("a"), b"Z"),
        (query("EXECUTE b"), b"Z"),
        (prepare("a", "SELECT 1") + query("PREPARE b AS SELECT 2"), b"ZZ"),
        (run("a") + query("EXECUTE b") + extended("DEALLOCATE ALL"), b"ZZZ"),
        (run("a") + query("EXECUTE b"), b"ZZ"),
        (prepare("a", "SELECT 1") + run("a") + query("DEALLOCATE PREPARE ALL") + run("a"), b"ZZZZ"),
    ],
    "DEALLOCATE ALL in transactions": [
        (prepare("a", "SELECT 1"), b"Z"),
        (query("BEGIN") + query("DEALLOCATE ALL") + prepare("a", "SELECT 2") + run("a"), b"ZZZZ"),
        (query("ROLLBACK") + run("a"), b"ZZ"),
        (query("BEGIN") + query("SELECT 1/0") + query("DEALLOCATE ALL") + query("ROLLBACK"), b"ZZZZ"),
        (run("a"), b"Z"),
        (query("SELECT 1/0; DEALLOCATE ALL") + run("a"), b"ZZ"),
        (query("DEALLOCATE ALL; SELECT 1/0"), b"Z"),
        (run("a"), b"Z"),
        (query("DEALLOCATE ALL"), b"Z"),
    ],
    "DISCARD": [
        (prepare("a", "SELECT 1") + query("PREPARE b AS SELECT 2"), b"ZZ"),
        (query("DISCARD PLANS") + query("DISCARD SEQUENCES") + query("DISCARD TEMP"), b"ZZZ"),
        (run("a") + query("EXECUTE b"), b"ZZ"),
        (query("DISCARD ALL"), b"Z"),
        (run("a"), b"Z"),
        (query("EXECUTE b"), b"Z"),
        (query("BEGIN") + query("DISCARD ALL") + query("ROLLBACK"), b"ZZZ"),
        (prepare("a", "SELECT 1") + extended("DISCARD ALL") + run("a"), b"ZZZ"),
    ],
    "errors that tell a place": [
        (query("PREPARE s AS SELECT 1, nothing_here"), b"Z"),
        (query("PREPARE s AS SELECT 1; SELEKT"), b"Z"),
        (query("PREPARE s (int) AS SELECT $1") + query("EXECUTE s"), b"ZZ"),
        (query("EXECUTE s(nothing_here)") + query("DEALLOCATE s"), b"ZZ"),
    ],
    "settings": [
        (query("SET DateStyle TO 'German'"), b"Z"),
        (query("SHOW DateStyle") + extended("SHOW DateStyle"), b"ZZ"),
        (query("BEGIN; SET DateStyle TO 'SQL'; ROLLBACK"), b"Z"),
        (query("SHOW DateStyle"), b"Z"),
        (query("BEGIN; SET LOCAL DateStyle TO 'SQL'; COMMIT") + query("SHOW DateStyle"), b"ZZ"),
        (query("BEGIN; SET work_mem TO '1MB'; SAVEPOINT a; SET work_mem TO '2MB'; ROLLBACK TO a"), b"Z"),
        (query("COMMIT") + query("SHOW work_mem"), b"ZZ"),
        (query("RESET DateStyle; RESET work_mem"), b"Z"),
        (query("SHOW DateStyle") + query("SHOW work_mem"), b"ZZ"),
    ],
    "settings and names in one text": [
        (query("PREPARE s AS SELECT 1; SET work_mem TO '3MB'"), b"Z"),
        (query("SHOW work_mem") + query("EXECUTE s"), b"ZZ"),
        (query("DEALLOCATE s; RESET work_mem") + query("SHOW work_mem"), b"ZZ"),
        (query("PREPARE s AS SELECT set_config('work_mem', '4MB', false)") + query("EXECUTE s"), b"ZZ"),
        (query("SHOW work_mem") + query("RESET ALL") + query("DEALLOCATE s"), b"ZZZ"),
        (query("SHOW work_mem"), b"Z"),
    ],
    "settings by a prepared statement": [
        (prepare("s", "SELECT set_config($1, $2, false)"), b"Z"),
        (run("s", b"work_mem", b"5MB") + query("SHOW work_mem"), b"ZZ"),
        (query("SHOW work_mem"), b"Z"),
        (prepare("t", "SET work_mem TO '6MB'") + run("t") + query("SHOW work_mem"), b"ZZZ"),
        (extended("RESET work_mem") + drop("s", "t") + query("SHOW work_mem"), b"ZZZ"),
    ],
    "settings that are wrong": [
        (query("SET work_mem TO 'much'") + query("SET nothing.at TO 'all'; SELECT 1/0"), b"ZZ"),
        (query("SHOW nothing.at"), b"Z"),
    ],
}

LARGE: dict[str, list[Turn]] = {
    "as many parameters as can be": [
        (prepare("s", "SELECT " + "+".join(f"${n}::int" for n in range(1, 1001))), b"Z"),
        (run("s", *[b"1"] * 1000), b"Z"),
        (drop("s"), b"Z"),
        (
            prepare(
                "s", "SELECT cardinality(ARRAY[" + ",".join(f"${n}::int" for n in range(1, _MOST + 1)) + "])"
            ),
            b"Z",
        ),
        (describe_statement("s") + sync() + drop("s"), b"ZZ"),
    ],
    "a text of three megabytes": [
        (prepare("s", "SELECT length('" + "x" * 3_000_000 + "')") + run("s"), b"ZZ"),
        (run("s") + prepare("s", "SELECT 1") + drop("s") + run("s"), b"ZZZZ"),
        (parse("SELECT length('" + "y" * 3_000_000 + "')") + sync(), b"Z"),
        (run(""), b"Z"),
        (query("PREPARE s AS SELECT length('" + "z" * 900_000 + "')"), b"Z"),
        (query("EXECUTE s") + query("DEALLOCATE s"), b"ZZ"),
    ],
}
