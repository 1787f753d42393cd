"""A real systemd that boots beside us: this machine's own system, in a container over a layer in memory.

systemd-nspawn boots an overlay of / whose upper layer is a tmpfs, so nothing is downloaded and nothing of
what the guest writes is kept. It shares our network: our PostgreSQL is its PostgreSQL, and its pgmux is at
hand. Python and the packages, which may lie in somebody's home, are bound to /opt/pgmux. See
systemd-nspawn(1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.servers.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_NEEDED = ("systemd-nspawn", "nsenter", "mount", "umount")
_TARGET = "[Unit]\nDescription=Enough to run a service\nRequires=basic.target\nAfter=basic.target\n"
_PROGRAM = """\
#!/bin/sh
export PYTHONPATH=/opt/newer:/opt/pgmux/source:/opt/pgmux/packages LD_LIBRARY_PATH=/opt/pgmux/python/lib
exec /opt/pgmux/python/bin/{python} -m pgmux "$@"
"""


class CannotBootError(Exception):
    """This machine cannot boot a guest; the text says why."""


class Guest:
    """A booted guest; `files` are put into it before, by their absolute path."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._stack = ExitStack()
        self._leader = 0

    def __enter__(self) -> Self:
        missing = [name for name in _NEEDED if not shutil.which(name)]
        if os.geteuid() != 0 or missing:
            raise CannotBootError(f"needs root, and {', '.join(missing) or 'no other account'}")
        try:
            self._boot()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, *command: str) -> str:
        """What a command says in the guest. Raises AssertionError when it fails."""
        said = self._ask(*command)
        assert said.returncode == 0, f"{' '.join(command)}: {said.stdout}{said.stderr}"
        return said.stdout.strip()

    def install_version(self, version: str) -> None:
        """What pip would leave behind had it installed that version; what is run stays the same."""
        about = f"/opt/newer/pgmux-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\\nName: pgmux\\nVersion: {version}\\n"
        self.run("sh", "-c", f"mkdir -p {about} && printf '{metadata}' > {about}/METADATA")

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` gives it."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit)

    def log(self, unit: str) -> str:
        """All that a unit has logged."""
        return self.run("journalctl", "--no-pager", "--unit", unit)

    def _ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        # From systemd's own root and name spaces; PATH is ours, and good enough.
        enter = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
        ]
        return subprocess.run(
            [*enter, "--wd=/", *command], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    # --- its boot

    def _boot(self) -> None:
        root = self._lay_over()
        for name, text in self._files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        self._log = self._folder / "boot.log"
        with open(self._log, "wb") as log:
            process = subprocess.Popen(
                self._command(root), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._stack.callback(self._shut_down, process)
        wait_until(lambda: self._has_booted(process), BOOT_TIMEOUT_S, "systemd to have booted")

    def _lay_over(self) -> Path:
        """A folder that looks like / and can be written to."""
        self._folder = Path(tempfile.mkdtemp(prefix="pgmux-guest-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        layer = self._folder / "layer"
        layer.mkdir()
        self._mount(layer, "-t", "tmpfs", "-o", "size=512m", "tmpfs")
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        options = f"lowerdir=/,upperdir={layer}/upper,workdir={layer}/work"
        self._mount(layer / "root", "-t", "overlay", "-o", options, "overlay")
        return layer / "root"

    def _mount(self, where: Path, *what: str) -> None:
        said = subprocess.run(["mount", *what, where], capture_output=True, text=True)
        if said.returncode:
            raise CannotBootError(said.stderr.strip())
        self._stack.callback(lambda: subprocess.run(["umount", "--lazy", where], check=False))

    def _command(self, root: Path) -> list[str]:
        python, packages = Path(sys.base_prefix), sysconfig.get_path("purelib")
        return [
            *("systemd-nspawn", f"--directory={root}", f"--machine=pgmux-{os.getpid()}", "--boot"),
            *("--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off"),
            *(f"--bind-ro={python}:/opt/pgmux/python", f"--bind-ro={packages}:/opt/pgmux/packages"),
            f"--bind-ro={REPOSITORY}:/opt/pgmux/source",
            *("--", "--unit=pgmux-guest.target"),
        ]

    def _has_booted(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise CannotBootError(f"systemd-nspawn: {self._log.read_text(errors='replace')[-500:].strip()}")
        children = psutil.Process(process.pid).children()
        if not children:
            return False
        self._leader = children[0].pid
        return self._ask("systemctl", "is-active", "pgmux-guest.target").stdout.strip() == "active"

    def _shut_down(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()  # systemd-nspawn(1): it then powers the guest off
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def guest_files(unit: str, sysusers: str, tmpfiles: str, configuration: str) -> dict[str, str]:
    """The files of a guest that has pgmux installed as README.md in systemd/ says."""
    executable = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "/etc/systemd/system/pgmux-guest.target": _TARGET,
        "/etc/systemd/system/pgmux.service": unit,
        "/etc/sysusers.d/pgmux.conf": sysusers,
        "/etc/tmpfiles.d/pgmux.conf": tmpfiles,
        "/etc/pgmux/pgmux.toml": configuration,
        "/usr/local/bin/pgmux": _PROGRAM.format(python=executable.name),
    }
