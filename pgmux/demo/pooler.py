"""The pgmux of the demo: a configuration in a temporary folder and a child process that runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pgmux.demo.account import environment
from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.leash import leashed
from pgmux.demo.memory import family
from pgmux.demo.pgbench import Address
from pgmux.errors import PgmuxError

PGMUX = (sys.executable, "-m", "pgmux")
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0

_CONFIGURATION = """\
[pgmux]
workers = {workers}
listen = [{listen}]
runtime_dir = {runtime_dir}
auth_type = "trust"
pool_mode = "transaction"
default_pool_size = {backends}
max_backends = {backends}

[databases.{dbname}]
host = {socket_dir}
port = {port}
"""


@dataclass(frozen=True)
class Pooling:
    """The few settings that the demo chooses."""

    backends: int
    workers: int = max(2, os.cpu_count() or 1)


class Pooler:
    """One pgmux in front of an embedded PostgreSQL.

    The with statement starts it, waits for a log-in, and stops it. `address` is where it listens. Raises
    PgmuxError, with its log, if nobody can log in.
    """

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        address: Address,
        pooling: Pooling,
        folder: Path,
        command: Sequence[str] = PGMUX,
    ) -> None:
        self.address = address
        self._postgres = postgres
        self._folder = folder
        self._log_path = folder / "pgmux.log"
        self._command = [*command, "run", "-c", str(self._write_configuration(pooling))]

    def __enter__(self) -> Self:
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                leashed(self._command),
                cwd=self._folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_for_a_login()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def stop(self) -> None:
        """Ends pgmux, at once if it does not end by itself in STOP_TIMEOUT_S."""
        left = family(self.pid)
        try:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a signal ended the wait
            for process in left:
                with suppress(psutil.NoSuchProcess):  # psutil knows a process from a later one with its id
                    process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Waits until pgmux ends, which it should not by itself. Raises PgmuxError then, with its log."""
        self._process.wait()
        raise PgmuxError(
            f"pgmux ended by itself (exit status {self._process.returncode}); its log:\n{self.log_tail()}"
        )

    def log_tail(self) -> str:
        """The last lines that it logged."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-30:])

    def _write_configuration(self, pooling: Pooling) -> Path:
        path = self._folder / "pgmux.toml"
        listen = f"{self.address.host}:{self.address.port}"
        path.write_text(
            _CONFIGURATION.format(  # a JSON string of these is a TOML string too
                workers=pooling.workers,
                listen=json.dumps(listen),
                runtime_dir=json.dumps(str(self._folder)),
                backends=pooling.backends,
                dbname=self.address.dbname,
                socket_dir=json.dumps(str(self._postgres.socket_dir)),
                port=self._postgres.port,
            )
        )
        return path

    def _wait_for_a_login(self) -> None:
        psql = [str(self._postgres.bin("psql")), "-XAtqw", *self.address.options, "-d", self.address.dbname]
        impatient = {**environment(), "PGCONNECT_TIMEOUT": "5"}
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            answer = subprocess.run(
                [*psql, "-c", "SELECT 1"], capture_output=True, text=True, env=impatient, check=False
            )
            if answer.returncode == 0:
                return
            if self._process.poll() is not None:
                raise PgmuxError(f"pgmux did not start; its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise PgmuxError(
                    f"no log-in through pgmux within {START_TIMEOUT_S:.0f} s: {answer.stderr.strip()}\n"
                    f"its log:\n{self.log_tail()}"
                )
            time.sleep(0.05)
