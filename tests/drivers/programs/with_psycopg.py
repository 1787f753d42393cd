"""psycopg 3 with its defaults: what it prepares by itself, pipelines, COPY, cursors, notifications."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo

from tests.drivers.programs.telling import MY_PID, TARGET, N, chapter, end, seen, tell, tell_error

Connection = psycopg.Connection[Any]


def connect(**options: Any) -> Connection:
    return psycopg.connect(
        host=TARGET["host"],
        port=TARGET["port"],
        dbname=TARGET["database"],
        user=TARGET["user"],
        **{"autocommit": True, **options},
    )


def value(connection: Connection, sql: str, *parameters: object, **options: Any) -> object:
    """The first value of the first row."""
    row = connection.execute(sql.encode(), parameters or None, **options).fetchone()
    return row and row[0]


def prepared(connection: Connection) -> None:
    with chapter("what is prepared after five times"):
        for number in range(12):
            tell(value(connection, f"SELECT {N} * 100 + %s", number))
            seen(value(connection, MY_PID))
            seen(value(connection, MY_PID))
    with chapter("prepared at once"):
        for number in range(4):
            tell(value(connection, f"SELECT '{N}' || %s::text", str(number), prepare=True))
    with chapter("more than it keeps"):
        connection.prepared_max = 4
        for _ in range(2):
            for number in range(9):
                tell(value(connection, f"SELECT %s::int + {number * N}", number, prepare=True))
        connection.prepared_max = 100
    with chapter("a statement that fails"):
        for divisor in (1, 0, 2, 0, 3):
            try:
                tell(value(connection, f"SELECT {N} * 6 / %s::int", divisor, prepare=True))
            except psycopg.Error as error:
                tell_error(error)
    with chapter("binary"):
        cursor = connection.cursor(binary=True)
        for number in range(7):
            tell(cursor.execute("SELECT %b::int8, %b::text, now() > 'epoch'", (number * N, "x")).fetchall())
    with chapter("after DEALLOCATE ALL"):
        connection.execute("DEALLOCATE ALL")
        for number in range(7):
            tell(value(connection, f"SELECT {N} * 100 + %s", number))
    with chapter("many rows of parameters"):
        connection.execute(f"CREATE TABLE IF NOT EXISTS psycopg_{N} (n int, t text)".encode())
        connection.execute(f"TRUNCATE psycopg_{N}".encode())
        cursor = connection.cursor()
        cursor.executemany(
            f"INSERT INTO psycopg_{N} VALUES (%s, %s) RETURNING n".encode(),
            [(number, f"{N}.{number}") for number in range(20)],
            returning=True,
        )
        while True:
            tell(cursor.fetchall())
            if not cursor.nextset():
                break


def transactions() -> None:
    with connect(autocommit=False) as connection:
        with chapter("transactions and savepoints"):
            for number in range(8):
                with connection.transaction():
                    tell(value(connection, f"SELECT count(*) + {N} FROM psycopg_{N} WHERE n <> %s", number))
                    try:
                        with connection.transaction():
                            connection.execute(f"DELETE FROM psycopg_{N} WHERE n = %s".encode(), (number,))
                            connection.execute("SELECT 1/0")
                    except psycopg.Error as error:
                        tell_error(error)
                connection.commit()
        with chapter("a failed transaction"):
            try:
                connection.execute("SELECT nothing")
            except psycopg.Error as error:
                tell_error(error)
            try:
                connection.execute("SELECT 1")
            except psycopg.Error as error:
                tell_error(error)
            connection.rollback()
            tell(value(connection, "SELECT %s", N))
            connection.rollback()
        with chapter("how transactions begin"):
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            connection.read_only = True
            tell(
                value(connection, "SHOW transaction_isolation"),
                value(connection, "SHOW transaction_read_only"),
            )
            connection.commit()


def pipelines(connection: Connection) -> None:
    with chapter("a pipeline"):
        for _ in range(3):
            with connection.pipeline():
                cursors = [connection.execute(f"SELECT {N} + %s", (number,)) for number in range(8)]
                tell([cursor.fetchone() for cursor in cursors])
                cursors = [
                    connection.execute(f"SELECT {-N} + %s", (number,), prepare=True) for number in range(8)
                ]
            tell([cursor.fetchone() for cursor in cursors])
    with chapter("a pipeline with syncs and an error"):
        try:
            with connection.pipeline() as pipeline:
                first = connection.execute("SELECT %s", (N,), prepare=True)
                pipeline.sync()
                tell(first.fetchone())
                connection.execute("SELECT 1 / %s", (0,), prepare=True)
                connection.execute("SELECT %s", (N,), prepare=True)
                pipeline.sync()
        except psycopg.Error as error:
            tell_error(error)
        tell(
            value(connection, "SELECT %s", N, prepare=True),
            value(connection, "SELECT 7 / %s", 1, prepare=True),
        )
    with chapter("a pipeline of transactions"):
        with connection.pipeline():
            for number in range(5):
                with connection.transaction():
                    tell(value(connection, f"SELECT {N} - %s", number, prepare=True))


def copies(connection: Connection) -> None:
    with chapter("COPY"):
        cursor = connection.cursor()
        connection.execute(f"TRUNCATE psycopg_{N}".encode())
        with cursor.copy(f"COPY psycopg_{N} FROM STDIN".encode()) as copy:
            for number in range(3000):
                copy.write_row((number, f"{N}:" + "x" * (number % 90)))
        tell(cursor.rowcount, value(connection, f"SELECT sum(length(t)) FROM psycopg_{N}"))
        with cursor.copy(f"COPY psycopg_{N} TO STDOUT (FORMAT binary)".encode()) as copy:
            copy.set_types(["int4", "text"])
            tell(sum(len(row[1]) for row in copy.rows()))
        with cursor.copy(
            f"COPY (SELECT n, t FROM psycopg_{N} WHERE n < %s) TO STDOUT".encode(), (5,)
        ) as copy:
            tell([bytes(block) for block in copy])
    with chapter("a COPY that fails"):
        try:
            with cursor.copy(f"COPY psycopg_{N} FROM STDIN".encode()) as copy:
                copy.write("no number\tx\n")
        except psycopg.Error as error:
            tell_error(error)
        try:
            with cursor.copy(f"COPY psycopg_{N} FROM STDIN".encode()) as copy:
                copy.write_row((1, "x"))
                raise KeyError("given up")
        except KeyError as error:
            tell_error(error)
        tell(value(connection, f"SELECT count(*) FROM psycopg_{N}"))


def cursors(connection: Connection) -> None:
    with chapter("a server-side cursor"), connection.transaction():
        with connection.cursor("mine", scrollable=True) as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT generate_series(1, %s)", (20 * N,))
            tell(cursor.fetchmany(3), cursor.fetchone())
            cursor.scroll(-2)
            tell(cursor.fetchone(), sum(row[0] for row in cursor))
    with chapter("a cursor WITH HOLD"):
        with connection.cursor("mine", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, %s)", (20 * N,))
            for _ in range(4):
                tell(cursor.fetchmany(3), value(connection, "SELECT %s", N))
        tell(value(connection, "SELECT count(*) FROM pg_cursors"))
    with chapter("a cursor read as a stream"):
        tell(sum(row[0] for row in connection.cursor().stream("SELECT generate_series(1, %s)", (500 * N,))))


def state(connection: Connection) -> None:
    with chapter("settings"):
        connection.execute(f"SET TimeZone TO 'Etc/GMT+{N}'".encode())
        connection.execute(f"SELECT set_config('work_mem', '{N}MB', false)".encode())
        for _ in range(4):
            tell(connection.info.timezone, value(connection, "SELECT '2020-01-01 00:00+0'::timestamptz"))
            tell(value(connection, "SHOW work_mem"), connection.info.parameter_status("TimeZone"))
        connection.execute("RESET ALL")
        tell(value(connection, "SHOW work_mem"), connection.info.parameter_status("TimeZone"))
    with chapter("types of one's own"):
        for sql in (
            f"DROP TYPE IF EXISTS psycopg_pair_{N}, psycopg_mood_{N}",
            f"CREATE TYPE psycopg_pair_{N} AS (a int, b text)",
            f"CREATE TYPE psycopg_mood_{N} AS ENUM ('calm', 'client {N}')",
        ):
            connection.execute(sql.encode())
        pair = CompositeInfo.fetch(connection, f"psycopg_pair_{N}")
        mood = EnumInfo.fetch(connection, f"psycopg_mood_{N}")
        assert pair is not None
        assert mood is not None
        register_composite(pair, connection)
        tell(mood.labels, value(connection, f"SELECT (1, 'x{N}')::psycopg_pair_{N}"))
    with chapter("a temporary table"):
        connection.execute("CREATE TEMP TABLE mine (n int)")
        for number in range(7):
            connection.execute("INSERT INTO mine VALUES (%s)", (number * N,))
            tell(value(connection, "SELECT sum(n) FROM mine"))
        connection.execute("DROP TABLE mine")
    with chapter("an advisory lock"):
        tell(value(connection, "SELECT pg_try_advisory_lock(%s)", 7000 + N))
        tell(
            value(
                connection,
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            )
        )
        tell(value(connection, "SELECT pg_advisory_unlock(%s)", 7000 + N))
    with chapter("notices"):
        connection.add_notice_handler(lambda notice: tell(notice.severity, notice.message_primary))
        connection.execute(f"DO $$BEGIN RAISE NOTICE 'of {N}'; END$$".encode())


def notifications(connection: Connection) -> None:
    with chapter("notifications"):
        connection.execute(f"LISTEN psycopg_{N}".encode())
        with connect() as other:
            for number in range(3):
                other.execute("SELECT pg_notify(%s, %s)", (f"psycopg_{N}", f"{number} of {N}"))
            for notify in connection.notifies(timeout=20, stop_after=3):
                tell(notify.channel, notify.payload, notify.pid > 0)
            with connection.transaction():
                connection.execute(f"NOTIFY psycopg_{N}, 'to myself'".encode())
            for notify in connection.notifies(timeout=20, stop_after=1):
                tell(notify.channel, notify.payload)
        connection.execute("UNLISTEN *")


def cancels(connection: Connection) -> None:
    with chapter("a cancelled query"):
        for cancel in (connection.cancel, connection.cancel_safe):
            timer = threading.Timer(0.3, cancel)
            timer.start()
            try:
                connection.execute("SELECT pg_sleep(60)")
            except psycopg.Error as error:
                tell_error(error)
            timer.join()
            tell(value(connection, "SELECT %s", N))


with connect() as connection:
    prepared(connection)
    transactions()
    pipelines(connection)
    copies(connection)
    cursors(connection)
    state(connection)
    notifications(connection)
    cancels(connection)
    connection.execute(f"DROP TABLE psycopg_{N}".encode())
end()
