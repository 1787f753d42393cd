"""Commands to the control socket: what is sent, and what becomes of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pgmux.top.steering import Steering, SteeringError
from tests.top.control import Control


def give(tmp_path: Path, *replies: Mapping[str, str]) -> tuple[str, list[str]]:
    """What is done, and what was told meanwhile."""
    told: list[str] = []
    with Control(tmp_path / "control.sock", replies) as control:
        done = Steering(control.path).give(["pause", "app"], told.append)
        assert control.asked == [["pause", "app"]]
    return done, told


def test_a_command_is_given_and_its_end_awaited(tmp_path: Path) -> None:
    replies = ({"type": "progress", "message": "waiting"}, {"type": "notice", "message": "by the way"})
    assert give(tmp_path, *replies, {"type": "done", "tag": "PAUSE"}) == ("PAUSE", ["waiting", "by the way"])


def test_a_refusal_is_told_with_its_hint(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"no such database \(look at SHOW DATABASES\)"):
        give(tmp_path, {"type": "error", "message": "no such database", "hint": "look at SHOW DATABASES"})


def test_an_answer_that_breaks_off_is_told(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="look whether it was carried out"):
        give(tmp_path, {"type": "progress", "message": "waiting"})


def test_an_answer_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="cannot be understood"):
        give(tmp_path, {"nonsense": "yes"})


def test_no_socket_is_no_steering(tmp_path: Path) -> None:
    steering = Steering(str(tmp_path / "control.sock"))
    assert not steering.is_possible
    with pytest.raises(SteeringError, match="no pgmux answers"):
        steering.give(["pause"], print)
