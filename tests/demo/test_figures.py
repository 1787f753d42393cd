"""The figures of the demo and how they are printed."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pgmux.demo.comparison import Way, rows
from pgmux.demo.memory import family, memory_bytes
from pgmux.demo.pgbench import Address, Run, percentile
from pgmux.demo.terminal import Progress, print_table
from pgmux.errors import PgmuxError

ADDRESS = Address("127.0.0.1", 5432, "app", "app")


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [
        ([5], 99, 5),
        ([3, 1, 2], 50, 2),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 1001)), 99, 990),
        ([1, 2], 100, 2),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[int], percent: float, wanted: int) -> None:
    assert percentile(values, percent) == wanted


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 99))


def test_rows_have_both_ways_and_their_ratio() -> None:
    direct = Way("direct", ADDRESS, None, 300, 600_000_000, 0, [1000.0, 3000.0], [20.0, 40.0], [100.0])
    pooled = Way("pooled", ADDRESS, 1, 10, 60_000_000, 30_000_000, [4000.0], [15.0], [1234.5])
    assert rows(direct, pooled) == [
        ("backends in PostgreSQL", "300", "10", "0.03"),
        ("memory of the backends", "600 MB", "60 MB", "0.10"),
        ("memory of pgmux", "-", "30 MB", ""),
        ("transactions per second", "2,000", "4,000", "2.00"),
        ("p99 of a transaction", "30.0 ms", "15.0 ms", "0.50"),
        ("new connections per second", "100", "1,234", "12.35"),
    ]


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        "Title", ("", "one", "two"), [("short", "1", "22"), ("a longer name", "333,333", "")], "Note."
    )
    assert capsys.readouterr().out.splitlines() == [
        "Title",
        "",
        "                    one   two",
        "short                 1    22",
        "a longer name   333,333",
        "",
        "Note.",
    ]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_gets_colour_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    print_table("Title", ("", "one"), [("row", "1")], "Note.")
    assert "\x1b[1mTitle\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    print_table("Title", ("", "one"), [("row", "1")], "Note.")
    assert "\x1b" not in capsys.readouterr().out


def test_progress_is_one_line_on_a_terminal_and_taken_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    progress = Progress(2)
    progress.tell("first")
    progress.tell("second")
    progress.clear()
    assert capsys.readouterr().err == "\r\x1b[K[1/2] first …\r\x1b[K[2/2] second …\r\x1b[K"


def test_progress_is_silent_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1)
    progress.tell("first")
    progress.clear()
    assert capsys.readouterr() == ("", "")


def test_the_memory_of_a_process_counts_and_of_none_does_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "kept = bytearray(range(256)) * 400_000; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert [process.pid for process in family(child.pid)] == [child.pid]
        proportional = memory_bytes([child.pid])
        assert 100_000_000 < proportional < 200_000_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psutil.Process, "memory_full_info", _deny)
            assert 100_000_000 < memory_bytes([child.pid]) < 200_000_000
        child.communicate(b"\n")
    assert memory_bytes([child.pid]) == 0
    assert family(child.pid) == []


def _deny(process: psutil.Process) -> None:
    raise psutil.AccessDenied(process.pid)


def test_a_report_is_read_from_what_pgbench_prints_and_logs(tmp_path: Path) -> None:
    log = (
        "\\n".join(f"0 {number} {number * 10} 0 1700000000 5" for number in range(1, 101))
        + "\\n1 1 failed 0 0 0"
    )
    script = f"printf '{log}\\n' > latency.$$; printf 'scaling factor: 1\\ntps = 123.5 (without …)\\n'"
    with Run(["/bin/sh", "-c", script], tmp_path) as run:
        report = run.report()
    assert (report.tps, report.p99_ms) == (123.5, 0.99)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_pgbench_is_told_in_its_own_words(tmp_path: Path) -> None:
    with Run(["/bin/sh", "-c", "echo 'connection refused' >&2; exit 1"], tmp_path) as run:
        with pytest.raises(PgmuxError, match="pgbench failed:\nconnection refused"):
            run.report()


def test_a_run_is_looked_at_meanwhile_and_ended_when_left(tmp_path: Path) -> None:
    class EnoughSeenError(Exception):
        pass

    def look() -> None:
        raise EnoughSeenError

    with pytest.raises(EnoughSeenError), Run(["/bin/sleep", "60"], tmp_path) as run:
        run.output(look, every_s=0.01)
    assert run._process.returncode == -9
