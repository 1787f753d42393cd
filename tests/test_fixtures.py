"""The plug-ins of these tests, each tried in a pytest of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.waiting import wait_until

PLUGINS = ("-p", "tests.fix_crash_memory", "-p", "tests.fix_evidence", "-p", "no:timeout")
DIES = """
import os, signal
def test_before(): pass
def test_of_death():
    if not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def importable(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*PLUGINS, *arguments)


def test_a_run_that_died_fails_the_next_one_and_only_that(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_death=DIES)
    assert run(pytester).ret == -signal.SIGKILL
    second = run(pytester)
    assert second.ret == pytest.ExitCode.TESTS_FAILED
    second.assert_outcomes(passed=2)
    second.stdout.fnmatch_lines(["*a previous run died*", "*crashed, in test_death.py::test_of_death.*"])
    third = run(pytester)
    assert third.ret == 0
    third.stdout.no_fnmatch_line("*a previous run died*")


def test_a_listing_neither_fails_nor_forgets(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_death=DIES)
    run(pytester)
    assert run(pytester, "--collect-only").ret == 0
    assert run(pytester).ret == pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def waiting_run(pytester: pytest.Pytester) -> Iterator[subprocess.Popen[str]]:
    pytester.makepyfile(
        test_long="""
        import signal, pytest
        @pytest.fixture
        def server():
            yield
            open("stopped", "w").close()
        def test_long(server):
            open("begun", "w").close()
            while True: signal.pause()
        """
    )
    command = [sys.executable, "-m", "pytest", *PLUGINS]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True) as running:
        wait_until((pytester.path / "begun").exists, what="the test to begin")
        yield running
        running.kill()


def test_a_run_beside_us_is_not_a_dead_one(
    pytester: pytest.Pytester, waiting_run: subprocess.Popen[str]
) -> None:
    pytester.makepyfile(test_short="def test_short(): pass")
    assert run(pytester, "test_short.py").ret == 0


def test_sigterm_ends_a_run_in_order(pytester: pytest.Pytester, waiting_run: subprocess.Popen[str]) -> None:
    waiting_run.terminate()
    waiting_run.wait(10)
    assert os.path.exists(pytester.path / "stopped")
    pytester.makepyfile(test_long="def test_short(): pass")
    assert run(pytester).ret == 0


def test_evidence_is_shown_of_a_failed_test_only(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_good(evidence): evidence("the log", lambda: "of the good")
        def test_bad(evidence):
            evidence("the log", lambda: "of the bad")
            assert False
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the log*", "of the bad"])
    result.stdout.no_fnmatch_line("of the good")


def test_the_header_names_the_versions(request: pytest.FixtureRequest) -> None:
    lines = "\n".join(
        map(str, request.config.hook.pytest_report_header(config=request.config, start_path=None))
    )
    for name in ("Cython", "gevent", "PostgreSQL"):
        assert name in lines
