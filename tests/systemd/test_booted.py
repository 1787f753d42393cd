"""pgmux as a service of a real systemd, from `systemctl start` to `systemctl stop`."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgmux.demo.ports import free_port, give_back
from tests.fix_postgres import Servers
from tests.servers import wait_until
from tests.systemd.guest import CannotBootError, Guest, guest_files

FOLDER = Path(__file__).parents[2] / "systemd"
IMPATIENT = "\n[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Service:
    """pgmux.service in a guest."""

    def __init__(self, guest: Guest, port: int) -> None:
        self.guest = guest
        self.port = port

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="app", dbname="app", autocommit=True)

    def main_pid(self) -> int:
        """Of the supervisor, as the guest counts."""
        return int(self.guest.show("pgmux", "MainPID"))

    def status(self) -> str:
        return self.guest.show("pgmux", "StatusText")

    def state(self) -> str:
        return self.guest.show("pgmux", "ActiveState")


@pytest.fixture(scope="module")
def service(postgres_servers: Servers) -> Iterator[Service]:
    """A guest with pgmux installed and not yet started."""
    postgres = postgres_servers(None)
    port = free_port()
    configuration = (
        f'[pgmux]\nworkers = 2\nlisten = ["127.0.0.1:{port}"]\nauth_type = "trust"\nmax_backends = 5\n'
        f'default_pool_size = 5\n[databases."*"]\nhost = "127.0.0.1"\nport = {postgres.port}\n'
    )
    files = guest_files(
        (FOLDER / "pgmux.service").read_text() + IMPATIENT,
        (FOLDER / "sysusers.conf").read_text(),
        (FOLDER / "tmpfiles.conf").read_text(),
        configuration,
    )
    try:
        with Guest(files) as guest:
            yield Service(guest, port)
    except CannotBootError as error:
        pytest.skip(f"no guest can be booted here: {error}")
    finally:
        give_back(port)


def test_it_is_started_reloaded_and_stopped(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    assert service.state() == "active"
    assert service.status() == "2 of 2 workers, 0 clients, 0 of 5 backends"
    with service.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
        guest.run("systemctl", "reload", "pgmux")
        wait_until(lambda: "reloaded" in guest.log("pgmux"), what="the reload")
        assert client.execute("SELECT 2").fetchone() == (2,)
    assert service.state() == "active"
    guest.run("systemctl", "stop", "pgmux")
    assert service.state() == "inactive"
    assert guest.show("pgmux", "Result") == "success"
    assert "pgmux has stopped" in guest.log("pgmux")


def test_a_load_goes_through_it_while_it_is_reloaded(
    service: Service, postgres_servers: Servers, tmp_path: Path
) -> None:
    service.guest.run("systemctl", "start", "pgmux")
    (tmp_path / "one.sql").write_text("SELECT 1;\n")
    load = subprocess.Popen(
        [
            *(postgres_servers(None).bin("pgbench"), "--no-vacuum", "--file", tmp_path / "one.sql"),
            *("--client", "20", "--transactions", "200", "--host", "127.0.0.1", "--port", str(service.port)),
            *("--username", "app", "app"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while load.poll() is None:
        service.guest.run("systemctl", "reload", "pgmux")
    said, _ = load.communicate()
    assert load.returncode == 0, said
    assert "number of transactions actually processed: 4000/4000" in said
    service.guest.run("systemctl", "stop", "pgmux")


def test_a_wrong_configuration_fails_the_reload_and_changes_nothing(service: Service) -> None:
    guest, path = service.guest, "/etc/pgmux/pgmux.toml"
    guest.run("systemctl", "start", "pgmux")
    guest.run("cp", path, f"{path}.right")
    guest.run("sed", "-i", "s/^workers/wokers/", path)
    with pytest.raises(AssertionError, match="failed"):
        guest.run("systemctl", "reload", "pgmux")
    assert service.state() == "active"
    assert 'did you mean "workers"?' in guest.log("pgmux")
    with service.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
    guest.run("cp", f"{path}.right", path)
    guest.run("systemctl", "reload", "pgmux")
    guest.run("systemctl", "stop", "pgmux")


def test_the_journal_knows_how_bad_a_line_is(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=service.port, user="app", dbname="pgmux")
    wait_until(lambda: "log-in refused" in guest.log("pgmux"), what="the refusal")
    warnings = guest.run("journalctl", "--no-pager", "--unit=pgmux", "--priority=warning", "--output=cat")
    assert "WARNING worker" in warnings
    assert "is ready" not in warnings
    guest.run("systemctl", "stop", "pgmux")


def test_another_version_takes_over_at_a_reload(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    supervisor = service.main_pid()
    with service.connect() as client:
        client.execute("SET work_mem = '7MB'")
        guest.install_version("9.9.9")
        guest.run("systemctl", "reload", "pgmux")
        wait_until(
            lambda: "all workers have been replaced" in guest.log("pgmux"), timeout=60, what="an upgrade"
        )
        assert client.execute("SHOW work_mem").fetchone() == ("7MB",)
    assert "pgmux 9.9.9 takes over" in guest.log("pgmux")
    assert service.main_pid() == supervisor
    guest.run("systemctl", "stop", "pgmux")
    guest.run("rm", "-r", "/opt/newer")


def test_it_runs_under_an_account_without_rights(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    status = guest.run("cat", f"/proc/{service.main_pid()}/status")
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert facts["Uid"].split()[0] == guest.run("id", "-u", "pgmux") != "0"
    assert int(facts["CapPrm"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"].strip() == "1"
    assert facts["Seccomp"].strip() == "2"
    assert guest.run("stat", "--format=%U %a", "/run/pgmux", "/run/pgmux/pgmux.shm").split("\n") == [
        "pgmux 755",
        "pgmux 600",
    ]
    assert guest.run("stat", "--format=%U:%G %a", "/etc/pgmux") == "root:pgmux 750"
    guest.run("systemctl", "stop", "pgmux")


def test_a_killed_worker_is_the_supervisors_affair(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    supervisor = service.main_pid()
    worker = guest.run("cat", f"/proc/{supervisor}/task/{supervisor}/children").split()[0]
    guest.run("kill", "-KILL", worker)
    wait_until(lambda: "died (SIGKILL)" in guest.log("pgmux"), what="the worker's death")
    with service.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert service.main_pid() == supervisor
    assert guest.show("pgmux", "NRestarts") == "0"
    guest.run("systemctl", "stop", "pgmux")


def test_a_wedged_supervisor_is_restarted_by_the_watchdog(service: Service) -> None:
    guest = service.guest
    guest.run("systemctl", "start", "pgmux")
    supervisor = service.main_pid()
    guest.run("kill", f"-{signal.SIGSTOP.value}", str(supervisor))
    wait_until(lambda: service.main_pid() not in (0, supervisor), timeout=60, what="another supervisor")
    wait_until(lambda: service.state() == "active", timeout=60, what="a restarted service")
    assert guest.show("pgmux", "NRestarts") == "1"
    with service.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert "Watchdog timeout" in guest.log("pgmux")
    guest.run("systemctl", "stop", "pgmux")
