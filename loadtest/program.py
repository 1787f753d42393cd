"""A server program under measurement: started with its output in a file, awaited, and ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from loadtest.client import Address, log_in
from loadtest.cpu import family
from pgmux.demo.account import environment
from pgmux.demo.leash import leashed
from pgmux.errors import PgmuxError

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_LOG_LINES_SHOWN = 15


def pass_on_niceness(pid: int) -> None:
    """Gives the session of a process our own niceness, which the kernel otherwise regards within a session alone.

    So `nice -n -20 python -m loadtest` means all that it starts. Source: sched(7), "The autogroup feature".
    """
    niceness = os.nice(0)
    if niceness:
        with suppress(OSError):  # no autogroups here, or not allowed
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


class Program:
    """One running program. It ends with us, whatever ends us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        variables: dict[str, str] | None = None,
        start_timeout_s: float = _START_TIMEOUT_S,
        stop_timeout_s: float = _STOP_TIMEOUT_S,
    ) -> None:
        self._name = name
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._log_path = folder / f"{name}.log"
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                leashed([str(part) for part in command], signal.SIGINT),
                cwd=folder,
                env={**environment(), **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours to answer, not its
            )
        pass_on_niceness(self._process.pid)

    @property
    def pid(self) -> int:
        """The process that was started; its children are found from it."""
        return self._process.pid

    def wait_for_a_query(self, address: Address) -> None:
        """Waits until a client can log in at `address` and gets an answer. Raises PgmuxError, with the end of
        the program's log, when it ends or does not answer in time.
        """
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            try:
                with log_in(address) as client:
                    client.query("SELECT 1")
                return
            except (OSError, PgmuxError) as error:
                if self._process.poll() is not None:
                    raise PgmuxError(f"{self._name} did not start; its log:\n{self._log_tail()}") from error
                if time.monotonic() > deadline:
                    raise PgmuxError(
                        f"{self._name} answered no query in {self._start_timeout_s:.0f} s: {error}; "
                        f"its log:\n{self._log_tail()}"
                    ) from error
            time.sleep(0.02)

    def first_line(self) -> str:
        """The first line that it printed. Raises PgmuxError when it ends before, or takes too long."""
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            printed = self._log_path.read_text()
            if "\n" in printed:
                return printed.split("\n", 1)[0]
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise PgmuxError(f"{self._name} did not start; its log:\n{self._log_tail()}")

    def check(self) -> None:
        """Raises PgmuxError, with the end of its log, if it is not running any more."""
        if self._process.poll() is not None:
            raise PgmuxError(
                f"{self._name} ended by itself (status {self._process.returncode}); "
                f"its log:\n{self._log_tail()}"
            )

    def stop(self) -> None:
        """Ends it by SIGINT, and by SIGKILL with all its children what has not ended in time."""
        left = family(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in left:
                with suppress(psutil.NoSuchProcess):  # psutil knows a process from a later one with its id
                    process.kill()
            self._process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
