"""A table changes while statements that read it are prepared: each client is told what it would be told directly.

Several backends have prepared the statement, and every transaction is on another of them than the last.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.hidden.conversations import run
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres
from tests.wire import Wire
from tests.wire.frontend import (
    bind,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    parse,
    query,
    sync,
)

READ = "SELECT * FROM changing"
BACKENDS = 2  # so that each transaction is on the other one, and both have what was prepared
RUN_UNDESCRIBED = bind((), "s") + execute() + sync()
CHANGED = "cached plan must not change result type"


@pytest.fixture
def pgmux(make_pgmux: MakePgmux) -> Pgmux:
    return make_pgmux(
        workers=2, roam=True, default_pool_size=BACKENDS, min_pool_size=BACKENDS, max_backends=BACKENDS
    )


@pytest.fixture(autouse=True)
def table(postgres: Postgres) -> Iterator[None]:
    postgres.sql("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)", "app", "app")
    yield
    postgres.sql("DROP TABLE changing", "app", "app")


@pytest.fixture
def client(pgmux: Pgmux) -> Iterator[Wire]:
    """Has the statement prepared under the name s, on every backend."""
    with connect(pgmux) as client:
        client.send(parse(READ, "s") + describe_statement("s") + sync())
        client.read_until(b"Z")
        for _ in range(3 * BACKENDS):
            assert columns_of(client) == ["a"]
        yield client


def columns_of(client: Wire, request: bytes = run("s")) -> list[str]:
    client.send(request)
    replies = client.read_until(b"Z")
    assert [message for message in replies if message.type == b"E"] == []
    (description,) = (message for message in replies if message.type == b"T")
    return [column["name"] for column in description["columns"]]


def add_column(postgres: Postgres) -> None:
    postgres.sql("ALTER TABLE changing ADD b int DEFAULT 2", "app", "app")


def test_who_asks_for_the_columns_notices_nothing(client: Wire, postgres: Postgres) -> None:
    add_column(postgres)
    for _ in range(3 * BACKENDS):
        assert columns_of(client) == ["a", "b"]


def test_who_asks_for_the_columns_with_describe_notices_nothing(client: Wire, postgres: Postgres) -> None:
    add_column(postgres)
    for _ in range(3 * BACKENDS):
        assert columns_of(client, describe_statement("s") + sync()) == ["a", "b"]


def test_who_prepares_after_the_change_never_meets_what_was_before(
    client: Wire, pgmux: Pgmux, postgres: Postgres
) -> None:
    add_column(postgres)
    with connect(pgmux) as other:
        assert columns_of(other, parse(READ, "t") + describe_statement("t") + sync()) == ["a", "b"]
        for _ in range(3 * BACKENDS):
            other.send(bind((), "t") + execute() + sync())
            assert [message.type for message in other.read_until(b"Z")] == [b"2", b"D", b"C", b"Z"]


def test_who_relies_on_the_columns_of_before_is_told_as_by_postgresql(
    client: Wire, postgres: Postgres
) -> None:
    add_column(postgres)
    client.send(RUN_UNDESCRIBED)
    replies = client.read_until(b"Z")
    assert (replies.sqlstate, CHANGED in replies.error["M"]) == ("0A000", True)
    client.send(close_statement("s") + parse(READ, "s") + sync())
    client.read_until(b"Z")
    for _ in range(3 * BACKENDS):  # it is told once, and not by each backend
        assert columns_of(client) == ["a", "b"]


def test_in_a_transaction_it_is_told_as_by_postgresql(client: Wire, postgres: Postgres) -> None:
    """What was done before in it would be lost."""
    client.send(query("BEGIN"))
    client.read_until(b"Z")
    add_column(postgres)
    client.send(run("s"))
    replies = client.read_until(b"Z")
    assert replies.sqlstate == "0A000"
    assert replies[-1]["status"] == "E"
    client.send(query("ROLLBACK"))
    client.read_until(b"Z")
    assert columns_of(client) == ["a", "b"]


def test_what_was_executed_in_front_of_it_is_not_executed_twice(client: Wire, postgres: Postgres) -> None:
    client.send(parse("INSERT INTO changing VALUES (7)", "i") + sync())
    client.read_until(b"Z")
    add_column(postgres)
    client.send(
        bind((), "i") + describe_portal() + execute() + bind((), "s") + describe_portal() + execute() + sync()
    )
    assert client.read_until(b"Z").sqlstate == "0A000"
    assert postgres.sql("SELECT count(*) FROM changing WHERE a = 7", "app", "app") == [(0,)]


def test_a_pipeline_of_several_segments_keeps_its_order(client: Wire, postgres: Postgres) -> None:
    """The second is on its way when the first meets the change: it cannot be sent again in front of it."""
    add_column(postgres)
    client.send(run("s") + query("SELECT 'next'"))
    first, second = client.read_until(b"Z"), client.read_until(b"Z")
    assert b"D" in [message.type for message in first] or first.sqlstate == "0A000"
    assert [message["values"] for message in second if message.type == b"D"] == [[b"next"]]


def test_what_cannot_be_prepared_any_more_is_told_as_by_postgresql(client: Wire, postgres: Postgres) -> None:
    client.send(parse("SELECT a FROM changing", "one") + sync())
    client.read_until(b"Z")
    for _ in range(3 * BACKENDS):
        assert columns_of(client, run("one")) == ["a"]
    postgres.sql("ALTER TABLE changing ADD b int; ALTER TABLE changing DROP a", "app", "app")
    for _ in range(2):
        client.send(run("one"))
        replies = client.read_until(b"Z")
        assert replies.sqlstate == "42703"
        assert [message.type for message in replies] == [b"E", b"Z"]


def test_a_drivers_statements_live_through_a_change(pgmux: Pgmux, postgres: Postgres) -> None:
    with psycopg.connect(pgmux.connect_dsn(), autocommit=True) as connection:
        for _ in range(3 * BACKENDS):
            assert connection.execute(READ, prepare=True).fetchall() == [(1,)]
        add_column(postgres)
        for _ in range(3 * BACKENDS):
            assert connection.execute(READ, prepare=True).fetchall() == [(1, 2)]
