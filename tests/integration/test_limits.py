"""How long a session may do what, how many backends a pool may have, and what is told to whom."""

from __future__ import annotations

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.inside import Inside
from tests.integration.routes import by_socket
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Replies, Wire, frontend

SLEEP = "SELECT pg_sleep(30)"
SOON = "200ms"
MODES = pytest.mark.parametrize("mode", ["session", "transaction"])


def last_words(client: Wire) -> Replies:
    """The error with which the session ends."""
    return client.read_to_the_end()


@MODES
def test_a_query_that_takes_too_long_is_cancelled_and_its_session_goes_on(
    make_pgmux: MakePgmux, mode: str
) -> None:
    pgmux = make_pgmux(query_timeout=SOON, pool_mode=mode)
    with connect(pgmux) as client:
        error = client.query(SLEEP)
        assert error.sqlstate == "57014"
        assert "query_timeout (0.2s)" in error.of(b"E")[0]["M"]
        assert client.query("SELECT 1").value == b"1"
        assert client.query("BEGIN").status == "T"
        assert client.query(SLEEP).sqlstate == "57014"
        assert client.query("SELECT 1").sqlstate == "25P02"
        assert client.query("ROLLBACK").status == "I"


def test_an_extended_query_that_takes_too_long_is_cancelled_too(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(query_timeout=SOON)
    with connect(pgmux) as client:
        client.send(frontend.extended(SLEEP) + frontend.extended("SELECT 2"))
        assert "query_timeout" in client.read_until(b"Z").of(b"E")[0]["M"]
        assert client.read_until(b"Z").value == b"2"


@MODES
def test_a_transaction_that_lasts_too_long_ends_the_session(
    make_pgmux: MakePgmux, postgres: Postgres, mode: str
) -> None:
    pgmux = make_pgmux(transaction_timeout=SOON, pool_mode=mode)
    with connect(pgmux) as client, connect(pgmux) as other:
        client.query("BEGIN; CREATE TABLE never (n int)")
        error = last_words(client)
        assert (error.sqlstate, "transaction_timeout (0.2s)" in error.of(b"E")[0]["M"]) == ("25P04", True)
        assert other.query("SELECT to_regclass('never')").value is None


@MODES
@pytest.mark.parametrize("deferred", [True, False])
def test_a_client_that_does_nothing_in_its_transaction_is_sent_off(
    make_pgmux: MakePgmux, mode: str, deferred: bool
) -> None:
    pgmux = make_pgmux(idle_transaction_timeout=SOON, pool_mode=mode, deferred_begin=deferred)
    with connect(pgmux) as client, connect(pgmux) as busy:
        client.query("BEGIN")
        assert busy.query("SELECT pg_sleep(0.6)").status == "I"
        error = last_words(client)
        assert (error.sqlstate, "idle_transaction_timeout" in error.of(b"E")[0]["M"]) == ("25P03", True)
        assert busy.query("SELECT 1").value == b"1"


@MODES
def test_a_client_that_does_nothing_at_all_is_sent_off(make_pgmux: MakePgmux, mode: str) -> None:
    pgmux = make_pgmux(client_idle_timeout="1s", pool_mode=mode)
    with connect(pgmux) as client, connect(pgmux) as busy:
        client.query("SELECT 1")
        assert busy.query("BEGIN").status == "T"
        error = last_words(client)
        assert (error.sqlstate, "client_idle_timeout (1s)" in error.of(b"E")[0]["M"]) == ("57P05", True)
        assert busy.query("SELECT 1").value == b"1"


def test_a_pool_uses_its_reserve_when_somebody_waits_for_long(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=SOON)
    with connect(pgmux) as first, connect(pgmux) as second, connect(pgmux) as third:
        first.query("BEGIN")
        assert second.query("BEGIN").status == "T"
        third.send(frontend.query("SELECT 3"))
        Inside(pgmux).wait_for_waiting(1)
        assert len(Inside(pgmux).phases()) == 2
        first.query("COMMIT")
        assert third.read_until(b"Z").value == b"3"


def test_backends_are_kept_warm_though_no_client_has_come(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    databases = {"app": by_socket(postgres, user="app", min_pool_size=2)}
    pgmux = make_pgmux(workers=2, databases=databases, server_idle_timeout=SOON)
    wait_until(lambda: len(Inside(pgmux).phases()) == 2, what="two backends")


def test_session_clients_have_their_backend_to_themselves_and_leave_it_clean(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(
        pool_mode="session", default_pool_size=1, users={"plain": {"pool_mode": "transaction"}}
    )
    with connect(pgmux) as client:
        client.query("SET work_mem = '5MB'; CREATE TEMP TABLE mine (n int); PREPARE one AS SELECT 1")
        assert client.query("SHOW work_mem").value == b"5MB"
        assert client.query("EXECUTE one").value == b"1"
        client.send(frontend.query("LISTEN here"))
        client.read_until(b"Z")
    with connect(pgmux) as other:
        assert other.query("SHOW work_mem").value != b"5MB"
        assert other.query("SELECT to_regclass('pg_temp.mine')").value is None
        assert other.query("EXECUTE one").sqlstate == "26000"
        assert other.query("SELECT count(*) FROM pg_listening_channels()").value == b"0"


def test_statement_mode_refuses_transactions_and_goes_on(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(pool_mode="statement", default_pool_size=1)
    with connect(pgmux) as client, connect(pgmux) as other:
        for text in ("BEGIN", "START TRANSACTION", "SELECT 1; BEGIN"):
            told = client.query(text)
            assert (told.sqlstate, told.status) == ("0A000", "I")
        client.send(frontend.extended("BEGIN") + frontend.extended("SELECT 2"))
        assert client.read_until(b"Z").sqlstate == "0A000"
        assert client.read_until(b"Z").value == b"2"
        client.send(frontend.query("SELECT 3") + frontend.query("BEGIN") + frontend.query("SELECT 4"))
        assert client.read_until(b"Z").value == b"3"
        assert client.read_until(b"Z").sqlstate == "0A000"
        assert client.read_until(b"Z").value == b"4"
        assert other.query("SELECT 5").value == b"5"


@pytest.mark.parametrize("kind", ["database", "user"])
def test_a_database_and_a_user_have_their_own_limits_of_clients(
    make_pgmux: MakePgmux, postgres: Postgres, kind: str
) -> None:
    limit = {"max_client_conn": 3}
    pgmux = make_pgmux(
        workers=2,
        databases={
            "app": by_socket(postgres, **(limit if kind == "database" else {})),
            "postgres": by_socket(postgres),
        },
        users={"app": limit} if kind == "user" else {},
    )
    clients = [connect(pgmux) for _ in range(3)]
    for _ in range(4):  # whichever worker they reach, and though the log-in is known by now
        error = refused(pgmux, "app", "app")
        assert (error.sqlstate, f'max_client_conn of {kind} "app" is 3' in error.error["M"]) == (
            "53300",
            True,
        )
    with pgmux.wire() as other:
        other.startup(user="postgres", database="postgres")
    clients.pop().terminate()
    wait_until(lambda: not refused(pgmux, "app", "app").errors, what="a client to be let in")
    for client in clients:
        client.terminate()


def refused(pgmux: Pgmux, user: str, database: str) -> Replies:
    """What is said to a client that comes, until it is refused or let in."""
    with pgmux.wire() as client:
        client.send(frontend.startup({"user": user, "database": database}))
        first = client.read_message()
        return Replies([first]) if first.type == b"E" else client.read_until(b"Z")
