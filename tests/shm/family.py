"""Processes forked from the test: real ones, that can be killed at any instant."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self


class Child:
    """A forked process that runs one function and ends with 0, or with 1 and its traceback on stderr."""

    def __init__(self, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.pid = os.fork()
        self.exit_code: int | None = None  # -9 = killed by signal 9
        if self.pid == 0:
            _live(work, arguments)

    def kill(self) -> None:
        """Kills it, whatever it is doing, and waits until it is gone."""
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is None

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self.exit_code is None:
            _, status = os.waitpid(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code


class Family:
    """All children of one test. Those that still live at its end are killed."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.kill()

    def fork(self, work: Callable[..., object], *arguments: object) -> Child:
        """A process that does `work` with these arguments, and ends."""
        child = Child(work, arguments)
        self.children.append(child)
        return child

    def dies_after(self, *steps: Callable[[], object]) -> None:
        """Does `steps` in a process that is killed right after the last, without any clearing up."""

        def live_and_die() -> None:
            for step in steps:
                step()
            die()

        assert self.fork(live_and_die).wait() == -signal.SIGKILL

    def end_well(self) -> None:
        """Waits for all; each must end by itself, and without an exception."""
        assert [child.wait() for child in self.children] == [0] * len(self.children)


def die() -> NoReturn:
    """The end of this process, by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


def _live(work: Callable[..., object], arguments: tuple[object, ...]) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)
