"""Another version takes over while pgmux runs: the same process, other workers, and no client notices."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.supervisor.main import UPGRADE
from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import Crowd, connect, in_transactions
from tests.integration.inside import Inside
from tests.integration.load import Load
from tests.integration.test_death import assert_every_worker_serves, serves_with_all_its_backends
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.certificates import Authority


def upgrade(pgmux: Pgmux, number: int = UPGRADE) -> None:
    """Has the installed version take over, and waits until all workers are its own."""
    before = set(pgmux.worker_pids())
    pgmux.signal(number)
    pgmux.wait_for_log("all workers have been replaced", 60)
    assert not before & set(pgmux.worker_pids())


def test_clients_are_served_on_by_the_same_supervisor_and_other_workers(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    supervisor = pgmux.supervisor_pid
    with pgmux.wire(unix=True) as local, connect(pgmux) as client:
        local.startup()
        client.query("PREPARE mine AS SELECT 1")
        backends = set(postgres.backend_pids(user="app"))
        for _ in range(2):
            upgrade(pgmux)
            pgmux.log_file.mark()
            assert client.query("EXECUTE mine").value == b"1"
            assert local.query("SELECT 2").value == b"2"
        assert pgmux.supervisor_pid == supervisor
        assert set(postgres.backend_pids(user="app")) >= backends
    serves_with_all_its_backends(pgmux, 2)
    assert_every_worker_serves(pgmux)
    pgmux.kill_worker()
    wait_until(lambda: len(pgmux.worker_pids()) == 2, what="a successor")
    assert_every_worker_serves(pgmux)
    assert pgmux.stop(signal.SIGTERM) == 0
    left = {str(path.relative_to(pgmux.folder)) for path in pgmux.folder.rglob("*")}
    assert left == {"pgmux.toml", "pgmux.log", "run"}


def test_the_operator_upgrades(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    before = set(pgmux.worker_pids())
    with connect(pgmux) as client:
        pgmux.ctl("upgrade")
        pgmux.wait_for_log("all workers have been replaced", 60)
        assert not before & set(pgmux.worker_pids())
        assert client.query("SELECT 1").value == b"1"
        assert "pgmux" in pgmux.ctl("show", "version")


def test_a_reload_upgrades_when_another_version_is_installed(make_pgmux: MakePgmux, tmp_path: Path) -> None:
    pgmux = make_pgmux(workers=2, environ={"PYTHONPATH": str(tmp_path)})
    with connect(pgmux) as client:
        install(tmp_path, "77.1")
        pgmux.signal(signal.SIGHUP)
        pgmux.wait_for_log("pgmux 77.1 takes over from")
        pgmux.wait_for_log("all workers have been replaced", 60)
        assert client.query("SELECT 1").value == b"1"
        with connect(pgmux) as newcomer:
            assert newcomer.query("SELECT 1").value == b"1"


def test_a_successor_that_would_not_run_changes_nothing(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    pids = pgmux.all_pids()
    good = pgmux.config_path.read_text()
    pgmux.config_path.write_text(good + "\nnonsense = 1\n")
    pgmux.signal(UPGRADE)
    told = pgmux.wait_for_log("not upgraded, nothing has changed: the installed pgmux would not run", 20)
    assert "nonsense" in told
    assert pgmux.all_pids() == pids
    with connect(pgmux) as client:
        assert client.query("SELECT 1").value == b"1"


def test_what_waits_for_a_restart_waits_on(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    pgmux.write_configuration(workers=3, max_backends=7, default_pool_size=2)
    upgrade(pgmux)
    assert len(pgmux.worker_pids()) == 2
    serves_with_all_its_backends(pgmux, 2)
    pgmux.write_configuration(workers=2)


def test_a_client_under_tls_is_served_where_it_is_until_it_leaves(
    make_pgmux: MakePgmux, authority: Authority
) -> None:
    pgmux = make_pgmux(workers=2, **under_tls(authority))
    with pgmux.connect(sslmode="require", prepare_threshold=None) as client, connect(pgmux) as plain:
        pgmux.signal(UPGRADE)
        pgmux.wait_for_log("is ready", 60)
        for number in range(20):
            assert client.execute("SELECT %s::int", [number]).fetchone() == (number,)
            assert plain.query(f"SELECT {number}").value == b"%d" % number
        assert not pgmux.log_contains("all workers have been replaced")
    pgmux.wait_for_log("all workers have been replaced", 60)


def test_a_client_under_tls_is_sent_off_when_drain_timeout_is_over(
    make_pgmux: MakePgmux, authority: Authority
) -> None:
    pgmux = make_pgmux(workers=2, drain_timeout="1s", **under_tls(authority))
    with pgmux.connect(sslmode="require", prepare_threshold=None) as client, connect(pgmux) as plain:
        upgrade(pgmux)
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("SELECT 1")
        assert plain.query("SELECT 2").value == b"2"


@pytest.mark.timeout(180)
def test_a_busy_crowd_notices_nothing(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=4, log_level="info")

    with Census(postgres) as census, Crowd(50, in_transactions(pgmux)) as crowd:
        crowd.wait_for_rounds(3)
        upgrade(pgmux)
        crowd.wait_for_rounds(3)
    assert census.most == 4


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_five_hundred_clients_of_pgbench_are_not_cut_off(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=10, log_level="info", max_client_conn=600)
    with Load(postgres, pgmux, 500, 12) as load:
        wait_until(lambda: Inside(pgmux).clients() == 500, 30, "500 clients")
        upgrade(pgmux)
        assert load.wait() > 500


def install(folder: Path, version: str) -> None:
    """Makes pgmux look as if another version had been installed."""
    told = folder / f"pgmux-{version}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pgmux\nVersion: {version}\n")


def under_tls(authority: Authority) -> dict[str, Any]:
    """Settings by which clients may come under TLS."""
    certificate = authority.certify()
    return {
        "client_tls_sslmode": "prefer",
        "client_tls_cert_file": certificate.cert_file,
        "client_tls_key_file": certificate.key_file,
    }
