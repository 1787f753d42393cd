"""Under TLS to PostgreSQL: session state, LISTEN and replication, in workers that share no backend."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from pgmux.worker.listening import APPLICATION_NAME
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres, version_with_openssl
from tests.integration.crowd import Crowd, connect
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.certificates import Authority


@pytest.fixture
def pgmux(make_pgmux: MakePgmux, secure_postgres: Postgres) -> Pgmux:
    """Three workers, whose every backend is under TLS."""
    databases: dict[str, dict[str, str | int]] = {"*": {"host": "127.0.0.1", "port": secure_postgres.port}}
    return make_pgmux(
        postgres=secure_postgres,
        databases=databases,
        workers=3,
        default_pool_size=6,
        server_tls_sslmode="require",
        roam=True,
    )


def test_settings_and_statements_go_where_their_session_goes(pgmux: Pgmux) -> None:
    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            wire.query(f"SET application_name = 'member {number}'")
            wire.query(f"PREPARE mine AS SELECT {number}")
            while True:
                assert wire.query("SHOW application_name").value == f"member {number}".encode()
                assert wire.query("EXECUTE mine").value == str(number).encode()
                yield

    with Crowd(20, member) as crowd:
        crowd.wait_for_rounds(50)


def test_notifications_come_through(pgmux: Pgmux, secure_postgres: Postgres) -> None:
    with pgmux.connect(autocommit=True) as listener, pgmux.connect(autocommit=True) as speaker:
        listener.execute("LISTEN news")
        speaker.execute("NOTIFY news, 'good'")
        [told] = listener.notifies(timeout=20, stop_after=1)
        assert (told.channel, told.payload) == ("news", "good")
    how = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = "
    assert secure_postgres.sql(f"{how}'{APPLICATION_NAME}'") == [(True,)]


def test_a_walsender_is_under_tls_and_ends_with_its_client(
    make_pgmux: MakePgmux, make_postgres: MakePostgres, authority: Authority
) -> None:
    hba = ["hostssl replication all 127.0.0.1/32 trust"]
    server = make_postgres(version_with_openssl(), {"max_wal_senders": 4}, hba, authority.certify())
    server.sql("CREATE ROLE copier LOGIN REPLICATION IN ROLE app")
    databases: dict[str, dict[str, str | int]] = {"*": {"host": "127.0.0.1", "port": server.port}}
    pgmux = make_pgmux(postgres=server, databases=databases, workers=2, server_tls_sslmode="require")
    where = f"host={pgmux.host} port={pgmux.port} user=copier dbname=app replication=true"
    told = subprocess.run(
        [str(server.bin("psql")), "-XAtwd", where, "-c", "IDENTIFY_SYSTEM"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert told.stdout.count("|") == 3
    walsenders = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender'"
    wait_until(lambda: not server.sql(walsenders), what="the end of the walsender")
