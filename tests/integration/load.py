"""pgbench as a crowd of busy clients, in a process of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from pgmux.demo.account import environment
from pgmux.demo.leash import leashed
from tests.servers import Pgmux, Postgres


class Load:
    """So many clients that run a script over and over, each over one connection.

    `wait` gives how many transactions they did; it raises AssertionError with pgbench's words if one failed.
    """

    def __init__(
        self,
        postgres: Postgres,
        pgmux: Pgmux,
        clients: int,
        seconds: int,
        *options: str,
        script: str = "SELECT 1;",
        dbname: str = "app",
    ) -> None:
        self._script = Path(pgmux.folder) / f"{clients}-clients.sql"
        self._script.write_text(script + "\n")
        address = ["-h", pgmux.host, "-p", str(pgmux.port), "-U", "app"]
        load = ["-n", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", str(self._script), *options]
        self._command = [str(postgres.bin("pgbench")), *address, *load, dbname]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            leashed(self._command),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def wait(self) -> int:
        """Waits for the end; the number of transactions."""
        printed, _ = self._process.communicate()
        assert self._process.returncode == 0, f"pgbench failed:\n{printed}"
        told = re.search(r"transactions actually processed: (\d+)", printed)
        assert told, printed
        return int(told[1])
