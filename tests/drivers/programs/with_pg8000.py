"""pg8000 with its defaults: a statement of the protocol for everything, prepared ones, COPY, notifications."""

from __future__ import annotations

import io
import time
from typing import Any

import pg8000.dbapi
import pg8000.native

from tests.drivers.programs.telling import MY_PID, TARGET, N, chapter, end, seen, tell, tell_error

PATIENCE_S = 20.0


def native(connection: Any) -> None:
    with chapter("statements with parameters"):
        for number in range(6):
            tell(connection.run(f"SELECT {N} * 100 + CAST(:n AS int), :t", n=number, t=f"of {N}"))
            seen(connection.run(MY_PID)[0][0])
            seen(connection.run(MY_PID)[0][0])
    with chapter("prepared statements"):
        one = connection.prepare(f"SELECT CAST(:n AS int) + {N}")
        other = connection.prepare(f"SELECT CAST(:n AS int) - {N}")
        for number in range(5):
            tell(one.run(n=number), other.run(n=number), one.columns)
        one.close()
        tell(other.run(n=9))
        try:
            other.run(n="x")
        except pg8000.native.DatabaseError as error:
            tell_error(error)
        tell(other.run(n=10))
        other.close()
    with chapter("a transaction"):
        for word in ("COMMIT", "ROLLBACK"):
            connection.run("START TRANSACTION")
            connection.run(f"CREATE TABLE pg8000_{N} (n int, t text)")
            connection.run(f"INSERT INTO pg8000_{N} VALUES (:n, :t)", n=N, t="x")
            tell(connection.run(f"SELECT * FROM pg8000_{N}"), connection.row_count)
            connection.run(word)
            if word == "COMMIT":
                connection.run(f"DROP TABLE pg8000_{N}")
    with chapter("COPY"):
        connection.run(f"CREATE TABLE pg8000_{N} (n int, t text)")
        lines = io.StringIO("".join(f"{number}\t{N}:{'x' * (number % 90)}\n" for number in range(3000)))
        connection.run(f"COPY pg8000_{N} FROM STDIN", stream=lines)
        out = io.StringIO()
        connection.run(f"COPY pg8000_{N} TO STDOUT", stream=out)
        tell(connection.row_count, len(out.getvalue()))
        try:
            connection.run(f"COPY pg8000_{N} FROM STDIN", stream=["no number\tx\n"])
        except pg8000.native.DatabaseError as error:
            tell_error(error)
        tell(connection.run(f"SELECT count(*) FROM pg8000_{N}"))
        connection.run(f"DROP TABLE pg8000_{N}")
    with chapter("settings"):
        connection.run(f"SET TIME ZONE {N}")
        for _ in range(3):
            tell(
                connection.run("SELECT CAST('2020-01-01 00:00+0' AS timestamptz)"),
                connection.parameter_statuses["TimeZone"],
            )
        connection.run("RESET TIME ZONE")
        tell(connection.run("SHOW TimeZone"))
    with chapter("notifications"):
        connection.run(f"LISTEN pg8000_{N}")
        with pg8000.native.Connection(**TARGET) as other:
            other.run(f"NOTIFY pg8000_{N}, 'of {N}'")
        until = time.monotonic() + PATIENCE_S
        while not connection.notifications and time.monotonic() < until:
            connection.run("SELECT 1")
        tell([(channel, payload) for _, channel, payload in connection.notifications])
        connection.run("UNLISTEN *")
    with chapter("notices"):
        connection.run(f"DO $$BEGIN RAISE NOTICE 'of {N}'; END$$")
        tell([notice[b"M"] for notice in connection.notices])


def dbapi(connection: Any) -> None:
    cursor = connection.cursor()
    with chapter("the DB API: transactions"):
        cursor.execute(f"CREATE TABLE pg8000_{N} (n int, t text)")
        cursor.executemany(
            f"INSERT INTO pg8000_{N} VALUES (%s, %s)", [(number, f"{N}") for number in range(9)]
        )
        connection.commit()
        for number in range(5):
            cursor.execute(f"UPDATE pg8000_{N} SET n = n + %s RETURNING n", (number,))
            tell(cursor.fetchall(), cursor.rowcount, [column[0] for column in cursor.description])
            connection.rollback()
        cursor.execute(f"SELECT sum(n) FROM pg8000_{N}")
        tell(cursor.fetchone())
        cursor.execute(f"DROP TABLE pg8000_{N}")
        connection.commit()
    with chapter("the DB API: a failed transaction"):
        for sql in ("SELECT 1/0", "SELECT 1"):
            try:
                cursor.execute(sql)
            except pg8000.dbapi.DatabaseError as error:
                tell_error(error)
        connection.rollback()
        cursor.execute("SELECT %s", (N,))
        tell(cursor.fetchall())
        connection.rollback()
    with chapter("the DB API: autocommit"):
        connection.autocommit = True
        for number in range(4):
            cursor.execute(f"SELECT %s + {N}", (number,))
            tell(cursor.fetchall())


with pg8000.native.Connection(**TARGET) as connection:
    native(connection)
with pg8000.dbapi.connect(**TARGET) as connection:
    dbapi(connection)
end()
