"""crowd.c as the load: as many clients as a machine has ports for, logged in before the clocks are read."""

from __future__ import annotations

import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from loadtest.build import build
from loadtest.client import DATABASE, USER, Address
from loadtest.cpu import read_cpu
from loadtest.load import Load, Report
from pgmux.demo.account import environment
from pgmux.demo.leash import leashed
from pgmux.errors import PgmuxError

_SCRIPTS = Path(__file__).parent / "scripts"
_LOG_IN_PATIENCE_S = 120
_PATIENCE_S = 75  # beyond the time that a run should take: crowd itself waits a minute for the last answers


class Told(msgspec.Struct, frozen=True):
    """The line that crowd ends with. Times in microseconds; 0 where nothing was counted."""

    transactions: int
    seconds: float
    p50_us: float
    p99_us: float
    p999_us: float
    connect_p50_us: float
    connect_p99_us: float
    highest_us: float
    fewest: int
    most: int
    errors: int
    unfinished: int
    first_error: str


class Crowd:
    """The program."""

    @contextmanager
    def ready(self, load: Load, address: Address, seconds: float) -> Iterator[Callable[[], Report]]:
        """All clients logged in, and what lets them run. Raises PgmuxError with crowd's words if one is refused."""
        with self.gathered(load, address, seconds) as run:
            yield lambda: _report(*run())

    @contextmanager
    def gathered(
        self, load: Load, address: Address, seconds: float
    ) -> Iterator[Callable[[], tuple[Told, float]]]:
        """The same, with all that crowd tells, and its processor seconds."""
        process = subprocess.Popen(
            leashed([str(build("crowd")), *_options(load, address, seconds)], signal.SIGKILL),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def run() -> tuple[Told, float]:
            before = read_cpu(process.pid)
            process.stdin.write(b"\n")  # type: ignore[union-attr]  # asserted above
            told = msgspec.json.decode(_line(process, process.stdout, seconds + _PATIENCE_S), type=Told)
            return told, read_cpu(process.pid).since(before).total_s

        try:
            _line(process, process.stdout, _LOG_IN_PATIENCE_S)
            yield run
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            process.stderr.close()  # type: ignore[union-attr]  # it is a pipe

    @contextmanager
    def background(self, load: Load, address: Address, seconds: float) -> Iterator[Callable[[], Told]]:
        """The clients at work already, for some seconds from now; and what waits for their end and tells of it."""
        with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            run = stack.enter_context(self.gathered(load, address, seconds))
            running = pool.submit(run)
            yield lambda: running.result()[0]


def _options(load: Load, address: Address, seconds: float) -> list[str]:
    where = ["-h", address.host, "-p", str(address.port), "-U", USER, "-d", DATABASE]
    what = ["-s", str(_SCRIPTS / load.script), "-m", load.protocol, "-t", str(seconds)]
    who = ["-c", str(load.clients), "-i", str(load.think_ms), "-b", str(load.copy_bytes)]
    return [*where, *what, *who, *(["-C"] if load.connects_each_time else [])]


def _line(process: subprocess.Popen[bytes], output: IO[bytes] | None, patience_s: float) -> bytes:
    """The next line of its output. Raises PgmuxError when it ends instead, or takes too long."""
    assert output is not None
    if not select.select([output], [], [], patience_s)[0]:
        process.kill()
        raise PgmuxError(f"crowd did not come to an end in {patience_s:.0f} s: a client waits for an answer")
    line = output.readline()
    if not line:
        process.wait(10)
        complaint = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
        raise PgmuxError(complaint or f"crowd ended with status {process.returncode}")
    return line


def _report(told: Told, cpu_s: float) -> Report:
    if not told.transactions:
        raise PgmuxError(f"no transaction came to an end: {told.first_error or 'no answer at all'}")
    return Report(
        transactions=told.transactions,
        tps=told.transactions / told.seconds,
        p50_us=told.p50_us,
        p99_us=told.p99_us,
        p999_us=told.p999_us,
        connect_us=told.connect_p50_us or None,
        fewest=told.fewest,
        most=told.most,
        errors=told.errors + told.unfinished,
        first_error=told.first_error,
        cpu_s=cpu_s,
    )
