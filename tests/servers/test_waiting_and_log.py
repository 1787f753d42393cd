"""The small tools of the tests themselves: waiting, logs, TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.servers import toml
from tests.servers.log import Log
from tests.servers.waiting import wait_until


def test_waiting_gives_the_first_answer_that_is_true() -> None:
    answers = iter(["", "", "yes"])
    assert wait_until(lambda: next(answers)) == "yes"


def test_waiting_in_vain_says_what_for() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.05 s in vain for: a sign; the last answer was \[\]"):
        wait_until(list, 0.05, "a sign")


def test_a_log_is_seen_from_its_mark_on(tmp_path: Path) -> None:
    log = Log(tmp_path / "server.log")
    assert not log.contains("anything")
    log.path.write_text("first line\n")
    assert log.contains("^first")
    log.mark()
    assert not log.contains("^first")
    with open(log.path, "a") as file:
        file.write("second line\nthird line\n")
    assert log.wait_for("line$") == "second line"
    assert log.tail(1) == "third line"
    assert log.whole().startswith("first")


def test_waiting_for_a_log_line_says_which(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"'no such line' in server\.log"):
        Log(tmp_path / "server.log").wait_for("no such line", timeout=0.05)


def test_written_toml_is_read_as_the_same() -> None:
    table: toml.Table = {
        "number": 7,
        "fraction": 0.5,
        "yes": True,
        "text": 'a "quoted"\\ \x7f\tä',
        "list": ["a", "b"],
        "none": [],
    }
    document = toml.written({("pgmux",): table, ("databases", "*"): {"host": "/tmp"}, ("users", "a.b"): {}})
    assert tomllib.loads(document) == {
        "pgmux": table,
        "databases": {"*": {"host": "/tmp"}},
        "users": {"a.b": {}},
    }
