"""What processor time a pooler used: all its processes, user and system apart.

A reading is taken before and after a run, and the difference is what counts. A process that ended meanwhile
is not lost: its parent has inherited its time (that is why times of reaped children are part of a reading,
and why only the sum over the whole family is exact). The kernel's total is exact; how it divides into user
and system is sampled at each tick (proc_pid_stat(5): utime, stime, cutime, cstime).
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class CpuTime:
    """Seconds of processor time."""

    user_s: float = 0.0
    system_s: float = 0.0

    @property
    def total_s(self) -> float:
        """User and system together."""
        return self.user_s + self.system_s

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user_s + other.user_s, self.system_s + other.system_s)

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user_s - other.user_s, self.system_s - other.system_s)


@dataclass(frozen=True)
class CpuReading:
    """The time that each process of a family has used since it began, its reaped children's included."""

    root: int
    by_pid: dict[int, CpuTime]

    @property
    def total(self) -> CpuTime:
        """Of the whole family."""
        return sum(self.by_pid.values(), CpuTime())

    def since(self, earlier: CpuReading) -> CpuTime:
        """What the family used since an earlier reading."""
        return self.total - earlier.total

    def workers_since(self, earlier: CpuReading) -> list[float]:
        """Seconds that each process but the root used since an earlier reading, the busiest first."""
        others = [pid for pid in self.by_pid if pid != self.root]
        used = [(self.by_pid[pid] - earlier.by_pid.get(pid, CpuTime())).total_s for pid in others]
        return sorted(used, reverse=True)


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def read_cpu(pid: int) -> CpuReading:
    """A reading of a process and all its descendants; empty when it has ended."""
    by_pid = {}
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        by_pid[process.pid] = CpuTime(times.user + times.children_user, times.system + times.children_system)
    return CpuReading(pid, by_pid)


@dataclass(frozen=True)
class MachineTime:
    """Processor seconds of the whole machine since it started: busy, and stolen by its hypervisor."""

    busy_s: float
    stolen_s: float
    all_s: float


def read_machine() -> MachineTime:
    """A reading of the whole machine, to tell how much of it others used. Source: proc_stat(5)."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq  # guests are in user already
    return MachineTime(busy, times.steal, busy + times.idle + times.iowait + times.steal)


def strangers_share(before: MachineTime, after: MachineTime, ours_s: float) -> float:
    """The part of the machine, 0 to 1, that neither idled nor worked for the run: other programs, other
    machines.
    """
    passed = after.all_s - before.all_s
    others = after.busy_s - before.busy_s - ours_s + after.stolen_s - before.stolen_s
    return max(0.0, others / passed) if passed else 0.0
