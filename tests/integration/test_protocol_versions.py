"""Protocol 3.0 and 3.2 on either side: cancel keys, negotiation, and servers that know only 3.0."""

from __future__ import annotations

from threading import Thread

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.inside import Inside
from tests.integration.lobbies import Lobbies
from tests.servers import Postgres, wait_until
from tests.servers.old_server import OldServer
from tests.wire import Wire, frontend

LONG = "SELECT pg_sleep(60)"
RUNNING = f"SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query = '{LONG}'"


@pytest.mark.parametrize("version", [(3, 0), (3, 2)])
def test_a_query_is_cancelled_whatever_protocol_either_side_speaks(
    make_pgmux: MakePgmux, any_postgres: Postgres, version: tuple[int, int]
) -> None:
    pgmux = make_pgmux(postgres=any_postgres, workers=3, default_pool_size=2)
    client = pgmux.wire()
    assert not client.startup(version=version).of(b"v")
    assert len(client.key) == (32 if version == (3, 2) else 4)
    for _ in range(6):  # the kernel chooses the worker that each request reaches
        client.send(frontend.query(LONG))
        wait_until(lambda: any_postgres.sql(RUNNING), what="the query to run")
        client.cancel()
        replies = client.read_until(b"Z")
        assert (replies.sqlstate, replies.status) == ("57014", "I")
        assert client.query("SELECT 1").value == b"1"
    assert Inside(pgmux).key_lengths() == {32 if any_postgres.version.startswith("18") else 4}


def test_a_client_of_3_2_that_waits_is_cancelled_through_any_worker(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=3, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder, waiting = pgmux.wire(), pgmux.wire()
    holder.startup(version=(3, 2))
    waiting.startup(version=(3, 2))
    assert holder.query("BEGIN").status == "T"
    for _ in range(6):
        waiting.send(frontend.query("SELECT 1"))
        lobbies.wait_for_parked(1)
        for wrong in (waiting.key[:4], waiting.key[:-1], waiting.key + b"\0", waiting.key[::-1], holder.key):
            request_a_cancel(pgmux.wire(), waiting.pid, wrong)
        assert lobbies.parked() == 1
        waiting.cancel()
        assert waiting.read_until(b"Z").sqlstate == "57014"
    assert holder.query("COMMIT").status == "I"


@pytest.mark.parametrize("newest", ["3.0", "3.2", "latest"])
def test_libpq_connects_and_cancels_with_either_version(
    make_pgmux: MakePgmux, postgres: Postgres, newest: str
) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("libpq before 18 speaks 3.0 alone")
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    with pgmux.connect(max_protocol_version=newest) as connection:
        for _ in range(3):
            asked = Thread(target=expect_cancel, args=(connection,))
            asked.start()
            wait_until(lambda: postgres.sql(RUNNING), what="the query to run")
            connection.cancel_safe()
            asked.join(10)
            assert not asked.is_alive()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_libpq_that_insists_on_3_2_is_served(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("libpq before 18 speaks 3.0 alone")
    pgmux = make_pgmux()
    with pgmux.connect(min_protocol_version="3.2", max_protocol_version="3.2") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("way", ["with 0A000", "without a word"])
def test_a_server_that_refuses_3_2_is_asked_for_3_0_and_remembered(
    make_pgmux: MakePgmux, postgres: Postgres, way: str
) -> None:
    with OldServer(postgres, says_why=way == "with 0A000") as old:
        pgmux = make_pgmux(
            workers=1,
            default_pool_size=3,
            databases={"*": {"host": old.host, "port": old.port}},
        )
        clients = [pgmux.wire() for _ in range(3)]
        for client in clients:
            client.startup(version=(3, 2))
            assert client.query("BEGIN").status == "T"
        assert old.asked == [(3, 2), (3, 0), (3, 0), (3, 0)]
        clients[0].send(frontend.query(LONG))
        wait_until(lambda: postgres.sql(RUNNING), what="the query to run")
        clients[0].cancel()
        assert clients[0].read_until(b"Z").sqlstate == "57014"


def test_a_server_that_refuses_every_version_is_not_taken_for_an_old_one(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    with OldServer(postgres, newest=None) as broken:
        pgmux = make_pgmux(workers=1, databases={"*": {"host": broken.host, "port": broken.port}})
        with pgmux.wire() as client:
            client.send_startup(user="app", database="app")
            replies = client.read_to_the_end()
            assert replies.sqlstate == "57P03"
            assert "0A000" in replies.error["D"]
        assert broken.asked[:2] == [(3, 2), (3, 0)]


def expect_cancel(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(LONG)


def request_a_cancel(asking: Wire, pid: int, key: bytes) -> None:
    with asking:
        asking.send(frontend.cancel_request(pid, key))
        asking.read_to_the_end()
