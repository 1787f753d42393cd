"""The command line: subcommands, exit codes, and what failures look like."""

import os
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import pytest

import pgmux
from pgmux.cli.main import main
from pgmux.config import Config
from pgmux.errors import PgmuxError

VALID = "[pgmux]\nworkers = 3\nauth_type = 'trust'\n[databases.app]\n"


def run_pgmux(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m pgmux` with these arguments and no PGMUX_… but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGMUX_")}
    command = [sys.executable, "-m", "pgmux", *arguments]
    return subprocess.run(command, env=clean | environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration that pgmux could run with."""
    for name in os.environ:
        if name.startswith("PGMUX_"):
            monkeypatch.delenv(name)
    file = tmp_path / "pgmux.toml"
    file.write_text(VALID)
    return str(file)


def test_the_version_is_told_by_option_and_by_command() -> None:
    assert run_pgmux("--version").stdout == run_pgmux("version").stdout == f"pgmux {pgmux.__version__}\n"


def test_the_package_has_no_other_names_that_are_made_up() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        pgmux.nonsense  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["check"], ["demo"], ["doctor"], ["import-pgbouncer"], ["top"]],
)
def test_help_is_an_answer_and_no_failure(arguments: list[str]) -> None:
    process = run_pgmux(*arguments, "--help")
    assert process.returncode == 0
    assert process.stdout.startswith("usage: pgmux")
    assert process.stderr == ""


def test_help_teaches_by_examples() -> None:
    said = run_pgmux("--help").stdout
    for example in (
        "pgmux demo",
        "pgmux check -c pgmux.toml",
        "pgmux run -c pgmux.toml",
        "psql -h",
        "PGMUX_CONFIG",
    ):
        assert example in said


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["run", "--frob"], ["run", "-c"], ["check", "--opt"], ["check", "-c", "x", "--options"]],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(arguments: list[str]) -> None:
    process = run_pgmux(*arguments)
    assert process.returncode == 2
    assert process.stdout == ""
    assert "usage: pgmux" in process.stderr
    assert "Traceback" not in process.stderr


def test_no_command_at_all_shows_the_help_and_is_wrong_usage() -> None:
    process = run_pgmux()
    assert process.returncode == 2
    assert "examples:" in process.stdout


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_configuration_is_exit_code_2_and_no_traceback(command: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[pgmux]\nworkrs = 2\nmax_backends = 'x'\n")
    process = run_pgmux(command, "-c", str(file))
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.splitlines() == [
        f'{file}:2: workrs: unknown key (did you mean "workers"?)',
        f'{file}:3: max_backends: expected a whole number, got the text "x"',
    ]


def test_run_gives_the_configuration_to_the_supervisor(valid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []

    class Supervisor:
        def __init__(self, config: Config) -> None:
            seen.append(config)

        def run(self) -> int:
            return 7

    _stand_in(monkeypatch, "pgmux.supervisor.main", Supervisor=Supervisor)
    assert main(["run", "-c", valid]) == 7
    assert [config.path for config in seen] == [valid]
    assert seen[0].pgmux.workers == 3


@pytest.mark.parametrize(("arguments", "keep"), [(["demo"], False), (["demo", "--keep"], True)])
def test_demo_is_told_whether_to_stay(
    arguments: Sequence[str], keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def run_demo(keep: bool) -> int:
        asked.append(keep)
        return 0

    _stand_in(monkeypatch, "pgmux.demo.run", run_demo=run_demo)
    assert main(arguments) == 0
    assert asked == [keep]


def test_a_failure_is_one_line_on_standard_error_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run_demo(keep: bool) -> int:
        raise PgmuxError("port 6432 is taken")

    _stand_in(monkeypatch, "pgmux.demo.run", run_demo=run_demo)
    assert main(["demo"]) == 1
    assert capfd.readouterr() == ("", "pgmux: port 6432 is taken\n")


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def run_demo(keep: bool) -> int:
        raise KeyboardInterrupt

    _stand_in(monkeypatch, "pgmux.demo.run", run_demo=run_demo)
    assert main(["demo"]) == 130
    assert capfd.readouterr() == ("", "")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_demo(keep: bool) -> int:
        raise ZeroDivisionError

    _stand_in(monkeypatch, "pgmux.demo.run", run_demo=run_demo)
    with pytest.raises(ZeroDivisionError):
        main(["demo"])


def test_telling_the_version_loads_neither_gevent_nor_the_supervisor() -> None:
    script = (
        "import sys; from pgmux.cli.main import main; main(['version']); "
        "print(sorted({'gevent', 'msgspec', 'pgmux.supervisor.main'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert process.stdout.splitlines()[-1] == "[]"


def _stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """Put a module with these contents in the place of the one called `name`."""
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)
