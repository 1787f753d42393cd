"""A test run that was killed is remembered, and makes the next run fail, once.

Compiled code can end the interpreter: then no test fails, there is only an end, which a script may overlook.
So every run keeps a note of itself and of the test it is at, and takes it away in the end. A note whose
process is gone is a run that died. SIGTERM is made an orderly end, so that servers are stopped too.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import FrameType

import psutil
import pytest

_PLUGIN = "crash memory"


class CrashMemory:
    """The notes of this run and of dead ones, in the folder `notes`."""

    def __init__(self, notes: Path) -> None:
        self._note = notes / f"{os.getpid()}.json"
        self._started_at = psutil.Process().create_time()
        self.died = [told for path in notes.glob("*.json") if (told := _read_if_dead(path))]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._note.write_text(json.dumps({"started_at": self._started_at, "test": nodeid}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test in self.died:
            terminalreporter.section("a previous run died", red=True, bold=True)
            terminalreporter.line(f"It was killed, or crashed, in {test}.")
            terminalreporter.line("This run therefore counts as failed; the next one will not.")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._note.unlink(missing_ok=True)
        if self.died and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Begins the note of this run, where the cache may be written."""
    signal.signal(signal.SIGTERM, _end_in_order)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    if config.getoption("collectonly", False) or not hasattr(config, "cache"):
        return
    config.pluginmanager.register(CrashMemory(config.cache.mkdir("running")), _PLUGIN)


def _end_in_order(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _read_if_dead(path: Path) -> str | None:
    """The test that a run was at, if it is one that died; its note is then taken away."""
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):  # being written, or just removed
        return None
    try:
        if psutil.Process(int(path.stem)).create_time() == note["started_at"]:
            return None
    except psutil.NoSuchProcess:
        pass
    path.unlink(missing_ok=True)
    return str(note["test"])
