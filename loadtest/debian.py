"""Debian's PgBouncer: the installed one, or else its package unpacked beside our builds.

Unpacked and not installed, because a measurement should not leave a service on somebody's machine. It
brings the libraries that are missing here. Sources: apt-get(8), "download"; dpkg-deb(1), "--extract".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from loadtest.build import BUILD_FOLDER

_PATIENCE_S = 120


@dataclass(frozen=True)
class FoundPgBouncer:
    """The program, its version ("1.18.0"), and the environment variables that it needs."""

    program: Path
    version: str
    variables: dict[str, str] = field(default_factory=dict)


@cache
def find_pgbouncer(named: Path | None = None) -> FoundPgBouncer | None:
    """The one that the user has named, else the installed PgBouncer, else an unpacked one, fetched if need be.

    None where there is neither.
    """
    if named is not None:
        return _found(named)
    installed = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if installed:
        return _found(Path(installed))
    folder = BUILD_FOLDER / "pgbouncer"
    return _unpacked(folder) or (_unpacked(folder) if fetch_pgbouncer(folder) else None)


def fetch_pgbouncer(folder: Path) -> bool:
    """Unpacks Debian's package, and those of the libraries it lacks here, below a folder.

    False where apt-get does not exist or cannot reach its archive.
    """
    try:
        wanted = _packages_to_unpack()
        with tempfile.TemporaryDirectory(prefix="pgmux-bench-") as downloads:
            if os.geteuid() == 0:
                os.chmod(downloads, 0o777)  # root's apt-get downloads under an account of its own
            _run("apt-get", "download", *wanted, folder=downloads)
            for package in Path(downloads).glob("*.deb"):
                _run("dpkg-deb", "--extract", str(package), str(folder), folder=downloads)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _packages_to_unpack() -> list[str]:
    """PgBouncer's package and the library packages that apt-get would install with it."""
    plan = _run("apt-get", "install", "--simulate", "--no-install-recommends", "pgbouncer")
    named = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    return ["pgbouncer", *(name for name in named if name.startswith("lib") and not name.endswith("-perl"))]


def _unpacked(folder: Path) -> FoundPgBouncer | None:
    program = folder / "usr" / "sbin" / "pgbouncer"
    if not program.exists():
        return None
    libraries = ":".join(str(path) for pattern in ("lib/*", "usr/lib/*") for path in folder.glob(pattern))
    return _found(program, {"LD_LIBRARY_PATH": libraries})


def _found(program: Path, variables: dict[str, str] | None = None) -> FoundPgBouncer | None:
    variables = variables or {}
    try:
        answer = subprocess.run(
            [program, "--version"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"PgBouncer (\d[\w.]*)", answer.stdout)
    return FoundPgBouncer(program, match[1] if match else "unknown", variables)


def _run(*command: str, folder: str | None = None) -> str:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    ).stdout
