"""`pgmux doctor` against real servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.demo.account import environment
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.pgmux import Tables
from tests.servers.postgres import PASSWORDS


class Doctor:
    """Runs the command, and reads what it says."""

    def __init__(self, postgres: Postgres, pgmux: Pgmux | None = None) -> None:
        self._place = ["-h", str(postgres.socket_dir), "-p", str(postgres.port), "-U", "postgres"]
        self._config = [] if pgmux is None else ["-c", str(pgmux.config_path)]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pgmux", "doctor", "--seconds", "0.2", *arguments]
        return subprocess.run(
            command, env={**environment(), **environ}, capture_output=True, text=True, timeout=60
        )

    def examine(self) -> dict[str, Any]:
        """The one server's report."""
        said = self.run(*self._place, *self._config, "--json")
        assert said.stderr == ""
        assert said.returncode in (0, 1)
        [server] = json.loads(said.stdout)["servers"]
        assert said.returncode == bool(server["alarms"])
        assert isinstance(server, dict)
        return server

    def report(self) -> str:
        """The same for people."""
        return self.run(*self._place, *self._config).stdout


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_server_without_pgmux_is_examined(any_postgres: Postgres, stack: ExitStack) -> None:
    idle = [stack.enter_context(any_postgres.connect()) for _ in range(5)]
    holder = stack.enter_context(
        psycopg.connect(any_postgres.dsn(), application_name="payroll", autocommit=False)
    )
    holder.execute("SELECT txid_current()")
    found = Doctor(any_postgres).examine()
    assert found["server"]["version"] == any_postgres.version
    assert found["server"]["max_connections"] == 120
    assert found["server"]["can_see_all"]
    assert found["pooler"] is None
    by_pid = {backend["pid"]: backend for backend in found["backends"]}
    assert all(by_pid[client.info.backend_pid]["state"] == "idle" for client in idle)
    held = by_pid[holder.info.backend_pid]
    assert held["state"] == "idle in transaction"
    assert held["client"] == {"address": "local", "application": "payroll", "is_through_pgmux": False}
    assert found["holders"][0]["name"] == f"pid {holder.info.backend_pid}"
    assert found["advice"]["busy_at_most"] >= 1
    assert found["advice"]["samples"] >= 2


def test_memory_is_measured_on_the_same_machine(postgres: Postgres, stack: ExitStack) -> None:
    pid = stack.enter_context(postgres.connect()).info.backend_pid
    found = Doctor(postgres).examine()
    [backend] = [backend for backend in found["backends"] if backend["pid"] == pid]
    assert found["server"]["is_on_this_machine"]
    assert found["server"]["cores"] == len(os.sched_getaffinity(0))
    assert 0 < backend["private"] <= backend["pss"] < 1 << 30


def test_the_client_behind_a_pooled_backend_is_named(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3)
    with pgmux.connect(application_name="billing") as client, pgmux.connect() as other:
        client.execute("BEGIN")
        [[pid]] = client.execute("SELECT pg_backend_pid()").fetchall()
        client.execute("SELECT txid_current()")
        other.execute("SELECT 1")
        found = Doctor(postgres, pgmux).examine()
        port = socket_port(client)
    [held] = [backend for backend in found["backends"] if backend["pid"] == pid]
    assert held["is_pgmuxs"]
    assert held["client"] == {
        "address": f"127.0.0.1:{port}",
        "application": "billing",
        "is_through_pgmux": True,
    }
    assert found["holders"][0]["client"] == held["client"]
    assert found["pooler"]["clients"] == 2
    [pool] = found["pooler"]["pools"]
    assert (pool["database"], pool["user"], pool["pool_size"]) == ("app", "app", 3)
    assert 1 <= pool["backends"] <= 3


def socket_port(client: psycopg.Connection[Any]) -> int:
    """The client's own port."""
    with socket.socket(fileno=os.dup(client.fileno())) as end:
        return int(end.getsockname()[1])


def test_an_idle_transaction_that_blocks_another_is_alarming(postgres: Postgres, stack: ExitStack) -> None:
    postgres.sql("CREATE TABLE IF NOT EXISTS doctors_table (n int)", "app", "app")
    idle = stack.enter_context(psycopg.connect(postgres.dsn(), application_name="sleeper", autocommit=False))
    idle.execute("LOCK TABLE doctors_table")
    blocked = stack.enter_context(psycopg.connect(postgres.dsn(), autocommit=True))
    waiting = threading.Thread(target=blocked.execute, args=["SELECT * FROM doctors_table"])
    waiting.start()
    wait_until(
        lambda: postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0],
        what="the blocked query",
    )
    said = Doctor(postgres).run(*Doctor(postgres)._place)
    assert said.returncode == 1
    assert f"pid {idle.info.backend_pid} does nothing, and its locks block 1 backend" in said.stdout
    assert '"sleeper"' in said.stdout
    idle.rollback()
    waiting.join()


def test_a_prepared_transaction_and_a_slot_hold_snapshots(make_postgres: MakePostgres) -> None:
    postgres = make_postgres(settings={"max_prepared_transactions": 2, "wal_level": "logical"})
    postgres.sql("SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")
    with postgres.connect() as client:
        client.execute("BEGIN; CREATE TABLE t (n int); PREPARE TRANSACTION 'forgotten'")
    holders = {holder["kind"]: holder for holder in Doctor(postgres).examine()["holders"]}
    assert holders["prepared transaction"]["name"] == "forgotten"
    assert holders["replication slot"]["name"] == "left_behind"
    assert holders["replication slot"]["state"] == "not in use"
    postgres.sql("ROLLBACK PREPARED 'forgotten'", "app")


def test_a_role_without_rights_is_told_what_it_cannot_see(postgres: Postgres, stack: ExitStack) -> None:
    stack.enter_context(postgres.connect("postgres", "postgres"))
    place = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "scram", "-d", "app"]
    said = Doctor(postgres).run(*place, PGPASSWORD=PASSWORDS["scram"])
    assert said.stderr == ""
    assert "cannot be seen into: GRANT pg_monitor" in said.stdout


@pytest.mark.parametrize("user", sorted(PASSWORDS))
def test_every_way_to_log_in_works(any_postgres: Postgres, user: str) -> None:
    url = f"postgresql://{user}:{PASSWORDS[user]}@127.0.0.1:{any_postgres.port}/app"
    said = Doctor(any_postgres).run(url)
    assert said.stderr == ""
    assert f"PostgreSQL {any_postgres.version} at 127.0.0.1" in said.stdout


def test_a_wrong_password_is_one_line_and_exit_code_1(postgres: Postgres) -> None:
    said = Doctor(postgres).run(
        "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "scram", "-d", "app", PGPASSWORD="no"
    )
    assert said.returncode == 1
    assert said.stdout == ""
    assert said.stderr.startswith("pgmux: 127.0.0.1 port")
    assert "password authentication failed" in said.stderr


def test_a_server_that_is_not_there_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pgmux", "doctor", "-h", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 1
    assert said.stderr == f"pgmux: {tmp_path} port 5432: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [["-p", "many"], ["--seconds", "soon"], ["--seconds", "-1"], ["--frob"], ["-c", "/nowhere.toml"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pgmux", "doctor", *arguments], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


def test_the_servers_of_the_configuration_are_examined(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "pgmux.toml").write_text(
        f'[pgmux]\nruntime_dir = "{tmp_path}"\nauth_type = "trust"\n'
        f'[databases.app]\nhost = "127.0.0.1"\nport = {postgres.port}\nuser = "plain"\n'
        f'password = "{PASSWORDS["plain"]}"\n'
    )
    said = Doctor(postgres).run("-c", str(tmp_path / "pgmux.toml"))
    assert said.stderr == ""
    assert f"at 127.0.0.1 port {postgres.port}" in said.stdout
    assert f"no pgmux runs here: there is no {tmp_path}/pgmux.shm" in said.stdout


def test_a_pool_that_cannot_log_in_is_alarming(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    databases: Tables = {
        "app": {"host": "127.0.0.1", "port": postgres.port, "user": "scram", "password": "wrong"}
    }
    pgmux = make_pgmux(databases=databases)
    with pytest.raises(psycopg.OperationalError):
        pgmux.connect(connect_timeout=10)
    alarms = {alarm["name"]: alarm for alarm in Doctor(postgres, pgmux).examine()["alarms"]}
    assert "app/scram" in alarms["pool_trouble"]["text"]


def test_the_doctor_loads_neither_gevent_nor_a_driver() -> None:
    script = (
        "import sys\nfrom pgmux.cli.main import main\ntry:\n main(['doctor', '-h', '/nowhere'])\nfinally:\n"
        " print(sorted({'gevent', 'psycopg', 'textual', 'rich'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert said.stdout.splitlines()[-1] == "[]"
