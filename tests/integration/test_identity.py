"""What belongs to one client never reaches another: everybody asks for what only he can have asked for.

More clients than backends, so that every backend serves another client at every turn; among them such as
leave in the middle of an answer and such as cancel, for that is when an answer might find the wrong owner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from itertools import count

import asyncpg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import Crowd, approach, connect
from tests.servers import Pgmux, Postgres
from tests.wire import Replies, Wire, frontend

BACKENDS = 3
SECONDS = [5, pytest.param(60, marks=pytest.mark.slow)]


def identity(client: int, query: int) -> str:
    return f"client-{client}-query-{query}"


def a_question(client: int, query: int) -> tuple[str, list[str]]:
    """SQL, and the values that it gives in its only column: of each client's own, in number as in text.

    Every third takes its time, so that there are always clients that wait.
    """
    mine, length = identity(client, query), 1 + (client * 7 + query) % 40
    match query % 3:
        case 0:
            return f"SELECT '{mine}'", [mine]
        case 1:
            return f"SELECT '{mine}-' || pg_sleep(0.002)", [f"{mine}-"]
        case _:
            rows = f"generate_series(1, {length})"
            return f"SELECT '{mine}-' || n FROM {rows} n", [f"{mine}-{n + 1}" for n in range(length)]


def values(replies: Replies) -> list[str]:
    assert not replies.errors, replies.errors
    return [value.decode() for (value,) in replies.rows if value is not None]


def asks_simply(client: int, wire: Wire) -> Iterator[None]:
    for query in count():
        sql, expected = a_question(client, query)
        assert values(wire.query(sql)) == expected
        yield


def asks_by_the_extended_protocol(client: int, wire: Wire) -> Iterator[None]:
    for query in count():
        mine, length = identity(client, query).encode(), b"%d" % (1 + (client + query) % 30)
        sql = "SELECT $1::text || n FROM generate_series(1, $2::int) n"
        replies = wire.ask(frontend.extended(sql, [mine, length]))
        assert values(replies) == [f"{mine.decode()}{n + 1}" for n in range(int(length))]
        yield


def asks_many_things_at_once(client: int, wire: Wire) -> Iterator[None]:
    for query in count():
        questions = [a_question(client, query + ahead) for ahead in range(5)]
        wire.send(*(frontend.query(sql) for sql, _ in questions))
        for _, expected in questions:
            assert values(wire.read_until(b"Z")) == expected
        yield


def asks_in_transactions(client: int, wire: Wire) -> Iterator[None]:
    for query in count():
        mine = identity(client, query)
        wire.query(f"BEGIN; SET LOCAL pgmux.owner = '{mine}'")
        sql, expected = a_question(client, query)
        assert values(wire.query(sql)) == expected
        assert wire.query("SELECT current_setting('pgmux.owner')").value == mine.encode()
        wire.query("ROLLBACK" if query % 2 else "COMMIT")
        yield


def asks_wrongly(client: int, wire: Wire) -> Iterator[None]:
    for query in count():
        mine = identity(client, query)
        replies = wire.ask(
            frontend.parse(f'SELECT "{mine}"'), frontend.bind(), frontend.execute(), frontend.sync()
        )
        assert mine in replies.error["M"]
        sql, expected = a_question(client, query)
        assert values(wire.query(sql)) == expected
        yield


def by_wire(pgmux: Pgmux, asks: Callable[[int, Wire], Iterator[None]]) -> Callable[[int], Iterator[None]]:
    def member(client: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            yield from asks(client, wire)

    return member


def by_psycopg(pgmux: Pgmux) -> Callable[[int], Iterator[None]]:
    def member(client: int) -> Iterator[None]:
        with pgmux.connect(prepare_threshold=None) as connection:
            for query in count():
                sql, expected = a_question(client, query)
                cursor = connection.execute(sql.encode())
                assert [value for (value,) in cursor] == expected
                mine = identity(client, query)
                assert connection.execute("SELECT %s", [mine]).fetchone() == (mine,)
                yield

    return member


def by_asyncpg(pgmux: Pgmux) -> Callable[[int], Iterator[None]]:
    async def ask(connection: asyncpg.Connection, client: int, query: int) -> None:
        sql, expected = a_question(client, query)
        async with connection.transaction():
            assert [value for (value,) in await connection.fetch(sql)] == expected
            mine = identity(client, query)
            assert await connection.fetchval("SELECT $1::text", mine) == mine

    def member(client: int) -> Iterator[None]:
        with asyncio.Runner() as runner:
            connection = runner.run(asyncpg.connect(pgmux.connect_url(), statement_cache_size=0))
            try:
                for query in count():
                    runner.run(ask(connection, client, query))
                    yield
            finally:
                connection.terminate()

    return member


def leaves_in_the_middle(pgmux: Pgmux) -> Callable[[int], Iterator[None]]:
    """A new connection for every question, most of them left before the answer is read."""

    def member(client: int) -> Iterator[None]:
        chance = random.Random(client)
        for query in count():
            with connect(pgmux) as wire:
                sql, expected = a_question(client, query)
                wire.send(frontend.query(sql))
                match chance.randrange(5):
                    case 0:
                        assert values(wire.read_until(b"Z")) == expected
                        wire.terminate()
                    case 1:
                        wire.read_message()
                    case 2:
                        wire.reset()
                    case 3:
                        wire.send(frontend.parse(f"SELECT '{identity(client, query)}'"), b"B\0\0")
            yield

    return member


def cancels(pgmux: Pgmux) -> Callable[[int], Iterator[None]]:
    """Cancels its own questions, too late for most: its answers are its own, or its own cancellation."""

    def member(client: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            for query in count():
                sql, expected = a_question(client, query)
                wire.send(frontend.query(sql))
                with approach(pgmux) as other:
                    other.send(frontend.cancel_request(wire.pid, wire.key))
                    other.read_to_the_end()
                replies = wire.read_until(b"Z")
                if replies.errors:
                    assert replies.sqlstate == "57014"
                else:
                    assert values(replies) == expected
                yield

    return member


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("workers", [2, 4])
def test_every_answer_belongs_to_who_asked(
    make_pgmux: MakePgmux, postgres: Postgres, workers: int, seconds: int
) -> None:
    pgmux = make_pgmux(workers=workers, default_pool_size=BACKENDS, log_level="info")
    lives = [
        *[by_wire(pgmux, asks_simply)] * 25,
        *[by_wire(pgmux, asks_by_the_extended_protocol)] * 25,
        *[by_wire(pgmux, asks_many_things_at_once)] * 10,
        *[by_wire(pgmux, asks_in_transactions)] * 10,
        *[by_wire(pgmux, asks_wrongly)] * 5,
        *[by_psycopg(pgmux)] * 15,
        *[by_asyncpg(pgmux)] * 10,
        *[leaves_in_the_middle(pgmux)] * 10,
    ]
    with Census(postgres) as census, Crowd(len(lives), lambda number: lives[number](number)) as crowd:
        crowd.last(seconds)
    assert census.most == BACKENDS
    assert min(crowd.rounds) > seconds
    print(f"{sum(crowd.rounds)} rounds of {len(lives)} clients")


def test_a_cancellation_hits_nobody_else(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=BACKENDS, log_level="info")
    lives = [*[cancels(pgmux)] * 6, *[by_wire(pgmux, asks_simply)] * 20]
    with Crowd(len(lives), lambda number: lives[number](number)) as crowd:
        crowd.last(4)
    assert min(crowd.rounds) > 4


def vanishes_at_once(pgmux: Pgmux) -> Callable[[int], Iterator[None]]:
    """Is gone when its short question is answered: the cancel that pgmux sends then finds nothing to do."""

    def member(client: int) -> Iterator[None]:
        while True:
            with connect(pgmux) as wire:
                wire.send(frontend.query("SELECT 1"))
                wire.reset()
            yield

    return member


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cancel_for_who_has_vanished_hits_nobody_else(
    make_pgmux: MakePgmux, postgres: Postgres, workers: int
) -> None:
    pgmux = make_pgmux(workers=workers, default_pool_size=2, log_level="info")
    lives = [*[vanishes_at_once(pgmux)] * 10, *[by_wire(pgmux, asks_many_things_at_once)] * 10]
    with Crowd(len(lives), lambda number: lives[number](number)) as crowd:
        crowd.last(4)
    assert min(crowd.rounds) > 0
