"""pgbench, PostgreSQL's own load: started against one address, and its report read.

A run is a child process, so that its caller can look at PostgreSQL meanwhile. Source: PostgreSQL manual,
"pgbench".
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pgmux.demo.account import environment
from pgmux.demo.leash import leashed
from pgmux.errors import PgmuxError


@dataclass(frozen=True)
class Address:
    """Where a client connects to, and as whom."""

    host: str
    port: int
    dbname: str
    user: str

    @property
    def options(self) -> list[str]:
        """This address as the options that psql and pgbench share."""
        return ["-h", self.host, "-p", str(self.port), "-U", self.user]


@dataclass(frozen=True)
class Report:
    """What one run gave."""

    tps: float  # transactions per second; with a connection for each, connections per second
    p99_ms: float  # of a transaction, without the making of its connection


class Run:
    """One pgbench at work; leaving the with statement ends it."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            leashed(command, signal.SIGKILL),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        for log in self._logs():
            log.unlink()

    def output(self, meanwhile: Callable[[], None] | None = None, every_s: float = 0.5) -> str:
        """Waits for the end, calling `meanwhile` every so many seconds, and gives what pgbench printed.

        Raises PgmuxError with pgbench's own words if it failed.
        """
        while True:
            try:
                printed, complaints = self._process.communicate(timeout=every_s if meanwhile else None)
                break
            except subprocess.TimeoutExpired:
                assert meanwhile is not None
                meanwhile()
        if self._process.returncode != 0:
            raise PgmuxError(f"pgbench failed:\n{complaints.strip()}")
        return printed

    def report(self, meanwhile: Callable[[], None] | None = None) -> Report:
        """Waits for the end as `output` does, and reads the figures. Raises PgmuxError if it failed."""
        printed = self.output(meanwhile)
        match = re.search(r"^tps = ([\d.]+)", printed, re.MULTILINE)
        if match is None and "actually processed: 0" in printed:
            raise PgmuxError(
                "pgbench's clients were still connecting when its time was over: this machine is very busy now. "
                "Try again when it is calmer."
            )
        if match is None:
            raise PgmuxError(f"pgbench told no tps:\n{printed.strip()}")
        return Report(float(match[1]), percentile(self._latencies_us(), 99) / 1000)

    def _logs(self) -> list[Path]:
        return list(self._folder.glob(f"latency.{self._process.pid}*"))

    def _latencies_us(self) -> list[int]:
        """The third column of the transaction log: a transaction's time in microseconds, or "failed"."""
        lines = [line for log in self._logs() for line in log.read_text().splitlines()]
        times = [line.split(" ", 3)[2] for line in lines]
        return [int(time) for time in times if time.isdigit()]


class Pgbench:
    """The program at `program`; `folder` is for its transaction logs."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = str(program)
        self._folder = folder
        self._threads = str(os.cpu_count() or 1)

    def initialise(self, address: Address, scale: int) -> None:
        """Makes and fills pgbench's tables, 100,000 accounts for each unit of scale. Raises PgmuxError."""
        with self._run(address, "-i", "-q", "-s", str(scale)) as run:
            run.output()

    def select_only(self, address: Address, clients: int, seconds: int) -> Run:
        """Starts clients that read one account at a time, over connections that they keep."""
        return self._load(address, clients, seconds)

    def connect_each_time(self, address: Address, clients: int, seconds: int) -> Run:
        """Starts clients that make a new connection for every account that they read."""
        return self._load(address, clients, seconds, "-C")

    def _load(self, address: Address, clients: int, seconds: int, *more: str) -> Run:
        load = ["-S", "-n", "-c", str(clients), "-j", self._threads, "-T", str(seconds), *more]
        return self._run(address, *load, "--log", "--log-prefix=latency", "--sampling-rate=0.2")

    def _run(self, address: Address, *options: str) -> Run:
        return Run([self._program, *address.options, *options, address.dbname], self._folder)


def percentile(values: list[int], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
