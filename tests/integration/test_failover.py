"""PostgreSQL goes away and comes back, or another takes its place: clients stay, and are served by whom they want."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgmux.shm.leases import Phase
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.census import Census
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.servers import Postgres, toml, wait_until
from tests.wire import Replies, frontend

PORT = 5999  # of all servers as pgmux sees them: hosts of a list share theirs


def doors(folder: Path, servers: Sequence[Postgres]) -> list[str]:
    """A directory for each server with a way to its Unix socket, as if each were a host of its own."""
    paths = []
    for number, server in enumerate(servers):
        path = folder / f"host{number}"
        path.mkdir()
        os.symlink(f"{server.socket_dir}/.s.PGSQL.{server.port}", path / f".s.PGSQL.{PORT}")
        paths.append(str(path))
    return paths


def become_standby(server: Postgres) -> None:
    """Restarts a server as a hot standby that follows nobody."""
    server.stop()
    (server.data_dir / "standby.signal").touch()
    server.start()


def hosts(folder: Path, servers: Sequence[Postgres], wanted: str) -> dict[str, toml.Table]:
    return {"app": {"host": doors(folder, servers), "port": PORT, "target_session_attrs": wanted}}


@pytest.fixture
def pair(make_postgres: MakePostgres) -> list[Postgres]:
    """A standby and a primary."""
    servers = [make_postgres(), make_postgres()]
    become_standby(servers[0])
    return servers


def test_of_several_hosts_the_one_that_can_write_is_taken(
    make_pgmux: MakePgmux, pair: list[Postgres], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    standby, primary = pair
    pgmux = make_pgmux(
        databases=hosts(tmp_path, pair, "read-write"), server_login_retry="100ms", fail_fast=False
    )
    with connect(pgmux) as client:
        assert client.query("CREATE TABLE written (n int)").tags == ["CREATE TABLE"]
        client.query("PREPARE mine AS SELECT pg_is_in_recovery()")
        wait_until(lambda: set(Lobbies(pgmux).phases()) == {Phase.FREE}, what="an idle backend")
        primary.stop()
        standby.sql("SELECT pg_promote()")
        assert client.query("EXECUTE mine").value == b"f"
        client.send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(lambda: "LEASED" in str(Lobbies(pgmux).phases()), what="the query to run")
        client.cancel()
        assert client.read_until(b"Z").sqlstate == "57014"


@pytest.mark.parametrize(
    ("wanted", "is_standby"), [("standby", b"t"), ("prefer-standby", b"t"), ("primary", b"f")]
)
def test_each_wish_finds_its_host(
    make_pgmux: MakePgmux, pair: list[Postgres], tmp_path: Path, wanted: str, is_standby: bytes
) -> None:
    pgmux = make_pgmux(databases=hosts(tmp_path, pair[::-1] if wanted != "primary" else pair, wanted))
    with connect(pgmux) as client:
        assert client.query("SELECT pg_is_in_recovery()").value == is_standby


def is_refused(told: Replies) -> bool:
    """Whether the server takes no writes; one that has not heard of its reload yet does."""
    return any(error["C"] == "25006" for error in told.errors)


def test_a_server_that_takes_no_writes_any_more_is_left(
    make_pgmux: MakePgmux, make_postgres: MakePostgres, tmp_path: Path
) -> None:
    servers = [make_postgres(), make_postgres()]
    pgmux = make_pgmux(databases=hosts(tmp_path, servers, "read-write"), default_pool_size=2)
    with connect(pgmux) as client:
        client.query("CREATE TABLE first (n int)")
        servers[0].sql("ALTER SYSTEM SET default_transaction_read_only = on")
        servers[0].sql("SELECT pg_reload_conf()")
        wait_until(
            lambda: is_refused(client.query("CREATE TABLE IF NOT EXISTS second (n int)")), what="a refusal"
        )
        wait_until(
            lambda: client.query("CREATE TABLE IF NOT EXISTS third (n int)").tags, what="the other server"
        )
    assert servers[1].sql("SELECT count(*) FROM pg_class WHERE relname = 'third'", "app") == [(1,)]
    assert pgmux.log_contains("may be another server than it was")


def test_who_waits_while_postgresql_is_away_is_served_when_it_is_back(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres()
    pgmux = make_pgmux(
        postgres=postgres, workers=2, default_pool_size=20, fail_fast=False, server_login_retry="50ms"
    )
    clients = [connect(pgmux) for _ in range(20)]
    clients[0].query("SELECT 1")
    postgres.stop("immediate")
    for number, client in enumerate(clients):
        client.send(frontend.query(f"SELECT {number}, pg_sleep(0.1)"))
    Lobbies(pgmux).wait_for_parked(20)
    assert all(client.is_silent(for_s=0.02) for client in clients)
    postgres.start()
    with Census(postgres) as census:
        assert [client.read_until(b"Z").rows[0][0] for client in clients] == [b"%d" % n for n in range(20)]
    assert census.most <= 20
    for client in clients:
        client.close()


def test_who_has_waited_long_enough_is_told_why(make_pgmux: MakePgmux, make_postgres: MakePostgres) -> None:
    postgres = make_postgres()
    pgmux = make_pgmux(
        postgres=postgres, fail_fast=False, query_wait_timeout="300ms", server_login_retry="50ms"
    )
    with connect(pgmux) as client:
        client.query("SELECT 1")
        postgres.stop()
        told = client.query("SELECT 2")
        assert (told.sqlstate, told.status) == ("57P03", "I")
        assert "connect" in told.error["D"].lower() or "no such file" in told.error["D"].lower()
