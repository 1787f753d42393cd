"""Replication connections: each with a backend of its own, through PostgreSQL's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgmux.demo.embedded import Setting
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.inside import Inside
from tests.integration.test_control_socket import column
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import LoginRefusedError, frontend

SENDERS = "SELECT pid, application_name, state FROM pg_stat_replication"


@pytest.fixture(params=["15", "16", "18"])
def server(request: pytest.FixtureRequest, make_postgres: MakePostgres) -> Postgres:
    """A PostgreSQL that may be replicated."""
    hba = ["local replication all trust", "host replication all 127.0.0.1/32 trust"]
    settings: dict[str, Setting] = {"wal_level": "logical", "max_wal_senders": 8, "max_replication_slots": 8}
    postgres = make_postgres(request.param, settings, hba)
    postgres.sql("CREATE ROLE copier LOGIN REPLICATION IN ROLE app")
    return postgres


def command(server: Postgres, pgmux: Pgmux, tool: str, *arguments: str) -> list[str]:
    return [
        *(str(server.bin(tool)), "-h", pgmux.host, "-p", str(pgmux.port), "-U", "copier", "-w"),
        *arguments,
    ]


def test_a_base_backup_is_taken(make_pgmux: MakePgmux, server: Postgres, tmp_path: Path) -> None:
    pgmux = make_pgmux(postgres=server, workers=2, max_backends=4)
    target = tmp_path / "backup"
    done = subprocess.run(
        command(server, pgmux, "pg_basebackup", "-D", str(target), "-X", "stream", "-c", "fast"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (target / "PG_VERSION").read_text().strip() == server.version.split(".")[0]
    assert (target / "pg_wal").is_dir()
    wait_until(lambda: not Inside(pgmux).phases(), what="the end of the backends")


def test_a_base_backup_broken_off_ends_its_walsender(
    make_pgmux: MakePgmux, server: Postgres, tmp_path: Path
) -> None:
    pgmux = make_pgmux(postgres=server, workers=2)
    slow = ("-D", str(tmp_path / "backup"), "-X", "none", "-c", "fast", "--max-rate", "1M")
    backup = subprocess.Popen(command(server, pgmux, "pg_basebackup", *slow))
    try:
        wait_until(lambda: [row[2] for row in server.sql(SENDERS)] == ["backup"], what="the backup to run")
    finally:
        backup.kill()
        backup.wait()
    wait_until(lambda: not server.sql(SENDERS), what="the end of the walsender")
    wait_until(lambda: not Inside(pgmux).phases(), what="the end of the backend")


def test_psql_speaks_the_replication_protocol(make_pgmux: MakePgmux, server: Postgres) -> None:
    pgmux = make_pgmux(postgres=server)
    for kind in ("database", "true"):
        where = f"replication={kind} dbname=app"
        told = subprocess.run(
            command(server, pgmux, "psql", "-XAtd", where, "-c", "IDENTIFY_SYSTEM"),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert told.stdout.strip().split("|")[3] == ("app" if kind == "database" else "")


def test_wal_is_received_until_the_receiver_goes(
    make_pgmux: MakePgmux, server: Postgres, tmp_path: Path
) -> None:
    pgmux = make_pgmux(postgres=server, workers=2)
    receiver = subprocess.Popen(command(server, pgmux, "pg_receivewal", "-D", str(tmp_path)))
    try:
        wait_until(lambda: [row[2] for row in server.sql(SENDERS)] == ["streaming"], what="a walsender")
        assert server.sql(SENDERS)[0][1] == "pg_receivewal"
        server.sql("SELECT pg_switch_wal()")
        wait_until(lambda: any(len(path.name) == 24 for path in tmp_path.iterdir()), what="a segment")
    finally:
        receiver.kill()
        receiver.wait()
    wait_until(lambda: not server.sql(SENDERS), what="the end of the walsender")
    wait_until(lambda: not Inside(pgmux).phases(), what="the end of the backend")


def test_changes_are_decoded_and_a_killed_worker_ends_its_walsender(
    make_pgmux: MakePgmux, server: Postgres, tmp_path: Path
) -> None:
    pgmux = make_pgmux(postgres=server, workers=1)
    changes = tmp_path / "changes"
    tool = command(server, pgmux, "pg_recvlogical", "-d", "app", "--slot", "s")
    plugin, options = "test_decoding", []
    if not server.version.startswith("15"):  # the wheel's have no test_decoding
        plugin, options = "pgoutput", ["-o", "proto_version=1", "-o", "publication_names=everything"]
        server.sql("CREATE PUBLICATION everything FOR ALL TABLES", "app")
    subprocess.run([*tool, "--create-slot", "-P", plugin], check=True, timeout=30)
    receiver = subprocess.Popen([*tool, "--start", "-n", "-F", "1", "-f", str(changes), *options])
    try:
        wait_until(lambda: server.sql(SENDERS), what="a walsender")
        with pgmux.connect() as client:  # others share backends meanwhile
            client.execute("CREATE TABLE t (n int)")
            client.execute("INSERT INTO t VALUES (4711)")
        wait_until(lambda: changes.exists() and b"4711" in changes.read_bytes(), what="the change")
        (pid, *_), *_ = server.sql(SENDERS)
        pgmux.kill_worker()
        wait_until(lambda: pid not in [row[0] for row in server.sql(SENDERS)], what="its end")
        assert receiver.wait(10) != 0
    finally:
        receiver.kill()
        receiver.wait()


def test_a_replication_session_is_its_clients_alone(make_pgmux: MakePgmux, server: Postgres) -> None:
    pgmux = make_pgmux(postgres=server, workers=2, default_pool_size=1, max_backends=3)
    inside = Inside(pgmux)
    with pgmux.wire() as client:
        client.startup(
            user="copier", replication="database", application_name="mine", options="-c work_mem=7MB"
        )
        assert client.parameters["application_name"] == "mine"
        assert client.query("IDENTIFY_SYSTEM").types == b"TDCZ"
        assert client.query("SHOW work_mem").value == b"7MB"
        mine = int(client.query("SELECT pg_backend_pid()").value or b"0")
        assert (
            column(pgmux, "clients", "replication") == column(pgmux, "servers", "replication") == ["logical"]
        )
        with pgmux.connect(user="copier") as other:  # the pool's one place is still there
            assert str(other.execute("SELECT pg_backend_pid()").fetchone()) != f"({mine},)"
        client.send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(
            lambda: server.sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {mine} AND state = 'active'"),
            what="the query to run",
        )
        client.cancel()
        assert client.read_until(b"Z").sqlstate == "57014"
        client.terminate()
    wait_until(lambda: mine not in server.backend_pids(), what="the end of the backend")
    wait_until(lambda: len(inside.phases()) == 1, what="the pool's own backend alone")


def test_too_many_replication_sessions_and_strangers_are_told_why(
    make_pgmux: MakePgmux, server: Postgres
) -> None:
    pgmux = make_pgmux(postgres=server, workers=2, max_backends=2)
    clients = [pgmux.wire() for _ in range(2)]
    for client in clients:
        client.startup(user="copier", replication="true", database="replication")
    with pgmux.wire() as third, pytest.raises(LoginRefusedError) as refused:
        third.startup(user="copier", replication="true")
    assert refused.value.sqlstate == "53300"
    assert "max_backends is 2" in refused.value.fields["M"]
    clients.pop().terminate()
    with pgmux.wire() as stranger, pytest.raises(LoginRefusedError) as refused:
        stranger.startup(user="app", replication="true")
    assert refused.value.sqlstate in ("42501", "28000")
    assert "repl" in refused.value.fields["M"].lower() or "WAL sender" in refused.value.fields["M"]
