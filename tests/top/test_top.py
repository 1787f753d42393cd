"""`pgmux top` on a real pgmux, without its terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pgmux.shm.segment import SegmentError
from pgmux.top.lines import Observation
from pgmux.top.observer import NotRunningError, Observer
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, wait_until
from tests.wire import frontend


def observer_of(pgmux: Pgmux) -> Observer:
    return Observer(str(pgmux.folder / "run" / "pgmux.shm"))


def run_top(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pgmux", "top", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_a_client_in_a_transaction_is_seen_with_its_backend(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3, max_backends=9, max_client_conn=50)
    observer = observer_of(pgmux)
    with pgmux.connect(application_name="billing") as client, pgmux.connect() as idle:
        idle.execute("SELECT 1")
        client.execute("BEGIN")
        [[pid]] = client.execute("SELECT pg_backend_pid()").fetchall()
        seen = observer.look()
    [line] = seen.clients
    assert (line.state, line.application, line.pool, line.backend_pid) == (
        "active",
        "billing",
        "app/app",
        pid,
    )
    [backend] = [backend for backend in seen.backends if backend.pid == pid]
    assert backend.phase == "leased"
    assert backend.client.endswith(" billing")
    assert backend.worker == line.worker
    [pool] = seen.pools
    assert (pool.clients, pool.active, pool.waiting, pool.size) == (2, 1, 0, 3)
    assert seen.overview.clients == 2
    assert (seen.overview.clients_limit, seen.overview.backends_limit) == (50, 9)
    assert [worker.pid for worker in seen.workers] == pgmux.worker_pids()
    assert seen.overview.is_moving


def test_a_client_that_keeps_its_backend_is_seen_with_the_reason(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with pgmux.connect(application_name="reports") as client:
        client.execute("CREATE TEMPORARY TABLE kept (n int)")
        client.execute("SELECT pg_advisory_lock(7)")
        seen = observer_of(pgmux).look()
    [line] = seen.clients
    assert line.pins == "temporary table, advisory lock"


def test_rates_come_from_two_looks(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    observer = observer_of(pgmux)
    with pgmux.connect() as client:
        client.execute("SELECT 1")
        observer.look()
        for _ in range(20):
            client.execute("SELECT 1")
        seen = observer.look()
    assert seen.overview.transactions > 0
    assert seen.pools[0].traffic.queries > 0
    assert all(worker.cpu is not None for worker in seen.workers)


def test_a_client_that_waits_is_seen_waiting(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    observer = observer_of(pgmux)
    lobbies = Lobbies(pgmux)
    with pgmux.connect() as holder, connect(pgmux) as waiter:
        holder.execute("BEGIN; SELECT 1")
        waiter.send(frontend.query("SELECT 1"))
        lobbies.wait_for_parked(1)
        seen = observer.look()
        assert sorted(line.state for line in seen.clients) == ["active", "waiting"]
        assert seen.pools[0].waiting == seen.overview.waiting == 1
        assert seen.pools[0].longest_wait > 0
        assert seen.pools[0].why == "pool_size"
        assert seen.overview.longest > 0


def test_a_stopped_pgmux_is_missed_and_a_new_one_is_found(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    observer = observer_of(pgmux)
    before = observer.look()
    pgmux.stop()
    with pytest.raises(NotRunningError, match="no pgmux runs here"):
        observer.look()
    pgmux.start()
    after = observer.look()
    assert [worker.pid for worker in after.workers] != [worker.pid for worker in before.workers]


def test_a_killed_pgmux_is_seen_not_to_move(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    observer = observer_of(pgmux)
    pgmux.kill()

    def is_still() -> Observation | None:
        seen = observer.look()
        return None if seen.overview.is_moving else seen

    seen = wait_until(is_still, what="a silence of some seconds")
    assert seen is not None
    assert seen.overview.silence > 0


def test_a_trouble_of_a_pool_is_seen(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, databases={"app": {"host": "127.0.0.1", "port": 1}})
    with pgmux.wire() as client:
        client.send_startup(user="app", database="app")
        seen = wait_until(
            lambda: [pool for pool in observer_of(pgmux).look().pools if pool.why], what="the trouble"
        )
    assert "refused" in seen[0].why.lower()


def test_something_else_than_a_segment_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pgmux.shm").write_bytes(b"\0" * 8192)
    with pytest.raises(SegmentError):
        Observer(str(tmp_path / "pgmux.shm")).look()


# The command


def test_into_a_pipe_goes_one_look(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with pgmux.connect(application_name="billing") as client:
        client.execute("BEGIN; SELECT 1")
        said = run_top("-c", str(pgmux.config_path), "--interval", "0.25")
    assert said.stderr == ""
    assert said.returncode == 0
    assert said.stdout.startswith("2 of 2 workers")
    assert "billing" in said.stdout
    assert "\x1b" not in said.stdout


def test_no_pgmux_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "pgmux.toml").write_text(f'[pgmux]\nruntime_dir = "{tmp_path}"\n')
    said = run_top("-c", str(tmp_path / "pgmux.toml"))
    assert said.returncode == 1
    assert said.stderr == f"pgmux: no pgmux runs here: there is no {tmp_path}/pgmux.shm\n"


@pytest.mark.parametrize("arguments", [["--interval", "0"], ["--interval", "often"], ["-c", "/nowhere.toml"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    said = run_top(*arguments)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("module", ["pgmux.supervisor.main", "pgmux.cli.main", "pgmux.top.plain"])
def test_nothing_but_the_live_view_loads_its_library(module: str) -> None:
    script = f"import sys, {module}; print(sorted({{'textual', 'rich'}} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert said.stdout == "[]\n"


def test_a_live_view_without_its_library_says_how_to_get_it() -> None:
    script = (
        "import sys\nsys.modules['textual'] = None\nfrom pgmux.cli import top\n"
        "top.Observer.look = lambda self: None\n"
        "sys.stdin = sys.stdout = sys.stderr = type('Terminal', (), {'isatty': lambda self: True})()\n"
        "try:\n top.watch(None, 1.0, is_once=False)\n"
        "except top.NoTextualError as error:\n print(error, file=sys.__stdout__)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "pip install 'pgmux[top]'" in said.stdout
