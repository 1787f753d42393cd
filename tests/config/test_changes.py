"""What SET changes: options that a reload could change too, and with the same checks."""

from __future__ import annotations

import os

import pytest

from pgmux.config.changes import change, change_all, note_change
from pgmux.config.option import rows_of
from pgmux.config.settings import Settings
from pgmux.errors import ConfigError, Problem
from tests.config.texts import read

RUNNING = read("[pgmux]\nauth_type = 'trust'\ndefault_pool_size = 7\n")


def refusal(key: str, text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        change(RUNNING, key, text)
    (problem,) = caught.value.problems
    assert problem.file == "SET"
    assert problem.key == key
    return problem


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("query_wait_timeout", "250ms", 0.25),
        ("query_wait_timeout", "3", 3.0),
        ("default_pool_size", "11", 11),
        ("log_level", "debug", "debug"),
        ("log_connections", "false", False),
        ("log_connections", "1", True),
        ("admin_users", "alice, bob", ("alice", "bob")),
        ("admin_users", "", ()),
        ("server_reset_query", "DISCARD TEMP", "DISCARD TEMP"),
    ],
)
def test_a_text_is_read_as_in_the_environment(key: str, text: str, value: object) -> None:
    changed = change(RUNNING, key, text)
    assert getattr(changed.pgmux, key) == value
    others = [name for name in rows_of(Settings) if name != key]
    assert all(getattr(changed.pgmux, name) == getattr(RUNNING.pgmux, name) for name in others)


def test_a_relative_path_is_meant_from_the_working_directory_when_there_is_no_file() -> None:
    here = os.path.relpath(__file__)
    assert change(RUNNING, "auth_file", here).pgmux.auth_file == os.path.abspath(__file__)


def test_what_cannot_be_set_is_refused_with_what_to_do() -> None:
    assert refusal("query_wait_timeuot", "1").hint == 'did you mean "query_wait_timeout"?'
    assert "pgmux logs to stderr" in refusal("logfile", "/tmp/log").hint
    assert refusal("workers", "4").message == "needs a restart"
    assert "restart pgmux" in refusal("listen", ":6432").hint
    assert "expected a whole number" in refusal("default_pool_size", "many").message
    assert "must be between" in refusal("default_pool_size", "0").message
    assert refusal("log_level", "inof").hint == 'did you mean "info"?'


def test_what_does_not_fit_together_is_refused_as_in_the_file() -> None:
    assert "is more than default_pool_size = 7" in refusal("min_pool_size", "8").message
    assert "cannot be read" in refusal("auth_file", "/nowhere").message


def test_changes_are_kept_as_lines_and_the_last_of_a_key_counts() -> None:
    changes = ""
    for key, text in (("default_pool_size", "9"), ("log_level", "debug"), ("default_pool_size", "12")):
        changes = note_change(changes, key, text)
    assert changes == "log_level=debug\ndefault_pool_size=12\n"
    changed = change_all(RUNNING, changes)
    assert (changed.pgmux.default_pool_size, changed.pgmux.log_level) == (12, "debug")
    assert change_all(RUNNING, "") == RUNNING
    equals = note_change("", "server_reset_query", "SET a=b")
    assert change_all(RUNNING, equals).pgmux.server_reset_query == "SET a=b"
    with pytest.raises(ConfigError, match="no line breaks"):
        note_change("", "server_reset_query", "one\ntwo")
