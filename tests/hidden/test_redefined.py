"""A table is another one than when a statement was prepared: who prepares it now is told of the new one.

Backends still have what was prepared under the same text before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fix_pgmux import MakePgmux
from tests.hidden.conversations import drop, run
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres
from tests.wire import Message
from tests.wire.frontend import bind, describe_portal, describe_statement, execute, parse, query, sync

BACKENDS = 2
WRITE = "INSERT INTO redefined VALUES ($1)"
READ = "SELECT * FROM redefined"
INT, TEXT = 23, 25


@pytest.fixture
def pgmux(make_pgmux: MakePgmux) -> Pgmux:
    return make_pgmux(workers=2, roam=True, default_pool_size=BACKENDS, min_pool_size=BACKENDS)


@pytest.fixture(autouse=True)
def table(postgres: Postgres) -> Iterator[None]:
    postgres.sql("CREATE TABLE redefined (a int)", "app", "app")
    yield
    postgres.sql("DROP TABLE redefined", "app", "app")


def prepared(sql: str) -> bytes:
    return parse(sql, "s") + describe_statement("s") + sync()


def types_of(said: list[Message]) -> list[int]:
    """The types of a statement's parameters."""
    [types] = [message["types"] for message in said if message.type == b"t"]
    return list(types)


def test_who_prepares_after_a_table_was_made_anew_is_told_its_types(pgmux: Pgmux) -> None:
    with connect(pgmux) as one, connect(pgmux) as other:
        for client in (one, other):
            for _ in range(BACKENDS):
                assert types_of(client.ask(prepared(WRITE))) == [INT]
                client.ask(drop("s"))
        one.ask(query("DROP TABLE redefined"))
        one.ask(query("CREATE TABLE redefined (a text)"))
        for client in (one, other):
            for _ in range(2 * BACKENDS):
                assert types_of(client.ask(prepared(WRITE))) == [TEXT]
                client.ask(drop("s"))


def test_who_prepares_in_a_transaction_does_not_meet_what_was_prepared_before(pgmux: Pgmux) -> None:
    with connect(pgmux) as one, connect(pgmux) as other:
        one.ask(prepared(READ))
        for _ in range(2 * BACKENDS):
            one.ask(run("s"))
        one.ask(query("ALTER TABLE redefined ADD b int"))
        for _ in range(BACKENDS):
            other.ask(query("BEGIN"))
            other.ask(prepared(READ))
            assert other.ask(run("s")).errors == []
            other.ask(drop("s"))
            other.ask(query("COMMIT"))


def test_who_alters_and_prepares_in_one_transaction_sees_its_own_change(pgmux: Pgmux) -> None:
    with connect(pgmux) as client:
        client.ask(prepared(READ))
        for _ in range(2 * BACKENDS):
            client.ask(run("s"))
        client.ask(query("BEGIN"))
        client.ask(query("ALTER TABLE redefined ADD b int"))
        client.ask(parse(READ, "t") + sync())
        assert client.ask(run("t")).errors == []
        client.ask(query("ROLLBACK"))
        client.ask(parse(READ, "u") + sync())
        assert client.ask(run("u")).errors == []


def test_who_prepared_before_is_told_of_the_change_on_a_backend_that_had_it_not(
    pgmux: Pgmux, postgres: Postgres
) -> None:
    with connect(pgmux) as client:
        client.ask(prepared(READ))  # on one backend; the next transaction is on the other
        postgres.sql("ALTER TABLE redefined ALTER a TYPE text", "app", "app")
        assert client.ask(bind((), "s") + execute() + sync()).sqlstate == "0A000"


def rows_of(said: list[Message]) -> list[list[bytes | None]]:
    return [message["values"] for message in said if message.type == b"D"]


def undescribed(name: str = "s") -> bytes:
    """Executes a statement as a client does that knows its columns: pgjdbc, asyncpg."""
    return bind((), name) + execute() + sync()


def test_who_knows_the_columns_is_served_where_they_are_as_it_knows_them(
    pgmux: Pgmux, postgres: Postgres
) -> None:
    with connect(pgmux) as client:
        postgres.sql("INSERT INTO redefined VALUES (7)", "app", "app")
        client.ask(prepared(READ))
        for _ in range(3 * BACKENDS):
            assert [m.type for m in client.ask(undescribed())] == [b"2", b"D", b"C", b"Z"]


def test_who_knows_the_new_columns_never_hears_of_the_change(pgmux: Pgmux, postgres: Postgres) -> None:
    """What the backends have was prepared for another client, before the change."""
    with connect(pgmux) as one, connect(pgmux) as other:
        one.ask(prepared(READ))
        for _ in range(2 * BACKENDS):
            one.ask(undescribed())
        postgres.sql("ALTER TABLE redefined ADD b int; INSERT INTO redefined VALUES (1, 2)", "app", "app")
        assert other.ask(prepared(READ)).errors == []
        for _ in range(2 * BACKENDS):
            assert rows_of(other.ask(undescribed())) == [[b"1", b"2"]]
        assert one.ask(undescribed()).sqlstate == "0A000"


def test_the_transaction_fails_as_with_postgresql_and_nothing_of_it_is_done(
    pgmux: Pgmux, postgres: Postgres
) -> None:
    with connect(pgmux) as client:
        client.ask(prepared(READ))
        client.ask(parse("INSERT INTO redefined (a) VALUES (5)", "i") + sync())
        postgres.sql("ALTER TABLE redefined ALTER a TYPE bigint", "app", "app")
        client.ask(query("BEGIN"))
        told = client.ask(bind((), "i") + execute() + bind((), "s") + execute() + sync())
        assert (told.sqlstate, told[-1]["status"]) == ("0A000", "E")
        assert client.ask(undescribed("i")).sqlstate == "25P02"
        client.ask(query("ROLLBACK"))
        assert postgres.sql("SELECT count(*) FROM redefined", "app", "app") == [(0,)]


def test_a_segment_outside_a_transaction_fails_whole(pgmux: Pgmux, postgres: Postgres) -> None:
    with connect(pgmux) as client:
        client.ask(prepared(READ))
        client.ask(parse("INSERT INTO redefined (a) VALUES (5)", "i") + sync())
        postgres.sql("ALTER TABLE redefined ALTER a TYPE bigint", "app", "app")
        told = client.ask(bind((), "i") + execute() + bind((), "s") + execute() + sync())
        assert told.sqlstate == "0A000"
        assert postgres.sql("SELECT count(*) FROM redefined", "app", "app") == [(0,)]


def test_a_pipeline_keeps_its_order_while_columns_are_asked_for(pgmux: Pgmux, postgres: Postgres) -> None:
    postgres.sql("INSERT INTO redefined VALUES (7)", "app", "app")
    with connect(pgmux) as client:
        client.ask(prepared(READ))
        for _ in range(BACKENDS):  # on each backend
            client.send(query("SELECT 'first'") + undescribed() + undescribed() + query("SELECT 'last'"))
            rows = [rows_of(client.read_until(b"Z")) for _ in range(4)]
            assert rows == [[[b"first"]], [[b"7"]], [[b"7"]], [[b"last"]]]
        assert client.ask(query("SELECT 1")).errors == []


def test_who_learned_the_columns_from_a_portal_is_told_as_well(pgmux: Pgmux, postgres: Postgres) -> None:
    with connect(pgmux) as client:
        client.ask(parse(READ, "s") + bind((), "s") + describe_portal() + execute() + sync())
        postgres.sql("ALTER TABLE redefined ALTER a TYPE text", "app", "app")
        assert client.ask(undescribed()).sqlstate == "0A000"


def test_what_a_portal_of_another_statement_tells_is_not_taken_for_it(pgmux: Pgmux) -> None:
    with connect(pgmux) as client:
        client.ask(parse(READ, "s") + bind((), "s") + execute() + sync())
        client.ask(parse("SELECT 1, 2") + bind() + describe_portal() + execute() + sync())
        for _ in range(2 * BACKENDS):
            assert client.ask(undescribed()).errors == []


def test_the_unnamed_statement_is_not_read_by_other_columns(pgmux: Pgmux, postgres: Postgres) -> None:
    with connect(pgmux) as client:
        client.ask(parse(READ) + describe_statement() + sync())
        assert client.ask(undescribed("")).errors == []
        client.ask(parse(READ) + describe_statement() + sync())
        postgres.sql("ALTER TABLE redefined ALTER a TYPE text", "app", "app")
        assert client.ask(undescribed("")).sqlstate == "0A000"


def test_who_leaves_while_columns_are_asked_for_leaves_a_clean_backend(
    pgmux: Pgmux, postgres: Postgres
) -> None:
    for _ in range(20):
        with connect(pgmux) as client:
            client.ask(prepared(READ))
            client.send(query("BEGIN") + undescribed())
        with connect(pgmux) as other:
            for _ in range(BACKENDS):
                assert other.ask(query("SELECT 1")).errors == []
    assert not pgmux.log_contains("nobody asked for")
