"""The account that a throw-away PostgreSQL runs under.

PostgreSQL refuses to run as root. In a container one often is root, so the server is then given to an
unprivileged account that exists already; nothing is added to the machine. That account may be unable to read
the wheel's files (a virtual environment below /root): they are copied to where it can.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pgmux
from pgmux.demo.installations import Installation
from pgmux.errors import PgmuxError

_CANDIDATES = ("postgres", "nobody", "daemon")


@dataclass(frozen=True)
class Account:
    """Who a program runs as."""

    uid: int
    gid: int
    is_ours: bool  # the one that this process runs under

    def own(self, *paths: Path) -> None:
        """Makes this account the owner of files or folders."""
        if not self.is_ours:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Whether it may pass all folders above this one."""
        return self.is_ours or all(parent.stat().st_mode & 0o001 for parent in folder.parents)

    def run(self, command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end under this account and gives its outcome, all output in one.

        Raises PermissionError if the account may not execute the program, PgmuxError if we may not become it.
        """
        options = {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}
        try:
            return subprocess.run(  # type: ignore[no-any-return,call-overload]
                command,
                cwd=folder,
                env=environment(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                **options,
            )
        except PermissionError as error:
            if error.errno != errno.EPERM:  # EACCES is the program's, EPERM setuid(2)'s
                raise
            raise PgmuxError(
                "PostgreSQL does not run as root, and this process may not change to another account; "
                "run it as an ordinary user"
            ) from error


def server_account() -> Account:
    """Ourselves, or for root the first unprivileged account there is. Raises PgmuxError if there is none."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_ours=True)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, is_ours=False)
    raise PgmuxError(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(_CANDIDATES)} exists here; "
        "run it as an ordinary user"
    )


def environment() -> dict[str, str]:
    """Our environment without what would change a PostgreSQL program's or pgmux's behaviour unseen.

    A Python in it imports the pgmux that we are, installed or not.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    ours = str(Path(pgmux.__file__).parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join([ours, *filter(None, [kept.get("PYTHONPATH")])])
    kept["LC_ALL"] = "C"
    return kept


def reachable(installation: Installation, account: Account, folder: Path) -> Installation:
    """The installation itself, or, if the account cannot run it, a copy of it below `folder` which it can."""
    try:
        answer = account.run([installation.bin("postgres"), "--version"], folder)
        if answer.returncode == 0:
            return installation
    except PermissionError:
        pass
    return replace(installation, bin_dir=_copy(installation.bin_dir.parent, folder) / "bin")


def _copy(prefix: Path, folder: Path) -> Path:
    """Copies an installation and its bundled libraries, at the same distance, for everybody to read."""
    package = prefix.parent
    bundled = package.with_name(f"{package.name}.libs")  # where auditwheel puts what the programs link to
    copied = folder / "postgresql" / package.name / prefix.name
    shutil.copytree(prefix, copied, ignore=shutil.ignore_patterns("include", "*.a"))
    if bundled.is_dir():
        shutil.copytree(bundled, folder / "postgresql" / bundled.name)
    for parent, _, files in os.walk(folder / "postgresql"):
        for path in (parent, *(os.path.join(parent, name) for name in files)):
            mode = os.stat(path).st_mode
            os.chmod(path, mode | 0o444 | (0o111 if mode & 0o100 else 0))
    return copied
