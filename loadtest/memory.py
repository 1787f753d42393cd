"""What memory a pooler holds: each shared page counted once, and the segment file as the file system counts
it.

The segment is mapped by every process of pgmux, and each process has touched another part of it. So its
pages are taken out of the processes' figures, and the file's allocated blocks are added instead.
Sources: proc_pid_smaps(5), "Pss", "Private_Clean", "Private_Dirty"; stat(2), st_blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.cpu import family

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own blocks are


@dataclass(frozen=True)
class ProcessMemory:
    """One process, in bytes, without the segment."""

    pid: int
    shared_fairly: int  # PSS: private pages, and of each shared page its fraction
    private: int  # USS: what the end of this process alone would give back


@dataclass(frozen=True)
class Memory:
    """A pooler at one instant, in bytes. The root process comes first."""

    processes: list[ProcessMemory]
    segment: int

    @property
    def total(self) -> int:
        """All processes and the segment, each page once."""
        return self.segment + sum(process.shared_fairly for process in self.processes)

    @property
    def private(self) -> int:
        """The private pages of all processes."""
        return sum(process.private for process in self.processes)


def read_memory(pid: int, segment: Path | None = None) -> Memory:
    """The memory of a process and all its descendants, and of their segment file if they have one."""
    processes = []
    for process in family(pid):
        try:
            processes.append(_read_process(process.pid, segment))
        except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
            continue
    return Memory(processes, _allocated_bytes(segment))


def forget_peaks(pid: int) -> dict[int, int]:
    """Makes the kernel begin anew with the highest resident size of every process, and gives the present ones, bytes.

    Source: proc_pid_clear_refs(5), 5; proc_pid_status(5), "VmHWM".
    """
    sizes = {}
    for process in family(pid):
        with suppress(OSError):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            sizes[process.pid] = _status_bytes(process.pid, "VmRSS")
    return sizes


def peak_growth(pid: int, at_rest: dict[int, int]) -> int:
    """By how many bytes the resident memory of all processes has been above that of forget_peaks, at most."""
    growth = 0
    for process in family(pid):
        with suppress(OSError):
            growth += _status_bytes(process.pid, "VmHWM") - at_rest.get(process.pid, 0)
    return growth


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def _read_process(pid: int, segment: Path | None) -> ProcessMemory:
    shared_fairly = private = 0
    for is_segment, field, kilobytes in _fields(pid, segment):
        if is_segment:
            continue
        if field == "Pss":
            shared_fairly += kilobytes * 1024
        elif field in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"):
            private += kilobytes * 1024
    return ProcessMemory(pid, shared_fairly, private)


def _fields(pid: int, segment: Path | None) -> Iterator[tuple[bool, str, int]]:
    """Every "name: number kB" line of smaps, and whether it is about a mapping of the segment."""
    is_segment = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            yield is_segment, name, int(rest.split()[0])
        elif "-" in name.split(" ", 1)[0]:  # a mapping begins: address-address mode offset device inode path
            is_segment = segment is not None and line.endswith(f" {segment}")


def _allocated_bytes(segment: Path | None) -> int:
    if segment is None or not segment.exists():
        return 0
    return segment.stat().st_blocks * _BLOCK_BYTES
