"""What backends have prepared stays prepared: counted, where others alter, drop, or run code behind our back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.inside import Inside
from tests.servers import Pgmux, Postgres

Connection = psycopg.Connection[Any]

BACKENDS = 3
STATEMENTS = 10
ONE_OF: dict[str, Any] = {
    "workers": 1,
    "default_pool_size": BACKENDS,
    "min_pool_size": BACKENDS,
    "roam": True,
}


@pytest.fixture(autouse=True)
def things(postgres: Postgres) -> Iterator[None]:
    for text in (
        "CREATE PROCEDURE nothing() LANGUAGE plpgsql AS $$BEGIN END$$",
        "CREATE TABLE altered (a int)",
    ):
        postgres.sql(text, "app", "app")
    yield
    postgres.sql("DROP PROCEDURE nothing()", "app", "app")
    postgres.sql("DROP TABLE altered", "app", "app")


def run_all(client: Connection) -> None:
    """Each statement once, under a name that the client keeps."""
    for number in range(STATEMENTS):
        client.execute(f"SELECT {number}, %s::int".encode(), [1], prepare=True)


def parses(pgmux: Pgmux) -> int:
    """How many statements PostgreSQL has been made to prepare."""
    return sum(Inside(pgmux).counts("server_parses"))


def spread(pgmux: Pgmux, client: Connection) -> None:
    """Runs all until every backend has been made to prepare each."""
    all_there = parses(pgmux) + STATEMENTS * BACKENDS
    for _ in range(100):
        run_all(client)
        if parses(pgmux) >= all_there:
            break
    assert parses(pgmux) == all_there


@pytest.mark.parametrize("text", ["DO $$BEGIN END$$", "CALL nothing()"])
def test_code_behind_our_back_costs_no_statement(make_pgmux: MakePgmux, text: str) -> None:
    pgmux = make_pgmux(**ONE_OF)
    with pgmux.connect() as one, pgmux.connect() as other:
        spread(pgmux, one)
        before = parses(pgmux)
        for _ in range(2 * BACKENDS):
            other.execute(text.encode(), prepare=False)
            run_all(one)
        assert parses(pgmux) == before


@pytest.mark.parametrize(
    "texts",
    [
        ["CREATE TEMP TABLE short (a int)", "DROP TABLE short"],
        ["ALTER TABLE altered ADD b int", "ALTER TABLE altered DROP b"],
    ],
)
def test_who_has_names_keeps_its_statements_while_others_alter(
    make_pgmux: MakePgmux, texts: list[str]
) -> None:
    pgmux = make_pgmux(**ONE_OF)
    with pgmux.connect() as one, pgmux.connect() as other:
        spread(pgmux, one)
        before = parses(pgmux)
        for _ in range(5):
            with other.transaction():
                for text in texts:
                    other.execute(text.encode(), prepare=False)
            run_all(one)
        assert parses(pgmux) == before


def test_who_comes_after_a_drop_prepares_anew_and_crowds_out_nobody(make_pgmux: MakePgmux) -> None:
    """Each newcomer prepares as of the last change, once a backend; that is good for all who were there before."""
    pgmux = make_pgmux(**ONE_OF, max_prepared_statements=2 * STATEMENTS)
    with pgmux.connect() as first:
        spread(pgmux, first)
        for _ in range(4):
            with pgmux.connect() as other:
                other.execute("CREATE TEMP TABLE short (a int)")
                other.execute("DROP TABLE short")
                spread(pgmux, other)
            before = parses(pgmux)
            for _ in range(BACKENDS):
                run_all(first)
            assert parses(pgmux) == before


def test_what_code_has_prepared_reaches_nobody_else(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with pgmux.connect() as one, pgmux.connect() as other:
        one.execute("DO $$BEGIN EXECUTE 'PREPARE hidden AS SELECT 1'; END$$")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            other.execute("EXECUTE hidden")


def test_what_an_undone_change_had_prepared_is_not_used(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with pgmux.connect() as one, pgmux.connect() as other:
        read = "SELECT * FROM altered"
        assert other.execute(read, prepare=True).fetchall() == []
        with one.transaction():
            one.execute("ALTER TABLE altered ADD b int")
            assert len(one.execute(read, prepare=True).description or ()) == 2
            raise psycopg.Rollback
        assert len(other.execute(read, prepare=True).description or ()) == 1
