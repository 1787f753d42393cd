"""asyncpg with its defaults: its cache of statements, transactions, COPY, cursors, LISTEN, pool, time-outs."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import asyncpg

from tests.drivers.programs.telling import MY_PID, TARGET, N, chapter, end, seen, tell, tell_error

Connection = Any  # asyncpg has no types


async def statements(connection: Connection) -> None:
    with chapter("its cache of statements"):
        for number in range(8):
            tell(await connection.fetchval(f"SELECT {N} * 100 + $1::int", number))
            seen(await connection.fetchval(MY_PID))
            seen(await connection.fetchval(MY_PID))
    with chapter("a prepared statement"):
        statement = await connection.prepare(f"SELECT $1::int AS n, '{N}'::text AS t")
        tell(statement.get_parameters(), [attribute.name for attribute in statement.get_attributes()])
        for number in range(5):
            tell(await statement.fetchrow(number), statement.get_statusmsg())
        tell(await statement.fetchmany([(1,), (2,)]))
    with chapter("more than it keeps"):
        small = await asyncpg.connect(**TARGET, statement_cache_size=3)
        for _ in range(2):
            for number in range(7):
                tell(await small.fetchval(f"SELECT $1::int + {number * N}", number))
        await small.close()
    with chapter("without a cache"):
        small = await asyncpg.connect(**TARGET, statement_cache_size=0)
        for number in range(4):
            tell(await small.fetchval(f"SELECT $1::int + {number * N}", number))
        await small.close()
    with chapter("a statement that fails"):
        for divisor in (1, 0, 2, 0, 3):
            try:
                tell(await connection.fetchval(f"SELECT {N} * 6 / $1::int", divisor))
            except asyncpg.PostgresError as error:
                tell_error(error)
        for _ in range(2):
            try:
                await connection.fetchval("SELECT nothing FROM nowhere")
            except asyncpg.PostgresError as error:
                tell_error(error)
    with chapter("types that it has to ask for"):
        await connection.execute(
            f"DROP TYPE IF EXISTS asyncpg_pair_{N}, asyncpg_mood_{N};"
            f"CREATE TYPE asyncpg_pair_{N} AS (a int, b text);"
            f"CREATE TYPE asyncpg_mood_{N} AS ENUM ('calm', 'client {N}')"
        )
        for _ in range(3):
            tell(
                await connection.fetchrow(
                    f"SELECT (1, 'x')::asyncpg_pair_{N}, $1::asyncpg_mood_{N}[]", ["calm"]
                )
            )
        await connection.set_type_codec(
            "json", encoder=str, decoder=lambda text: f"{N}:{text}", schema="pg_catalog"
        )
        tell(await connection.fetchval("SELECT '[1]'::json"))
    with chapter("many rows of parameters"):
        await connection.execute(
            f"DROP TABLE IF EXISTS asyncpg_{N}; CREATE TABLE asyncpg_{N} (n int, t text)"
        )
        rows = [(number, f"{N}.{number}") for number in range(500)]
        await connection.executemany(f"INSERT INTO asyncpg_{N} VALUES ($1, $2)", rows)
        tell(await connection.fetchrow(f"SELECT count(*), sum(n), max(t) FROM asyncpg_{N}"))
        try:
            await connection.executemany(
                f"INSERT INTO asyncpg_{N} VALUES (6 / $1::int, $2)", [(1, "a"), (0, "b")]
            )
        except asyncpg.PostgresError as error:
            tell_error(error)
        tell(await connection.fetchval(f"SELECT count(*) FROM asyncpg_{N}"))


async def transactions(connection: Connection) -> None:
    with chapter("transactions and savepoints"):
        for number in range(6):
            async with connection.transaction(isolation="repeatable_read"):
                tell(
                    await connection.fetchval(f"SELECT count(*) + {N} FROM asyncpg_{N} WHERE n <> $1", number)
                )
                try:
                    async with connection.transaction():
                        await connection.execute(f"DELETE FROM asyncpg_{N} WHERE n = $1", number)
                        await connection.fetchval("SELECT 1 / $1::int", 0)
                except asyncpg.PostgresError as error:
                    tell_error(error)
        tell(await connection.fetchval(f"SELECT count(*) FROM asyncpg_{N}"))
    with chapter("a cursor"):
        async with connection.transaction():
            tell(
                sum(
                    [row[0] async for row in connection.cursor("SELECT generate_series(1, $1::int)", 200 * N)]
                )
            )
            cursor = await connection.cursor("SELECT generate_series(1, $1::int)", 200 * N)
            tell(await cursor.fetch(3), await cursor.forward(5), await cursor.fetchrow())
            statement = await connection.prepare(f"SELECT $1::int + {N}")
            tell([row async for row in statement.cursor(4, prefetch=1)])


async def copies(connection: Connection) -> None:
    with chapter("COPY"):
        await connection.execute(f"TRUNCATE asyncpg_{N}")
        records = [(number, f"{N}:" + "x" * (number % 90)) for number in range(3000)]
        tell(await connection.copy_records_to_table(f"asyncpg_{N}", records=records))
        for form in ("text", "csv", "binary"):
            file = io.BytesIO()
            tell(
                await connection.copy_from_table(f"asyncpg_{N}", output=file, format=form),
                len(file.getvalue()),
            )
            file.seek(0)
            tell(await connection.copy_to_table(f"asyncpg_{N}", source=file, format=form))
        file = io.BytesIO()
        tell(await connection.copy_from_query(f"SELECT n FROM asyncpg_{N} WHERE n = $1", 3, output=file))
        tell(file.getvalue())
    with chapter("a COPY that fails"):
        try:
            await connection.copy_to_table(f"asyncpg_{N}", source=io.BytesIO(b"no number\tx\n"))
        except asyncpg.PostgresError as error:
            tell_error(error)

        async def give_up() -> Any:
            yield b"1\tx\n"
            raise KeyError("given up")

        try:
            await connection.copy_to_table(f"asyncpg_{N}", source=give_up())
        except KeyError as error:
            tell_error(error)
        tell(await connection.fetchval(f"SELECT count(*) FROM asyncpg_{N}"))


async def notifications(connection: Connection) -> None:
    with chapter("LISTEN"):
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        def hear(_connection: object, pid: int, channel: str, payload: str) -> None:
            heard.put_nowait((channel, payload))

        await connection.add_listener(f"asyncpg_{N}", hear)
        other = await asyncpg.connect(**TARGET)
        for number in range(3):
            await other.execute("SELECT pg_notify($1, $2)", f"asyncpg_{N}", f"{number} of {N}")
            tell(await asyncio.wait_for(heard.get(), 20))
        async with connection.transaction():
            await connection.execute(f"NOTIFY asyncpg_{N}, 'to myself'")
        tell(await asyncio.wait_for(heard.get(), 20))
        await connection.remove_listener(f"asyncpg_{N}", hear)
        await other.close()


async def time_outs(connection: Connection) -> None:
    with chapter("a time-out cancels"):
        for _ in range(2):
            try:
                await connection.fetchval("SELECT pg_sleep(60)", timeout=0.3)
            except TimeoutError as error:
                tell_error(error)
            tell(await connection.fetchval("SELECT $1::int", N))
    with chapter("a task that is cancelled"):
        task = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.3)
        task.cancel()
        tell(await asyncio.gather(task, return_exceptions=True))
        tell(await connection.fetchval("SELECT $1::int", N))


async def pool() -> None:
    with chapter("its pool"):
        settings = {"work_mem": f"{N}MB", "application_name": f"client {N}"}
        async with asyncpg.create_pool(**TARGET, min_size=2, max_size=3, server_settings=settings) as pool:

            async def member(number: int) -> object:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(f"SET TimeZone TO 'Etc/GMT+{N}'")
                    return await connection.fetchrow(
                        "SELECT $1::int, current_setting('work_mem'), current_setting('application_name'),"
                        " current_setting('TimeZone')",
                        number,
                    )

            for row in await asyncio.gather(*(member(number) for number in range(12))):
                tell(row)
            tell(await pool.fetchval("SHOW TimeZone"), await pool.fetchval("SHOW work_mem"))


async def state(connection: Connection) -> None:
    with chapter("settings"):
        await connection.execute(f"SET TimeZone TO 'Etc/GMT+{N}'")
        for _ in range(4):
            tell(connection.get_settings().TimeZone, await connection.fetchval("SHOW TimeZone"))
        await connection.reset()
        tell(connection.get_settings().TimeZone, await connection.fetchval("SHOW TimeZone"))
    with chapter("a temporary table"):
        await connection.execute("CREATE TEMP TABLE mine (n int)")
        for number in range(4):
            await connection.execute("INSERT INTO mine VALUES ($1)", number * N)
            tell(await connection.fetchval("SELECT sum(n) FROM mine"))
        await connection.execute("DROP TABLE mine")
    with chapter("changed types"):
        await connection.reload_schema_state()
        tell(await connection.fetchval(f"SELECT {N} * 100 + $1::int", 1))


async def main() -> None:
    connection = await asyncpg.connect(**TARGET)
    await statements(connection)
    await transactions(connection)
    await copies(connection)
    await notifications(connection)
    await time_outs(connection)
    await pool()
    await state(connection)
    await connection.execute(f"DROP TABLE asyncpg_{N}")
    await connection.close()


asyncio.run(main())
end()
