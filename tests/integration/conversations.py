"""Conversations of all kinds, to be held with PostgreSQL and with pgmux in front of it, and compared.

A conversation is a list of turns. A turn is what the client sends in one piece, and the types of the messages
it then reads up to, in this order: b"ZZ" is to the second ReadyForQuery, b"" reads nothing yet.

They find the table `conversation` and leave it empty; they leave no session state behind.
"""

from __future__ import annotations

from tests.wire import Message, Wire
from tests.wire.frontend import (
    bind,
    close_portal,
    close_statement,
    copy_data,
    copy_done,
    copy_fail,
    describe_portal,
    describe_statement,
    execute,
    extended,
    flush,
    function_call,
    parse,
    query,
    sync,
)

Turn = tuple[bytes, bytes]

TABLE = "CREATE TABLE IF NOT EXISTS conversation (n int, t text)"

_ABS = 1397  # the OID of abs(integer)
_COPY_IN = "COPY conversation FROM STDIN"
_COUNT = query("SELECT count(*), sum(n) FROM conversation")
_EMPTY = query("TRUNCATE conversation")

CONVERSATIONS: dict[str, list[Turn]] = {
    "one row": [(query("SELECT 1 AS one, NULL AS none, 'ä€😀' AS text"), b"Z")],
    "no rows": [(query("SELECT 1 WHERE false"), b"Z")],
    "nothing": [(query(""), b"Z"), (query(" ; "), b"Z")],
    "several statements": [(query("SELECT 1; SELECT 'two'; VALUES (3), (4)"), b"Z")],
    "several statements, one wrong": [
        (query("SELECT 1; SELECT 1/0; SELECT 3"), b"Z"),
        (query("SELECT 4"), b"Z"),
    ],
    "an error": [(query("SELEKT"), b"Z"), (query("SELECT 1"), b"Z")],
    "notices": [(query("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$"), b"Z")],
    "queries sent ahead": [(b"".join(query(f"SELECT {n}, {n}/(3-{n})") for n in range(6)), b"Z" * 6)],
    "a transaction": [
        (query("BEGIN"), b"Z"),
        (query("INSERT INTO conversation VALUES (1, 'one') RETURNING n, t"), b"Z"),
        (query("SELECT * FROM conversation"), b"Z"),
        (query("ROLLBACK"), b"Z"),
    ],
    "a transaction that fails": [
        (query("BEGIN"), b"Z"),
        (query("SELECT 1/0"), b"Z"),
        (query("SELECT 1"), b"Z"),
        (query("COMMIT"), b"Z"),
        (query("SELECT 2"), b"Z"),
    ],
    "a transaction in one message": [(query("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; ROLLBACK"), b"Z")],
    "savepoints": [
        (query("BEGIN; SAVEPOINT a; SELECT 1/0"), b"Z"),
        (query("ROLLBACK TO a"), b"Z"),
        (query("SELECT 1; ROLLBACK; SELECT 2"), b"Z"),
    ],
    "a cursor": [
        (query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 5)"), b"Z"),
        (query("FETCH 2 FROM c") + query("FETCH ALL FROM c"), b"ZZ"),
        (query("COMMIT"), b"Z"),
    ],
    "a parameter that is reported": [
        (query("BEGIN; SET LOCAL DateStyle = 'German'; SELECT current_date - current_date; ROLLBACK"), b"Z")
    ],
    "a function call": [(function_call(_ABS, [b"-5"]), b"Z"), (function_call(_ABS, [b"x"]), b"Z")],
    "extended": [(extended("SELECT $1::int + 1, $2::text", [b"41", None]), b"Z")],
    "extended, binary": [
        (
            parse("SELECT $1::int8, 'x'::bytea")
            + bind([b"\0" * 7 + b"\7"], formats=[1], result_formats=[1, 0])
            + describe_portal()
            + execute()
            + sync(),
            b"Z",
        ),
    ],
    "extended, no result": [(extended("DELETE FROM conversation") + extended(""), b"ZZ")],
    "extended, nothing": [(extended(""), b"Z")],
    "a description first": [
        (parse("SELECT $1::int, $2::date") + describe_statement() + flush(), b"T"),
        (bind([b"1", b"2000-01-01"]) + execute() + sync(), b"Z"),
    ],
    "each message answered at once": [
        (parse("SELECT generate_series(1, 3)") + flush(), b"1"),
        (bind() + flush(), b"2"),
        (describe_portal() + flush(), b"T"),
        (execute(limit=2) + flush(), b"s"),
        (execute(limit=2) + flush(), b"C"),
        (sync(), b"Z"),
    ],
    "a portal in pieces": [
        (
            parse("SELECT generate_series(1, 5)")
            + bind()
            + b"".join(execute(limit=2) for _ in range(4))
            + sync(),
            b"Z",
        ),
    ],
    "names within a transaction": [
        (query("BEGIN"), b"Z"),
        (parse("SELECT $1::int", "s") + bind([b"1"], "s", "p") + execute("p") + sync(), b"Z"),
        (bind([b"2"], "s", "q") + describe_portal("q") + execute("q") + close_portal("q") + sync(), b"Z"),
        (describe_statement("s") + close_statement("s") + sync(), b"Z"),
        (close_statement("s") + close_portal("never") + sync(), b"Z"),
        (query("COMMIT"), b"Z"),
    ],
    "unknown names": [
        (bind(statement="never") + execute() + sync(), b"Z"),
        (execute("never") + sync(), b"Z"),
        (describe_portal("never") + sync() + describe_statement("never") + sync(), b"ZZ"),
        (query("SELECT 1"), b"Z"),
    ],
    "an error in each step": [
        (parse("SELEKT") + bind() + execute() + sync(), b"Z"),
        (parse("SELECT $1::int") + bind([b"x"]) + execute() + sync(), b"Z"),
        (parse("SELECT $1::int") + bind() + execute() + sync(), b"Z"),
        (extended("SELECT 1/0"), b"Z"),
        (extended("SELECT 1"), b"Z"),
    ],
    "a pipeline with an error": [
        (b"".join(extended("SELECT 1/$1::int", [b"%d" % (n - 2)]) for n in range(5)), b"Z" * 5),
    ],
    "a pipeline with an error and one Sync": [
        (
            b"".join(extended("SELECT 1/$1::int", [b"%d" % (n - 2)])[: -len(sync())] for n in range(5))
            + sync(),
            b"Z",
        ),
        (extended("SELECT 1"), b"Z"),
    ],
    "a pipeline that is a transaction": [
        (
            extended("BEGIN")
            + extended("SELECT 1")
            + extended("SELECT 1/0")
            + extended("SELECT 2")
            + extended("ROLLBACK")
            + extended("SELECT 3"),
            b"Z" * 6,
        ),
    ],
    "simple and extended mixed": [
        (
            extended("SELECT 1") + query("SELECT 2") + extended("SELECT 3") + sync() + query("SELECT 4"),
            b"Z" * 5,
        ),
    ],
    "a query after an error, before the Sync": [
        (parse("SELEKT") + query("SELECT 1") + sync(), b"Z"),
        (query("SELECT 2"), b"Z"),
    ],
    "nothing but Syncs": [
        (sync(), b"Z"),
        (sync() + sync() + sync(), b"ZZZ"),
        (flush() + query("SELECT 1"), b"Z"),
    ],
    "a Sync between": [(parse("SELECT 1") + sync() + bind() + execute() + sync(), b"ZZ")],
    "COPY out": [(query("COPY (SELECT n, 'text' FROM generate_series(1, 50) n) TO STDOUT"), b"Z")],
    "COPY out, with an error": [
        (query("COPY (SELECT 1/(5-n) FROM generate_series(1, 9) n) TO STDOUT"), b"Z")
    ],
    "COPY out, extended": [(parse("COPY (VALUES (1)) TO STDOUT") + bind() + execute() + sync(), b"Z")],
    "COPY in": [
        (query(_COPY_IN), b"G"),
        (copy_data(b"1\tone\n2\tt") + copy_data(b"wo\n"), b""),
        (copy_data(b"3\tthree\n") + copy_done(), b"Z"),
        (_COUNT + _EMPTY, b"ZZ"),
    ],
    "COPY in, sent ahead": [(query(_COPY_IN) + copy_data(b"1\tx\n") + copy_done() + _COUNT + _EMPTY, b"ZZZ")],
    "COPY in, given up": [
        (query(_COPY_IN), b"G"),
        (copy_data(b"1\tone\n") + copy_fail("changed my mind"), b"Z"),
        (_COUNT, b"Z"),
    ],
    "COPY in, with an error": [
        (query(_COPY_IN), b"G"),
        (copy_data(b"one\t1\n"), b""),
        (copy_data(b"2\ttwo\n") + copy_done(), b"Z"),
        (_COUNT, b"Z"),
    ],
    "COPY in, refused": [
        (query("COPY never FROM STDIN") + copy_data(b"1\tx\n") + copy_done(), b"Z"),
        (_COUNT, b"Z"),
    ],
    "COPY in, extended": [
        (parse(_COPY_IN) + bind() + execute() + flush(), b"G"),
        (copy_data(b"1\tone\n") + copy_done() + sync(), b"Z"),
        (_COUNT + _EMPTY, b"ZZ"),
    ],
    "COPY in, extended, with a Sync too early": [
        (parse(_COPY_IN) + bind() + execute() + sync(), b"G"),
        (copy_data(b"1\tone\n") + copy_done() + sync(), b"Z"),
        (_COUNT + _EMPTY, b"ZZ"),
    ],
    "COPY in, extended, with an error": [
        (parse(_COPY_IN) + bind() + execute() + flush(), b"G"),
        (copy_data(b"one\t1\n") + copy_done() + sync(), b"Z"),
        (_COUNT, b"Z"),
    ],
    "COPY in a transaction": [
        (query("BEGIN"), b"Z"),
        (query(_COPY_IN) + copy_data(b"1\tone\n") + copy_done() + query(_COPY_IN), b"ZG"),
        (copy_fail("enough"), b"Z"),
        (query("ROLLBACK"), b"Z"),
        (_COUNT, b"Z"),
    ],
    "COPY data out of place": [
        (copy_data(b"1\tx\n") + copy_done() + copy_fail("no") + query("SELECT 1"), b"Z")
    ],
}

LARGE: dict[str, list[Turn]] = {
    "long rows": [(query("SELECT repeat('long', 100000 * n) FROM generate_series(1, 3) n"), b"Z")],
    "many rows": [(query("SELECT n, 'row ' || n FROM generate_series(1, 20000) n"), b"Z")],
    "a long query": [(query("SELECT length('" + "x" * 1_000_000 + "')"), b"Z")],
    "a long parameter": [(extended("SELECT length($1), $1", [b"y" * 1_000_000]), b"Z")],
    "many queries": [(b"".join(query(f"SELECT {n}") for n in range(2000)), b"Z" * 2000)],
    "a deep pipeline": [
        (b"".join(extended("SELECT $1::int", [b"%d" % n]) for n in range(2000)), b"Z" * 2000)
    ],
}


def hold(wire: Wire, turns: list[Turn]) -> list[Message]:
    """Everything that a server said, in order."""
    said: list[Message] = []
    for sent, awaited in turns:
        wire.send(sent)
        for position in range(len(awaited)):
            said += wire.read_until(awaited[position : position + 1])
    return said
