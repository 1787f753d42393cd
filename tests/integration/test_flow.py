"""Bytes pass as they are: every conversation with pgmux is the one that PostgreSQL itself would have had."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, BinaryIO, LiteralString

import asyncpg
import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.conversations import CONVERSATIONS, LARGE, TABLE, Turn, hold
from tests.integration.crowd import connect
from tests.integration.footprint import Footprint
from tests.integration.inside import Inside
from tests.integration.routes import by_tcp
from tests.servers import Postgres, Proxy, wait_until
from tests.wire import Wire, frontend

MB = 1_000_000


# The same as PostgreSQL, to the byte


@pytest.fixture
def table(any_postgres: Postgres) -> None:
    any_postgres.sql(TABLE, "app", "app")


def assert_same(conversations: dict[str, list[Turn]], direct: Wire, pooled: Wire) -> None:
    """Holds each conversation with PostgreSQL, then with pgmux, and compares what they said."""
    for title, turns in conversations.items():
        expected = hold(direct, turns)
        assert hold(pooled, turns) == expected, title


@pytest.mark.usefixtures("table")
def test_every_conversation_is_the_same_as_with_postgresql(
    make_pgmux: MakePgmux, any_postgres: Postgres
) -> None:
    pgmux = make_pgmux(postgres=any_postgres, workers=2, default_pool_size=2)
    with connect(any_postgres) as direct, connect(pgmux) as pooled:
        assert_same(CONVERSATIONS | LARGE, direct, pooled)


@pytest.mark.usefixtures("table")
def test_it_is_the_same_when_another_client_has_every_second_turn(
    make_pgmux: MakePgmux, any_postgres: Postgres
) -> None:
    """One backend for two clients: what one leaves behind would show in the other's replies."""
    pgmux = make_pgmux(postgres=any_postgres, workers=2, default_pool_size=1)
    with connect(any_postgres) as direct, connect(pgmux) as one, connect(pgmux) as other:
        for title, turns in CONVERSATIONS.items():
            expected = hold(direct, turns)
            assert hold(one, turns) == expected, title
            assert hold(other, turns) == expected, title


@pytest.mark.parametrize(
    ("piece_bytes", "gap_s"), [(1, 0.0), (7, 0.0), (random.Random(1).randint(8, 60), 0.001)]
)
def test_it_is_the_same_however_the_clients_bytes_are_split(
    make_pgmux: MakePgmux, postgres: Postgres, piece_bytes: int, gap_s: float
) -> None:
    postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(workers=1)
    with Proxy(pgmux.host, pgmux.port) as proxy, connect(postgres) as direct:
        proxy.to_server.piece_gap_s = proxy.to_client.piece_gap_s = gap_s
        proxy.split(piece_bytes)
        with Wire(proxy.host, proxy.port) as pooled:
            pooled.startup()
            assert_same(CONVERSATIONS, direct, pooled)


@pytest.mark.parametrize("piece_bytes", [1, 6, 11])
def test_it_is_the_same_however_the_backends_bytes_are_split(
    make_pgmux: MakePgmux, postgres: Postgres, piece_bytes: int
) -> None:
    postgres.sql(TABLE, "app", "app")
    with Proxy(postgres.host, postgres.port) as proxy:
        proxy.to_server.piece_gap_s = proxy.to_client.piece_gap_s = 0.0
        proxy.split(piece_bytes)
        pgmux = make_pgmux(workers=1, databases={"*": by_tcp(proxy)})
        with connect(postgres) as direct, connect(pgmux) as pooled:
            assert_same(CONVERSATIONS, direct, pooled)
        pgmux.close()


@pytest.mark.parametrize("piece_bytes", [997, 4099, 65_537])
def test_long_messages_are_the_same_however_either_sides_bytes_are_split(
    make_pgmux: MakePgmux, postgres: Postgres, piece_bytes: int
) -> None:
    """Headers and ends of messages fall anywhere in a piece, and pieces anywhere in the shared buffers."""
    with Proxy(postgres.host, postgres.port) as near_server:
        pgmux = make_pgmux(workers=1, databases={"*": by_tcp(near_server)})
        with Proxy(pgmux.host, pgmux.port) as near_client, connect(postgres) as direct:
            for proxy in (near_server, near_client):
                proxy.to_server.piece_gap_s = proxy.to_client.piece_gap_s = 0.0
                proxy.split(piece_bytes)
            with Wire(near_client.host, near_client.port) as pooled:
                pooled.startup()
                assert_same(LARGE, direct, pooled)
        pgmux.close()


# The drivers


def test_psycopg_pipelines(make_pgmux: MakePgmux, any_postgres: Postgres) -> None:
    pgmux = make_pgmux(postgres=any_postgres, workers=2, default_pool_size=2)
    with pgmux.connect(prepare_threshold=None) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int * 2", [n]) for n in range(100)]
        assert [cursor.fetchone() for cursor in cursors] == [(2 * n,) for n in range(100)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            send_at_once(connection, "SELECT 1", "SELECT 1/0", "SELECT 2")
        with connection.transaction(), connection.pipeline():
            ours = [connection.execute("SELECT pg_backend_pid()") for _ in range(20)]
        assert len({cursor.fetchone() for cursor in ours}) == 1
        assert connection.execute("SELECT 3").fetchone() == (3,)


def send_at_once(connection: psycopg.Connection[Any], *queries: LiteralString) -> None:
    with connection.pipeline() as pipeline:
        for query in queries:
            connection.execute(query)
        pipeline.sync()


def test_psycopg_copies(make_pgmux: MakePgmux, any_postgres: Postgres) -> None:
    any_postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(postgres=any_postgres, workers=2, default_pool_size=1)
    with pgmux.connect() as connection:
        cursor = connection.cursor()
        with cursor.copy("COPY conversation FROM STDIN") as copy:
            for n in range(10_000):
                copy.write_row((n, f"row {n}"))
        with cursor.copy("COPY conversation TO STDOUT") as copy:
            assert [n for n, _ in (map(str, row) for row in copy.rows())] == [str(n) for n in range(10_000)]
        with (
            pytest.raises(psycopg.errors.BadCopyFileFormat),
            cursor.copy("COPY conversation FROM STDIN") as copy,
        ):
            copy.write("1\n")
        with pytest.raises(ZeroDivisionError), cursor.copy("COPY conversation FROM STDIN") as copy:
            copy.write_row((1, 1 // 0))
        assert connection.execute("SELECT count(*) FROM conversation").fetchone() == (10_000,)
        connection.execute("TRUNCATE conversation")


async def truncate_and_fail(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("TRUNCATE conversation")
        await connection.fetchval("SELECT 1/$1::int", 0)


def test_asyncpg(make_pgmux: MakePgmux, any_postgres: Postgres) -> None:
    any_postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(postgres=any_postgres, workers=2, default_pool_size=2)

    async def use() -> None:
        connection = await asyncpg.connect(pgmux.connect_url(), statement_cache_size=0)
        async with connection.transaction():
            assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
            await connection.executemany(
                "INSERT INTO conversation VALUES ($1, $2)", [(n, "x") for n in range(99)]
            )
            await connection.copy_records_to_table("conversation", records=[(n, "y") for n in range(901)])
            assert await connection.fetchval("SELECT count(*) FROM conversation") == 1000
            numbers = [row["n"] async for row in connection.cursor("SELECT n FROM conversation", prefetch=10)]
            assert len(numbers) == 1000
        with pytest.raises(asyncpg.DivisionByZeroError):
            await truncate_and_fail(connection)
        assert await connection.fetch("SELECT count(*) FROM conversation") == [(1000,)]
        assert await connection.execute("TRUNCATE conversation") == "TRUNCATE TABLE"
        await connection.close()

    asyncio.run(use())


# Streams


def skim(stream: BinaryIO) -> dict[bytes, int]:
    """Reads messages to the next ReadyForQuery; the bytes of each type's bodies."""
    sizes: dict[bytes, int] = {}
    while True:
        header = stream.read(5)
        kind, size = header[:1], int.from_bytes(header[1:]) - 4
        sizes[kind] = sizes.get(kind, 0) + size
        while size:
            size -= len(stream.read(min(size, MB)))
        if kind == b"Z":
            return sizes


STREAMS = {
    "rows of a megabyte": ("SELECT repeat('x', 1000000) FROM generate_series(1, {mb})", b"D"),
    "short rows": ("SELECT repeat('x', 990) FROM generate_series(1, {mb} * 1000)", b"D"),
    "COPY": ("COPY (SELECT repeat('x', 9999) FROM generate_series(1, {mb} * 100)) TO STDOUT", b"d"),
}


@pytest.mark.parametrize("megabytes", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", STREAMS)
def test_a_large_result_does_not_grow_the_worker(
    make_pgmux: MakePgmux, postgres: Postgres, what: str, megabytes: int
) -> None:
    sql, kind = STREAMS[what]
    pgmux = make_pgmux(workers=1)
    with connect(pgmux) as wire, wire.socket.makefile("rb") as stream:
        wire.query(sql.format(mb=1))
        with Footprint(pgmux.worker_pids()[0]) as footprint:
            wire.send(frontend.query(sql.format(mb=megabytes)))
            sizes = skim(stream)
        assert 0.99 * megabytes * MB < sizes[kind] < 1.1 * megabytes * MB
        assert footprint.samples > 10
        assert footprint.growth_bytes < 8 * MB


def test_one_message_of_100_megabytes_does_not_grow_the_worker(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1)
    with connect(pgmux) as wire, wire.socket.makefile("rb") as stream:
        wire.query("SELECT 1")
        with Footprint(pgmux.worker_pids()[0]) as footprint:
            wire.socket.sendall(frontend.extended("SELECT $1", [b"x" * 100 * MB]))
            sizes = skim(stream)
        assert sizes[b"D"] == 100 * MB + 6
        assert footprint.growth_bytes < 8 * MB


def test_a_copy_of_200_megabytes_into_a_table_does_not_grow_the_worker(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1)
    postgres.sql("CREATE UNLOGGED TABLE ballast (t text)", "app", "app")
    line = frontend.copy_data(b"x" * 9999 + b"\n")
    with connect(pgmux) as wire:
        wire.query("SELECT 1")
        with Footprint(pgmux.worker_pids()[0]) as footprint:
            wire.send(frontend.query("COPY ballast FROM STDIN"))
            wire.read_until(b"G")
            for _ in range(200):
                wire.socket.sendall(line * 100)
            wire.send(frontend.copy_done())
            assert wire.read_until(b"Z").tags == ["COPY 20000"]
        assert footprint.growth_bytes < 8 * MB
    postgres.sql("DROP TABLE ballast", "app", "app")


def test_a_client_that_does_not_read_holds_up_nobody_and_no_memory(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    with connect(pgmux) as slow, connect(pgmux) as other, slow.socket.makefile("rb") as stream:
        other.query("SELECT 1")
        with Footprint(pgmux.worker_pids()[0]) as footprint:
            slow.send(frontend.query("SELECT repeat('x', 1000000) FROM generate_series(1, 50)"))
            wait_until(lambda: is_blocked_in_a_write(postgres), what="PostgreSQL to feel the back-pressure")
            for n in range(1000):
                assert other.query(f"SELECT {n}").value == b"%d" % n
            assert is_blocked_in_a_write(postgres)
            assert skim(stream)[b"D"] == 50 * (MB + 6)
        assert footprint.growth_bytes < 8 * MB
        assert slow.query("SELECT 'and on'").value == b"and on"


def test_a_client_that_only_sends_does_not_grow_the_worker(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """Queries without end whose answers nobody reads: both directions stand still, and nothing else does."""
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    question = frontend.query("SELECT repeat('x', 1000)") * 100
    with connect(pgmux) as greedy, connect(pgmux) as other:
        other.query("SELECT 1")
        greedy.socket.settimeout(0.5)
        with Footprint(pgmux.worker_pids()[0]) as footprint, pytest.raises(TimeoutError):
            greedy.socket.sendall(question * 10_000)
        assert other.query("SELECT 2").value == b"2"
        assert footprint.growth_bytes < 8 * MB


def is_blocked_in_a_write(postgres: Postgres) -> bool:
    return bool(postgres.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"))


# Halves


HALVES: dict[str, Callable[[bytes], int]] = {
    "of a type": lambda message: 1,
    "of a length": lambda message: 3,
    "of a header": lambda message: 5,
    "of a body": lambda message: len(message) // 2,
    "all but the last byte": lambda message: len(message) - 1,
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_message_holds_up_nobody_else(make_pgmux: MakePgmux, postgres: Postgres, half: str) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    message = frontend.query("SELECT 'the whole'")
    cut = HALVES[half](message)
    with connect(pgmux) as slow, connect(pgmux) as other:
        slow.send(message[:cut])
        for n in range(20):
            assert other.query(f"SELECT {n}").value == b"%d" % n
        slow.send(message[cut:])
        assert slow.read_until(b"Z").value == b"the whole"


def test_a_client_that_goes_after_half_a_message_leaves_no_trace(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    message = frontend.query("SELECT 'half'")
    for cut in range(1, len(message)):
        with connect(pgmux) as rude:
            rude.send(message[:cut])
        with connect(pgmux) as next_one:
            assert next_one.query("SELECT 'mine'").value == b"mine"
    wait_until(lambda: Inside(pgmux).clients() == 0, what="the end of all clients")


def test_a_malformed_message_ends_its_sender_alone(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    with connect(pgmux) as other:
        for wrong in (
            b"?\0\0\0\4",
            frontend.message(b"Q", b"x\0", length=3),
            frontend.message(b"Q", length=-1),
        ):
            for before in (b"", frontend.query("BEGIN")):
                with connect(pgmux) as rude:
                    rude.socket.sendall(before + wrong)
                    assert rude.read_to_the_end().of(b"E")[-1]["C"] == "08P01"
                assert other.query("SELECT 1").value == b"1"
