"""lastval() and currval(): the client's own last value, or PostgreSQL's word that there is none; nobody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.inside import Inside
from tests.servers import Pgmux, Postgres, wait_until

Connection = psycopg.Connection[Any]

INSERT = "INSERT INTO numbered (n) VALUES (1) RETURNING id"
PLAIN = "INSERT INTO plain (n) VALUES (1)"
LASTVAL = "SELECT lastval()"
CURRVAL = "SELECT currval('numbered_id_seq')"


@pytest.fixture(autouse=True)
def tables(postgres: Postgres) -> Iterator[None]:
    for text in (
        "CREATE TABLE numbered (id serial, n int)",
        "CREATE TABLE plain (n int)",
        "CREATE FUNCTION advance() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('numbered_id_seq')$$",
    ):
        postgres.sql(text, "app", "app")
    yield
    postgres.sql("DROP TABLE numbered, plain CASCADE", "app", "app")
    postgres.sql("DROP FUNCTION advance()", "app", "app")


def value(client: Connection, text: str, **how: Any) -> int | None:
    """The one value of a text; None where PostgreSQL says that there is none in this session."""
    try:
        row = client.execute(text.encode(), **how).fetchone()
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return None
    return None if row is None else int(row[0])


def ask_once(pgmux: Pgmux) -> None:
    """A client asks: from now on it is known that clients of the pool do."""
    with pgmux.connect() as client:
        value(client, LASTVAL)
    pgmux.wait_for_log(r"ask for lastval\(\) or currval\(\)")


def test_who_is_alone_is_told_from_the_first_time_on(make_pgmux: MakePgmux) -> None:
    with make_pgmux(workers=1).connect() as client:
        assert value(client, LASTVAL) is None
        made = value(client, INSERT)
        assert value(client, LASTVAL) == value(client, CURRVAL) == made


def test_nobody_is_told_anothers_value(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with pgmux.connect() as one, pgmux.connect() as other:
        value(one, INSERT)
        for question in (LASTVAL, CURRVAL):
            assert value(other, question) is None
        other.execute(PLAIN)
        assert value(other, LASTVAL) is None
        with other.transaction():
            other.execute(PLAIN)
            assert value(other, LASTVAL) is None


@pytest.mark.parametrize("question", [LASTVAL, CURRVAL])
@pytest.mark.parametrize("prepare", [False, True])
def test_in_the_transaction_of_the_insert_it_is_told_the_first_time_too(
    make_pgmux: MakePgmux, question: str, prepare: bool
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with pgmux.connect() as one, pgmux.connect() as other:
        for client in (one, other):
            with client.transaction():
                made = value(client, INSERT, prepare=prepare)
                assert value(client, question, prepare=prepare) == made


@pytest.mark.parametrize("question", [LASTVAL, CURRVAL])
@pytest.mark.parametrize("prepare", [False, True])
def test_in_the_next_transaction_it_is_told_where_others_want_the_backend_too(
    make_pgmux: MakePgmux, question: str, prepare: bool
) -> None:
    pgmux = make_pgmux(
        workers=2,
        default_pool_size=2,
        min_pool_size=2,
        max_pinned_percent=100,
        roam=True,
        last_value_reserve="1min",
    )
    ask_once(pgmux)
    with pgmux.connect() as one, pgmux.connect() as other:
        for _ in range(5):
            made = value(one, INSERT, prepare=prepare)
            value(other, INSERT, prepare=prepare)
            assert value(one, question, prepare=prepare) == made
            assert value(one, question, prepare=prepare) == made


def test_why_a_backend_is_kept_is_shown(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, last_value_reserve="1min")
    ask_once(pgmux)
    with pgmux.connect() as client:
        value(client, INSERT)
        assert "last value of a sequence" in pgmux.ctl("show", "pins")
    wait_until(lambda: "last value" not in pgmux.ctl("show", "pins"), what="the backend to be free again")


def test_who_does_not_ask_is_not_waited_for_again(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, last_value_reserve="50ms")
    ask_once(pgmux)
    with pgmux.connect() as one, pgmux.connect() as other:
        value(one, INSERT)
        assert value(other, "SELECT 1") == 1  # it has waited until one's reservation was over
        before = Inside(pgmux).counts("pins")
        value(one, INSERT)
        assert value(other, "SELECT 1") == 1
        assert Inside(pgmux).counts("pins") == before


@pytest.mark.parametrize("settings", [{"on_pin": "reject"}, {"last_value_reserve": 0}], ids=str)
def test_where_nothing_may_be_kept_the_answer_is_honest(
    make_pgmux: MakePgmux, settings: dict[str, Any]
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, **settings)
    ask_once(pgmux)
    with pgmux.connect() as one, pgmux.connect() as other:
        for _ in range(3):
            value(one, INSERT)
            value(other, INSERT)
            assert value(one, LASTVAL) is None


def test_an_older_value_is_not_told_for_the_last(make_pgmux: MakePgmux) -> None:
    """What a function advances is not seen: on the backend that it was not called on the value before is left."""
    pgmux = make_pgmux(workers=1, default_pool_size=2, min_pool_size=2, on_pin="reject", roam=True)
    with pgmux.connect() as client:
        ask_once(pgmux)
        value(client, INSERT)
        last = value(client, "SELECT advance()")  # perhaps on the other backend
        value(client, "SELECT 1")
        assert value(client, LASTVAL) in (None, last)


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_is_told_its_own_or_nothing(make_pgmux: MakePgmux, seed: int) -> None:
    """Against a model: what a session took last, from all texts that it ran."""
    pgmux = make_pgmux(
        workers=2, default_pool_size=3, min_pool_size=3, roam=bool(seed % 2), last_value_reserve="5ms"
    )
    chance = random.Random(seed)
    with ExitStack() as stack:
        clients = [stack.enter_context(pgmux.connect()) for _ in range(6)]
        last: dict[Connection, int | None] = dict.fromkeys(clients)
        answers = 0
        for _ in range(400):
            client = chance.choice(clients)
            prepare = chance.random() < 0.5
            with client.transaction() if chance.random() < 0.3 else ExitStack():
                for _ in range(chance.randint(1, 3)):
                    text = chance.choice([INSERT, INSERT, PLAIN, LASTVAL, LASTVAL, CURRVAL, "SELECT 1"])
                    if text == INSERT:
                        last[client] = value(client, text, prepare=prepare)
                    elif text in (LASTVAL, CURRVAL):
                        told = value(client, text, prepare=prepare)
                        assert told in (None, last[client])
                        answers += told is not None
                        if told is None:
                            break  # where there is a transaction, it has failed
                    else:
                        client.execute(text.encode(), prepare=prepare)
        assert answers
