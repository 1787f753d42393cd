"""`pgmux demo`: pgmux in front of a real PostgreSQL, under load, in one command and leaving nothing behind.

It starts a throw-away PostgreSQL and a pgmux of at least two workers, drives hundreds of pgbench clients over
a handful of backends, first one way and then the other in turn, and prints both ways side by side. All that
it starts or writes belongs to one ExitStack, so that the end, an error, Ctrl-C and SIGTERM clean up by the
same lines.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from pgmux.demo.comparison import Comparison, Plan, Way, rows
from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.pgbench import Address, Pgbench
from pgmux.demo.pooler import PGMUX, Pooler, Pooling
from pgmux.demo.ports import free_port, give_back
from pgmux.demo.terminal import Progress, print_table

_NAME = "app"  # of the demo's database and of the role that owns it
_DIRECT_ROLE = "direct"  # who goes there without pgmux, so that his backends can be told from pgmux's
_SCALE = 2
_START_STEPS = 3
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_demo(keep: bool = False) -> int:
    """Runs the demo and gives the command's exit code: 0, or 128 and its number if a signal ended it.

    With `keep`, or KEEP set in the environment, PostgreSQL and pgmux stay up after the measurement until a
    signal ends them, which then is no failure. Raises PgmuxError if something needed is missing or fails.
    """
    return Demo(keep=keep or os.environ.get("KEEP", "0") not in ("", "0")).run()


class Demo:
    """The demo with what its tests vary: the plan of the measurement, and the pgmux command."""

    def __init__(
        self,
        keep: bool = False,
        plan: Plan | None = None,
        pooling: Pooling | None = None,
        command: Sequence[str] = PGMUX,
    ) -> None:
        self._keep = keep
        self._plan = plan or Plan()
        self._pooling = pooling or Pooling(backends=10)
        self._command = command
        self._progress = Progress(_START_STEPS + self._plan.steps)
        self._is_measured = False

    def run(self) -> int:
        """From start to clean-up; gives the exit code."""
        try:
            with _stopped_by_signals(), ExitStack() as stack:
                stack.callback(self._progress.clear)
                postgres = self._start_postgres(stack)
                pooler = self._start_pooler(stack, postgres)
                self._measure(stack, postgres, pooler)
                if self._keep:
                    self._tell_how_to_connect(postgres, pooler)
                    pooler.wait()
        except _Stopped as stopped:
            if self._keep and self._is_measured:
                return 0
            print("pgmux demo: stopped before its end; everything it started is gone", file=sys.stderr)
            return 128 + stopped.number
        return 0

    def _start_postgres(self, stack: ExitStack) -> EmbeddedPostgres:
        self._progress.tell("starting PostgreSQL")
        connections = self._plan.clients + self._plan.connecting_clients + self._pooling.backends + 20
        postgres = stack.enter_context(EmbeddedPostgres(settings={"max_connections": connections}))
        postgres.sql(f"CREATE ROLE {_NAME} LOGIN")
        postgres.sql(f"CREATE ROLE {_DIRECT_ROLE} LOGIN IN ROLE {_NAME}")
        postgres.sql(f"CREATE DATABASE {_NAME} OWNER {_NAME}")
        return postgres

    def _start_pooler(self, stack: ExitStack, postgres: EmbeddedPostgres) -> Pooler:
        self._progress.tell("starting pgmux")
        port = free_port()
        stack.callback(give_back, port)
        address = Address("127.0.0.1", port, _NAME, _NAME)
        return stack.enter_context(Pooler(postgres, address, self._pooling, _folder(stack), self._command))

    def _measure(self, stack: ExitStack, postgres: EmbeddedPostgres, pooler: Pooler) -> None:
        self._progress.tell("filling pgbench's tables")
        owner = Address(postgres.host, postgres.port, _NAME, _NAME)
        direct = Way("direct", replace(owner, user=_DIRECT_ROLE))
        pooled = Way("pooled", pooler.address, pooler.pid)
        pgbench = Pgbench(postgres.bin("pgbench"), _folder(stack))
        pgbench.initialise(owner, _SCALE)
        Comparison(postgres, pgbench, [direct, pooled], self._plan, self._progress.tell).measure()
        self._is_measured = True
        self._progress.clear()
        plan = self._plan
        print_table(
            f"{plan.clients} clients of PostgreSQL {postgres.version}, directly and through pgmux "
            f"({self._pooling.workers} workers, {self._pooling.backends} backends)",
            ("", direct.name, pooled.name, "pooled / direct"),
            rows(direct, pooled),
            f"pgbench -S on {os.cpu_count()} cores shared by clients, pgmux and PostgreSQL;\n"
            f"the two ways in turn, medians of {plan.rounds} runs; memory as PSS;\n"
            f"new connections by {plan.connecting_clients} clients at once.",
        )

    def _tell_how_to_connect(self, postgres: EmbeddedPostgres, pooler: Pooler) -> None:
        psql = "psql" if shutil.which("psql") else str(postgres.bin("psql"))
        print("\nStill running. Connect through pgmux with")
        print(f"    {psql} {' '.join(pooler.address.options)} {pooler.address.dbname}")
        print(f"and stop everything with Ctrl-C here, or kill {os.getpid()}.", flush=True)


class _Stopped(BaseException):
    """A signal asked for the end; no `except Exception` on the way shall take it for an error."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raises _Stopped at the first signal; further ones are ignored: the clean-up is under way."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = {each: signal.signal(each, stop) for each in _STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgmux-demo-")))
