"""The unnamed statement lives until the client's next one or its next Query; a Query of pgmux's own ends it too,
and then the client must not notice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fix_pgmux import MakePgmux
from tests.hidden.conversations import prepare, run
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire
from tests.wire.frontend import parse, query, sync


def holds(client: Wire) -> bool:
    return client.ask(run("")).rows == [[b"mine"]]


@pytest.fixture
def client(pgmux: Pgmux) -> Iterator[Wire]:
    """Has an unnamed statement, on the only backend."""
    with connect(pgmux) as client:
        client.ask(parse("SELECT 'mine'") + sync())
        yield client


@pytest.fixture
def pgmux(make_pgmux: MakePgmux) -> Pgmux:
    return make_pgmux(workers=1, default_pool_size=1, audit_interval=0)


def test_after_an_audit(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, roam=True, default_pool_size=2, min_pool_size=2, audit_interval="1us")
    with connect(pgmux) as client:
        client.ask(parse("SELECT 'mine'") + sync())
        assert all(holds(client) for _ in range(6))


def test_after_another_clients_settings(pgmux: Pgmux, client: Wire) -> None:
    with connect(pgmux, options="-c work_mem=1MB") as other:
        other.ask(prepare("s", "SELECT 1"))
        assert holds(client)
        other.ask(run("s"))
        assert holds(client)


def test_after_ones_own_settings(client: Wire) -> None:
    client.ask(parse("SET work_mem TO '1MB'", "s") + sync())
    client.ask(run("s"))
    assert holds(client)


def test_after_another_client_vanished(pgmux: Pgmux, client: Wire, postgres: Postgres) -> None:
    with connect(pgmux) as other:
        other.ask(prepare("b", "BEGIN"))
        other.ask(run("b"))
    wait_until(
        lambda: not postgres.sql("SELECT FROM pg_stat_activity WHERE state LIKE 'idle in%'"),
        what="a ROLLBACK",
    )
    assert holds(client)


def test_not_after_ones_own_query(client: Wire) -> None:
    client.ask(query("SELECT 1"))
    assert client.ask(run("")).sqlstate == "26000"
