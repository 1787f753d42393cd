"""The unit, judged by systemd's own tools, and held against what pgmux does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pgmux.config import Settings
from pgmux.supervisor.crew import WEDGED_AFTER_SECONDS
from pgmux.supervisor.main import INSIST_AFTER_SECONDS
from pgmux.supervisor.succession import ASKING_TIMEOUT_SECONDS

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "pgmux.service"
MOST_EXPOSED = 2.0

needs_tools = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here"
)


def service(key: str) -> str:
    """The last value of a key in [Service]."""
    values: list[str] = re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return values[-1]


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    """The unit with a program that is there, which verify insists on."""
    unit = tmp_path / "pgmux.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/pgmux", "/bin/true"))
    return unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The beginnings of a machine."""
    (tmp_path / "etc").mkdir()
    return tmp_path


def run(*command: str | Path) -> str:
    """What a command of systemd's says. Fails when it fails."""
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


@needs_tools
def test_systemd_finds_nothing_wrong_with_the_unit(runnable: Path) -> None:
    assert run("systemd-analyze", "verify", runnable) == ""


@needs_tools
def test_little_is_exposed(runnable: Path) -> None:
    limit = f"--threshold={int(MOST_EXPOSED * 10)}"
    run("systemd-analyze", "security", "--offline=true", "--no-pager", limit, runnable)


@needs_tools
def test_the_account_can_be_made_and_cannot_log_in(root: Path) -> None:
    run("systemd-sysusers", f"--root={root}", FOLDER / "sysusers.conf")
    [line] = [line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("pgmux:")]
    assert line.endswith("/nologin")


@needs_tools
def test_only_pgmux_and_root_may_enter_its_configuration(root: Path) -> None:
    run("systemd-sysusers", f"--root={root}", FOLDER / "sysusers.conf")
    run("systemd-tmpfiles", "--create", f"--root={root}", FOLDER / "tmpfiles.conf")
    assert (root / "etc/pgmux").stat().st_mode & 0o777 == 0o750


def test_the_units_times_fit_pgmuxs_own() -> None:
    assert int(service("TimeoutStopSec")) > Settings().drain_timeout + INSIST_AFTER_SECONDS
    assert (
        int(service("WatchdogSec")) > 2 * WEDGED_AFTER_SECONDS
    )  # a wedged worker is the supervisor's to replace
    assert (
        int(service("WatchdogSec")) > ASKING_TIMEOUT_SECONDS
    )  # at an upgrade nobody else is heard meanwhile


def test_the_units_paths_are_pgmuxs_defaults() -> None:
    assert f"/run/{service('RuntimeDirectory')}" == Settings().runtime_dir
    assert service("ExecStart").endswith("pgmux run -c /etc/pgmux/pgmux.toml")
