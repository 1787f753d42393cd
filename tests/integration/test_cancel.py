"""Cancel requests: from any worker to the query they mean, and to no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, approach, connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, frontend

LONG = "SELECT pg_sleep(60)"
LOCK = 7041
WAIT_FOR_LOCK = f"SELECT pg_advisory_xact_lock({LOCK})"


def test_a_running_query_is_cancelled_through_any_worker(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=2)
    for client in Lobbies(pgmux).a_client_on_each_worker().values():
        for _ in range(5):  # the kernel chooses the worker that each request reaches
            client.send(frontend.query(LONG))
            wait_for_running(postgres, LONG)
            client.cancel()
            replies = client.read_until(b"Z")
            assert (replies.sqlstate, replies.status) == ("57014", "I")
            assert client.query("SELECT 1").value == b"1"


def test_psycopg_cancels_and_goes_on(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=2)
    with pgmux.connect(prepare_threshold=None) as connection, ThreadPoolExecutor(1) as thread:
        for _ in range(8):
            asked = thread.submit(connection.execute, LONG)
            wait_for_running(postgres, LONG)
            connection.cancel()
            assert isinstance(asked.exception(10), psycopg.errors.QueryCanceled)
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_cancelled_transaction_has_failed_but_keeps_its_backend(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    client = pgmux.wire()
    client.startup()
    client.query("BEGIN")
    mine = client.query("SELECT pg_backend_pid()").value
    client.send(frontend.query(LONG))
    wait_for_running(postgres, LONG)
    client.cancel()
    replies = client.read_until(b"Z")
    assert (replies.sqlstate, replies.status) == ("57014", "E")
    assert client.query("ROLLBACK; BEGIN").status == "T"
    assert client.query("SELECT pg_backend_pid()").value == mine
    assert client.query("COMMIT").status == "I"


@pytest.mark.parametrize(
    "asked", [frontend.query("SELECT 1"), frontend.extended("SELECT 1")], ids=["simple", "extended"]
)
def test_a_client_that_waits_is_cancelled_and_goes_on(make_pgmux: MakePgmux, asked: bytes) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder = pgmux.wire()
    holder.startup()
    holder.query("BEGIN")
    clients = lobbies.a_client_on_each_worker().values()
    for client in clients:
        client.send(asked)
        lobbies.wait_for_parked(1)
        client.cancel()
        replies = client.read_until(b"Z")
        assert replies.types == b"EZ"
        assert (replies.error["S"], replies.sqlstate, replies.status) == ("ERROR", "57014", "I")
        assert "waiting for a backend" in replies.error["H"]
        assert lobbies.parked() == 0
    assert holder.query("COMMIT").status == "I"
    assert [client.query("SELECT 1").value for client in clients] == [b"1"] * 4


def test_who_waits_behind_a_cancelled_client_takes_its_place(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder, first, second = (pgmux.wire() for _ in range(3))
    for client in (holder, first, second):
        client.startup()
    holder.query("BEGIN")
    for waiting, client in enumerate((first, second), start=1):
        client.send(frontend.query("SELECT 1"))
        lobbies.wait_for_parked(waiting)
    first.cancel()
    assert first.read_until(b"Z").sqlstate == "57014"
    lobbies.wait_for_parked(1)
    holder.query("COMMIT")
    assert second.read_until(b"Z").value == b"1"


# Nobody else's query


def test_a_cancel_that_comes_late_waits_for_no_other_query(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """PostgreSQL is made to take its time with the cancel request: meanwhile the query has its answer,
    and another client wants the backend. It must not get it before the cancel has come to nothing."""
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    mine, other = pgmux.wire(), pgmux.wire()
    mine.startup()
    other.startup()
    with postgres.connect("app", "postgres") as lock:
        lock.execute(f"SELECT pg_advisory_lock({LOCK})".encode())
        mine.send(frontend.query(WAIT_FOR_LOCK))
        wait_for_running(postgres, WAIT_FOR_LOCK)
        os.kill(postgres.pid, signal.SIGSTOP)  # backends go on, connections are not answered
        try:
            mine.cancel()
            lock.execute(f"SELECT pg_advisory_unlock({LOCK})".encode())
            assert not mine.read_until(b"Z").errors
            other.send(frontend.query("SELECT pg_sleep(0.2), 1"))
            lobbies.wait_for_parked(1)
            assert other.is_silent(for_s=0.5)
        finally:
            os.kill(postgres.pid, signal.SIGCONT)
    replies = other.read_until(b"Z")
    assert not replies.errors
    assert replies.rows == [[b"", b"1"]]


def test_a_cancel_that_comes_late_waits_for_no_later_query_of_its_own_client(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    """As before, but the client goes on in its transaction: what it asks next waits for the cancel, too."""
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    client = pgmux.wire()
    client.startup()
    client.query("BEGIN")
    with postgres.connect("app", "postgres") as lock:
        lock.execute(f"SELECT pg_advisory_lock({LOCK})".encode())
        client.send(frontend.query(WAIT_FOR_LOCK))
        wait_for_running(postgres, WAIT_FOR_LOCK)
        os.kill(postgres.pid, signal.SIGSTOP)
        try:
            client.cancel()
            lock.execute(f"SELECT pg_advisory_unlock({LOCK})".encode())
            assert not client.read_until(b"Z").errors
            client.send(frontend.query("SELECT pg_sleep(0.2), 1"))
            assert client.is_silent(for_s=0.5)
        finally:
            os.kill(postgres.pid, signal.SIGCONT)
    replies = client.read_until(b"Z")
    assert not replies.errors
    assert replies.rows == [[b"", b"1"]]


def test_who_has_seen_its_cancel_end_may_ask_the_next(make_pgmux: MakePgmux) -> None:
    """The end of its connection says that the cancel can hit nothing that is asked from then on."""
    pgmux = make_pgmux(workers=2, default_pool_size=1, log_level="info")

    def member(_: int) -> Iterator[None]:
        with connect(pgmux) as client:
            client.query("BEGIN")
            while True:
                client.send(frontend.query("SAVEPOINT a"))
                client.cancel()
                if client.read_until(b"Z").errors:
                    client.query("ROLLBACK")
                    client.query("BEGIN")
                assert client.query("SELECT 1").value == b"1"
                yield

    with Crowd(1, member) as crowd:
        crowd.wait_for_rounds(300)


def test_a_storm_of_cancels_hits_only_its_own_client(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1, log_level="info")

    def cancels(client: Wire) -> Iterator[None]:
        while True:
            client.send(frontend.query("SELECT pg_sleep(0.002)"))
            storm = [ask_to_cancel(pgmux, client.pid, client.key) for _ in range(3)]
            replies = client.read_until(b"Z")
            assert [error["C"] for error in replies.errors] in ([], ["57014"])
            for asking in storm:
                with asking:
                    asking.read_to_the_end()
            yield

    def works(client: Wire) -> Iterator[None]:
        while True:
            assert client.query("SELECT pg_sleep(0.002), 2").rows == [[b"", b"2"]]
            yield

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as client:
            yield from (works, cancels)[number](client)

    with Crowd(2, member) as crowd:
        crowd.wait_for_rounds(150)


def test_a_wrong_key_cancels_nothing(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    client, other = pgmux.wire(), pgmux.wire()
    client.startup()
    other.startup()
    wrong = bytes(byte ^ 0xFF for byte in client.key)
    with postgres.connect("app", "postgres") as lock:
        lock.execute(f"SELECT pg_advisory_lock({LOCK})".encode())
        client.send(frontend.query(WAIT_FOR_LOCK))
        wait_for_running(postgres, WAIT_FOR_LOCK)
        backend = int(postgres.sql(running(WAIT_FOR_LOCK))[0][0])
        for pid, key in [
            (client.pid, wrong),
            (client.pid, b"\0\0\0\0"),
            (client.pid, client.key * 2),
            (client.pid, client.key[:2]),
            (client.pid, b""),
            (other.pid, client.key),
            (backend, client.key),
            (0, client.key),
            (-1, client.key),
            (2**31 - 1, client.key),
            (-(2**31), client.key),
        ]:
            request_a_cancel(pgmux, pid, key)
        assert postgres.sql(running(WAIT_FOR_LOCK)) == [(backend,)]
    assert not client.read_until(b"Z").errors


def test_cancelling_an_idle_client_does_nothing(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    client = pgmux.wire()
    client.startup()
    client.cancel()
    assert client.query("BEGIN").status == "T"
    client.cancel()
    assert client.query("SELECT 1").value == b"1"
    assert client.query("COMMIT").status == "I"
    gone = (client.pid, client.key)
    client.terminate()
    request_a_cancel(pgmux, *gone)
    with connect(pgmux) as another:
        assert another.query("SELECT 1").value == b"1"


def running(query: str) -> str:
    return f"SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query = '{query}'"


def wait_for_running(postgres: Postgres, query: str) -> None:
    wait_until(lambda: postgres.sql(running(query)), what=f"{query!r} to run")


def ask_to_cancel(pgmux: Pgmux, pid: int, key: bytes) -> Wire:
    """A CancelRequest under way; who reads it to the end knows that it was taken."""
    asking = approach(pgmux)
    asking.send(frontend.cancel_request(pid, key))
    return asking


def request_a_cancel(pgmux: Pgmux, pid: int, key: bytes) -> None:
    """A CancelRequest that was taken."""
    with ask_to_cancel(pgmux, pid, key) as asking:
        asking.read_to_the_end()
