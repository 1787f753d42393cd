"""`pgmux demo`, with a stand-in for pgmux: what it prints, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.pgbench import Address
from pgmux.demo.pooler import Pooler, Pooling
from pgmux.demo.ports import free_port
from pgmux.errors import PgmuxError
from tests.servers import stand_in, wait_until

pytestmark = [
    pytest.mark.pg,
    pytest.mark.skipif(not Path(stand_in.PGBOUNCER).exists(), reason="no PgBouncer installed"),
]

STAND_IN = (sys.executable, stand_in.__file__)
PROGRAM = f"""
import sys
from pgmux.demo.comparison import Plan
from pgmux.demo.pooler import Pooling
from pgmux.demo.run import Demo
plan = Plan(clients=40, connecting_clients=4, rounds=1, warm_up_s=1, load_s=1, connect_s=1)
sys.exit(Demo("keep" in sys.argv, plan, Pooling(backends=4, workers=2), {STAND_IN!r}).run())
"""


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demo whose temporary files are in `folder`; afterwards neither they nor any process may be left."""
    output = folder.with_suffix(".out")
    with open(output, "w") as file:
        running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield running
        assert running.returncode is not None
        assert list(folder.iterdir()) == []
        assert [line for line in command_lines(psutil.process_iter()) if str(folder) in line] == []
    finally:
        running.kill()
        running.wait()
        output.unlink()


def command_lines(processes: Iterable[psutil.Process]) -> list[str]:
    """Of those that live; a zombie's is empty."""
    lines = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if line]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgmux-test-demo-") as name:
        os.chmod(name, 0o755)  # PostgreSQL's account must pass
        yield Path(name)


def printed(folder: Path) -> str:
    return folder.with_suffix(".out").read_text()


def test_both_ways_stand_side_by_side_and_psql_connects_until_ctrl_c(folder: Path) -> None:
    with demo(folder, "keep") as running:
        (line,) = wait_until(lambda: re.findall(r"^    (\S*psql -h .*)$", printed(folder), re.MULTILINE), 60)
        answer = subprocess.run(
            [*line.split(), "-XAtc", "SELECT current_user"], capture_output=True, text=True
        )
        assert answer.stdout == "app\n"
        told = printed(folder)
        assert re.search(r"^backends in PostgreSQL +40 +[1-4] +0\.\d\d$", told, re.MULTILINE)
        for figure in ("memory of the backends", "transactions per second", "p99 of a transaction"):
            assert re.search(rf"^{figure} +[1-9].*? +[1-9].*? +\d+\.\d\d$", told, re.MULTILINE), told
        assert re.search(r"^memory of pgmux +- +[1-9]\d* MB$", told, re.MULTILINE)
        assert re.search(r"^new connections per second +[1-9]", told, re.MULTILINE)
        assert "\x1b" not in told
        assert f"kill {running.pid}" in told
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_ends_everything(folder: Path, number: int) -> None:
    with demo(folder) as running:
        demo_process = psutil.Process(running.pid)
        wait_until(lambda: "bin/pgbench -h" in str(command_lines(demo_process.children())), 30, "pgbench")
        family = demo_process.children(recursive=True)
        running.send_signal(number)
        assert running.wait(30) == 128 + number
        assert command_lines(family) == []
        assert printed(folder) == "pgmux demo: stopped before its end; everything it started is gone\n"


def test_a_pgmux_that_does_not_start_is_told_with_its_log(folder: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no, thank you')")
    with EmbeddedPostgres() as postgres:
        address = Address("127.0.0.1", free_port(), "app", "app")
        pooler = Pooler(postgres, address, Pooling(backends=1), folder, command)
        with pytest.raises(PgmuxError, match="pgmux did not start; its log:\nno, thank you"):
            pooler.__enter__()


def test_a_pgmux_that_ends_by_itself_is_told(folder: Path) -> None:
    with EmbeddedPostgres() as postgres:
        postgres.sql("CREATE ROLE app LOGIN")
        postgres.sql("CREATE DATABASE app")
        address = Address("127.0.0.1", free_port(), "app", "app")
        with Pooler(postgres, address, Pooling(backends=2, workers=1), folder, STAND_IN) as pooler:
            os.kill(psutil.Process(pooler.pid).children()[0].pid, signal.SIGKILL)
            with pytest.raises(PgmuxError, match=r"pgmux ended by itself \(exit status 9\)"):
                pooler.wait()
