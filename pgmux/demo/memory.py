"""The memory of processes, each shared page counted once and not once for every process."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def memory_bytes(pids: Iterable[int]) -> int:
    """The proportional set size of all these processes together, in bytes; who has ended counts nothing.

    Where it may not be read (a container without CAP_SYS_PTRACE, a server under another account), a process's
    anonymous memory stands for it. Source: proc_pid_smaps(5), "Pss"; proc_pid_status(5), "RssAnon".
    """
    return sum(map(_memory_of, pids))


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty if it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.AccessDenied:
        return _anonymous_bytes(pid)
    except psutil.NoSuchProcess:
        return 0


def _anonymous_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
