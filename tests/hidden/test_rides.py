"""Settings that ride: set in the transaction of a SELECT, in front of it, of which the client notices nothing.

Two clients have different settings and one backend, so each request of the one that follows one of the other's has
settings in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Message, Replies, Wire
from tests.wire.frontend import query

SETTINGS = {
    "application_name": ("first", "second"),
    "TimeZone": ("Asia/Tokyo", "America/Lima"),
    "statement_timeout": ("71s", "72s"),
    "search_path": ("public, one", "public, two"),
}
OBJECTS = """
    CREATE TABLE riders (a int CONSTRAINT positive CHECK (a > 0));
    INSERT INTO riders VALUES (1), (2), (3);
    CREATE TABLE kept (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION notice() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'heard'; RETURN 1; END$$;
    CREATE FUNCTION keep(a int) RETURNS int LANGUAGE sql AS $$INSERT INTO kept VALUES (a), (a); SELECT a$$;
"""
FORGET = """
    CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS
    $$BEGIN EXECUTE reverse('LLA ETACOLLAED'); RETURN 1; END$$
"""
RIDES = "SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE statement LIKE '%.set_config($1%'"
ALIKE = b"SCMPDHWtcn"  # fields of an error that say what happened, not where in PostgreSQL's source

TEXTS = [
    "SELECT 1",
    "select 1 AS a, NULL, 'text' ;",
    "SELECT",
    "SELECT * FROM riders",
    "SELECT * FROM riders WHERE false",
    "SELECT repeat('x', 100000) FROM riders",
    "SELECT notice()",
    "SELECT a / 0 FROM riders",
    "SELECT a / (a - 3) FROM riders",
    "SELECT a FROM riders FOR UPDATE",
    "SELECT nothing FROM riders",
    "SELECT oops oops oops",
    "SELECTED",
    "SELECT 1; SELECT 2",
    "SELECT ';', $$a$$",
    "SELECT $1",
    "SELECT current_query()",
    "SELECT count(*) FROM PG_CURSORS",
    "SELECT current_setting('TimeZone') = current_setting('timezone')",
    "SELECT now() = transaction_timestamp(), txid_current_if_assigned() IS NULL",
    "SELECT a INTO riders_too FROM riders",
    "SELECT keep(1)",
]


def told(replies: Replies) -> list[object]:
    """What a client was told, in order."""
    return [_told(message) for message in replies]


def _told(message: Message) -> object:
    if message.type in b"EN":
        return message.type, {name: value for name, value in message.fields.items() if name.encode() in ALIKE}
    return message.type, message.body


class Pair:
    """The two; whoever speaks, the other had the backend before."""

    def __init__(self, pgmux: Pgmux, stack: ExitStack) -> None:
        self.clients = [stack.enter_context(closing(connect(pgmux))) for _ in range(2)]
        for number, client in enumerate(self.clients):
            for name, values in SETTINGS.items():
                client.query(
                    f"SET {name} TO {values[number]}"
                    if "," in values[number]
                    else f"SET {name} TO '{values[number]}'"
                )
        wait_until(lambda: self.rides() > 0, what="settings ride, for what functions do is known")

    def ask(self, number: int, text: str) -> Replies:
        """What the one is told, after the other's turn."""
        self.clients[1 - number].query("SELECT 0")
        return self.clients[number].query(text)

    def rides(self) -> int:
        """How often settings have ridden on the backend. This, too, is a SELECT in front of which they may ride."""
        self.clients[0].query("SELECT 0")
        return int(self.clients[1].query(RIDES).value or 0)

    def setting(self, number: int, name: str) -> str:
        """What the one has set."""
        return (self.ask(number, f"SELECT current_setting('{name}')").value or b"").decode()

    def keep_their_settings(self) -> bool:
        """Whether each has its own."""
        return all(
            self.setting(number, name) == values[number]
            for name, values in SETTINGS.items()
            for number in (0, 1, 0)
        )


@pytest.fixture
def objects(postgres: Postgres) -> Iterator[None]:
    postgres.sql(OBJECTS, "app", "app")
    yield
    postgres.sql(
        "DROP FUNCTION notice, keep; DROP TABLE riders, kept; DROP TABLE IF EXISTS riders_too", "app", "app"
    )


MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(make_pgmux: MakePgmux) -> Iterator[MakePair]:
    with ExitStack() as stack:

        def make(postgres: Postgres, kept: int = 200) -> Pair:
            pgmux = make_pgmux(
                postgres=postgres,
                workers=1,
                default_pool_size=1,
                max_backends=2,
                max_prepared_statements=kept,
            )
            return Pair(pgmux, stack)

        yield make


@pytest.fixture
def pair(make_pair: MakePair, postgres: Postgres) -> Pair:
    return make_pair(postgres)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.usefixtures("objects")
def test_a_query_is_told_the_same(pair: Pair, postgres: Postgres, text: str) -> None:
    with Wire(postgres.host, postgres.port) as direct:
        direct.startup()
        expected = told(direct.query(text))
    postgres.sql("DROP TABLE IF EXISTS riders_too", "app", "app")
    assert told(pair.ask(0, text)) == expected
    assert pair.keep_their_settings()


@pytest.mark.usefixtures("objects")
def test_a_query_that_fails_takes_its_settings_with_it(pair: Pair) -> None:
    first, second = pair.clients
    for text in ("SELECT 1 / 0", "SELECT a / (a - 3) FROM riders", "SELECT keep(1)", "SELECT oops oops oops"):
        first.query("SELECT 0")
        assert second.query(text).errors
        assert first.query("SELECT current_setting('TimeZone')").value == b"Asia/Tokyo"
        assert second.query(text).errors
        assert second.query("SELECT current_setting('TimeZone')").value == b"America/Lima"
    assert pair.keep_their_settings()


def test_settings_ride_on_every_version(make_pair: MakePair, any_postgres: Postgres) -> None:
    pair = make_pair(any_postgres)
    before = pair.rides()
    assert pair.keep_their_settings()
    assert pair.rides() > before


@pytest.mark.parametrize("kept", [0, 1])
def test_settings_ride_where_hardly_a_statement_is_kept(
    make_pair: MakePair, postgres: Postgres, kept: int
) -> None:
    pair = make_pair(postgres, kept)
    assert pair.keep_their_settings()
    assert pair.ask(0, "SELECT 1 / 0").sqlstate == "22012"
    assert pair.keep_their_settings()


def test_a_timeout_that_rides_holds_for_its_query_and_no_other(
    make_pair: MakePair, any_postgres: Postgres
) -> None:
    pair = make_pair(any_postgres)
    hasty, patient = pair.clients
    hasty.query("SET statement_timeout TO '50ms'")
    patient.query("SET statement_timeout TO 0")
    for _ in range(3):
        assert hasty.query("SELECT pg_sleep(600)").sqlstate == "57014"
        assert patient.query("SELECT pg_sleep(0.2)").tags == ["SELECT 1"]
        assert hasty.query("SELECT 1").value == b"1"


def test_settings_go_back_to_those_of_the_log_in(pair: Pair) -> None:
    pair.clients[1].query("RESET TimeZone")
    pair.clients[1].query("RESET statement_timeout")
    before = pair.rides()
    for _ in range(2):
        assert pair.setting(0, "TimeZone") == "Asia/Tokyo"
        assert pair.setting(1, "TimeZone") not in ("Asia/Tokyo", "America/Lima")
        assert pair.setting(1, "statement_timeout") == "0"
    assert pair.rides() >= before + 6


def test_a_cancel_meets_the_query_behind_the_settings(pair: Pair, postgres: Postgres) -> None:
    pair.clients[1].query("SELECT 0")
    pair.clients[0].send(query("SELECT pg_sleep(600)"))
    with postgres.connect() as observer:
        wait_until(
            lambda: observer.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            ).fetchone(),
            what="it sleeps",
        )
    pair.clients[0].cancel()
    assert pair.clients[0].read_until(b"Z").sqlstate == "57014"
    assert pair.keep_their_settings()


def test_queries_sent_ahead_are_answered_each(pair: Pair) -> None:
    texts = ["SELECT 1", "SELECT 1/0", "SELECT current_setting('TimeZone')", "BEGIN", "SELECT 2", "COMMIT"]
    pair.clients[1].query("SELECT 0")
    pair.clients[0].send(*[query(text) for text in texts])
    answers = [pair.clients[0].read_until(b"Z") for _ in texts]
    assert [answer.types for answer in answers] == [b"TDCZ", b"EZ", b"TDCZ", b"CZ", b"TDCZ", b"CZ"]
    assert answers[2].value == b"Asia/Tokyo"
    assert pair.keep_their_settings()


def test_who_leaves_right_behind_its_query_is_answered_first(pair: Pair) -> None:
    pair.clients[1].query("SELECT 0")
    pair.clients[0].send(query("SELECT current_setting('TimeZone')"), b"X\0\0\0\4")
    answer = pair.clients[0].read_to_the_end()
    assert answer.value == b"Asia/Tokyo"


def test_who_vanishes_leaves_the_backend_to_the_other(pair: Pair) -> None:
    pair.clients[1].query("SELECT 0")
    pair.clients[0].send(query("SELECT pg_sleep(600)"))
    pair.clients[0].close()
    assert pair.clients[1].query("SELECT current_setting('TimeZone')").value == b"America/Lima"


def test_that_somebody_has_deallocated_all_is_not_noticed(make_pair: MakePair, postgres: Postgres) -> None:
    postgres.sql(FORGET, "app", "app")
    try:
        pair = make_pair(postgres)
        for _ in range(3):
            rides = pair.rides()
            assert pair.ask(0, "SELECT forget()").value == b"1"
            assert told(pair.ask(1, "SELECT 7"))[1:] == told(pair.clients[1].query("SELECT 7"))[1:]
            assert pair.keep_their_settings()
            assert 0 < pair.rides() < rides + 100
    finally:
        postgres.sql("DROP FUNCTION forget", "app", "app")
