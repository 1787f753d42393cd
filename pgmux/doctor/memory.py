"""The memory that PostgreSQL's processes cost, where they run on this machine.

A page that many processes share, as of shared_buffers, counts for each of them only in part: the proportional
set size. What belongs to a process alone is given back when it ends. Source: proc_pid_smaps_rollup(5).
"""

from typing import NamedTuple

import psutil

SAME_BIRTH_SECONDS = 5.0  # PostgreSQL's and the kernel's idea of when a process began


class Memory(NamedTuple):
    """Of one process, in bytes."""

    pss: int
    private: int


def is_process_here(pid: int, born: float) -> bool:
    """Whether `pid`, which PostgreSQL says began at `born` (seconds since 1970), is that process here.

    A server in a container may be on this machine, and still count its processes for itself.
    """
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < SAME_BIRTH_SECONDS)
    except psutil.NoSuchProcess:
        return False


def measure(pid: int) -> Memory | None:
    """The memory of a process, or None when it has ended or may not be looked at."""
    try:
        used = psutil.Process(pid).memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return Memory(used.pss, used.uss)


def cores_of(pid: int) -> int:
    """The CPU cores that a process may run on."""
    return len(psutil.Process(pid).cpu_affinity())
