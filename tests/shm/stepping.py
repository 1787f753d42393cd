"""A process that runs the compiled modules one instruction at a time, and can be stopped or killed at each.

By ptrace(2), on x86-64. Elsewhere, or where a process may not be traced, `is_possible` is False.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_TRACEME, _PEEKTEXT, _PEEKUSER, _POKETEXT, _POKEUSER, _CONT, _SINGLESTEP, _DETACH = 0, 1, 3, 4, 6, 7, 9, 17
_RIP: Final = 16 * 8  # of struct user_regs_struct
_BREAKPOINT, _LOCK, _XCHG, _REX = 0xCC, 0xF0, 0x87, 0x40
_WORD: Final = (1 << 64) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]


@cache
def is_possible() -> bool:
    """Whether processes can be stepped through here."""
    if platform.machine() != "x86_64":
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(_libc.ptrace(_TRACEME, 0, 0, 0) != 0)
    return os.waitpid(pid, 0)[1] == 0


class Stepped:
    """A forked process that does `work`, stopped before its first instruction in a module of pgmux/shm.

    `entry` is the address of that instruction, where it is known: to get there at once.
    """

    def __init__(self, work: Callable[[], object], entry: int = 0) -> None:
        self._compiled = _addresses()
        self._pid = os.fork()
        if self._pid == 0:
            _be_traced(work)
        self._wait()
        if entry:
            self._run_to(entry)
        while not self._is_inside():
            self._step()
        self.entry = self._rip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def advance(self, instructions: int) -> bool:
        """Runs so many instructions of the compiled modules. False when it came to its end before."""
        while instructions and self._pid:
            self._step()
            instructions -= self._pid != 0 and self._is_inside()
        return self._pid != 0

    def is_at_an_atomic(self) -> bool:
        """Whether the next instruction changes memory for all processes at once: LOCK or XCHG."""
        code = _libc.ptrace(_PEEKTEXT, self._pid, self._rip(), 0) & 0xFFFF
        first, second = code & 0xFF, code >> 8
        return first in (_LOCK, _XCHG) or (first & 0xF0 == _REX and second == _XCHG)

    def go_on(self) -> None:
        """Lets it run to its end, which must be a good one."""
        if self._pid:
            _libc.ptrace(_DETACH, self._pid, 0, 0)
            _, status = os.waitpid(self._pid, 0)
            self._pid = 0
            assert status == 0

    def kill(self) -> None:
        """Kills it where it is."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _step(self) -> None:
        _libc.ptrace(_SINGLESTEP, self._pid, 0, 0)
        self._wait()

    def _wait(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        if os.WIFEXITED(status):
            self._pid = 0
            assert status == 0
        else:
            assert os.WIFSTOPPED(status)

    def _run_to(self, address: int) -> None:
        """By a breakpoint, in this process's own copy of the code."""
        code = _libc.ptrace(_PEEKTEXT, self._pid, address, 0) & _WORD
        _libc.ptrace(_POKETEXT, self._pid, address, code & ~0xFF | _BREAKPOINT)
        _libc.ptrace(_CONT, self._pid, 0, 0)
        self._wait()
        assert self._rip() == address + 1
        _libc.ptrace(_POKETEXT, self._pid, address, code)
        _libc.ptrace(_POKEUSER, self._pid, _RIP, address)

    def _is_inside(self) -> bool:
        rip = self._rip()
        return any(start <= rip < end for start, end in self._compiled)

    def _rip(self) -> int:
        return int(_libc.ptrace(_PEEKUSER, self._pid, _RIP, 0)) & _WORD


def _be_traced(work: Callable[[], object]) -> None:
    code = 1
    try:
        _libc.ptrace(_TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        code = 0
    finally:
        os._exit(code)


@cache
def _addresses() -> list[tuple[int, int]]:
    """Where the code of pgmux/shm is, in this process and all that are forked from it."""
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if "/pgmux/shm/" in line and "x" in rights:
            start, end = (int(address, 16) for address in span.split("-"))
            ranges.append((start, end))
    return ranges
