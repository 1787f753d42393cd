"""How a line of the log looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgmux.worker.journal import JsonFormatter, TextFormatter, _is_journal

FIELDS = {"user": "eve", "reason": "no such user"}


def test_a_line_says_when_who_and_what() -> None:
    line = TextFormatter().render(0.25, "WARNING", "worker 0", "log-in refused", FIELDS)
    assert line.endswith(
        f'.250 {os.getpid()} WARNING worker 0: log-in refused: user=eve reason="no such user"'
    )


@pytest.mark.parametrize(("level", "priority"), [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("ERROR", 3)])
def test_to_the_journal_it_says_how_bad_it_is_in_place_of_when(level: str, priority: int) -> None:
    text = TextFormatter(is_for_journal=True).render(0.25, level, "worker 0", "log-in refused", FIELDS)
    assert text.startswith(f"<{priority}>{os.getpid()} {level} worker 0: ")
    json = JsonFormatter(is_for_journal=True).render(0.25, level, "worker 0", "log-in refused", FIELDS)
    assert json == f"<{priority}>" + JsonFormatter().render(0.25, level, "worker 0", "log-in refused", FIELDS)


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with open(tmp_path / "log", "wb") as log:
        assert not _is_journal(log.fileno())
        found = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert _is_journal(log.fileno())
    with open(tmp_path / "other", "wb") as other:  # redirected since
        assert not _is_journal(other.fileno())
