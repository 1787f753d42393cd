"""Where and with what a measurement was made: without it no figure means anything."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil

_REPOSITORY = Path(__file__).parent.parent
_PACKAGES = ("pgmux", "gevent", "greenlet", "msgspec", "psutil", "Cython")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The computer and its operating system, without its name."""

    processor: str
    cores: int  # that this process may use
    memory_bytes: int
    kernel: str
    is_virtual: bool
    load_average: float  # over the minute before the measurement


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Machine, versions, commit, date."""

    date: str  # UTC, ISO 8601
    commit: str | None  # with "+" when the working tree differed from it
    machine: Machine
    versions: dict[str, str]


def look_around(versions: dict[str, str]) -> Circumstances:
    """The circumstances of a measurement that begins now; `versions` of competitors and tools are added to
    those of the Python packages.
    """
    return Circumstances(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=_commit(),
        machine=Machine(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_bytes=psutil.virtual_memory().total,
            kernel=platform.release(),
            is_virtual=" hypervisor" in _cpuinfo(),
            load_average=round(os.getloadavg()[0], 2),
        ),
        versions={"python": platform.python_version(), **_package_versions(), **versions},
    )


def _package_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _commit() -> str | None:
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(_REPOSITORY), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
