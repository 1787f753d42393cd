"""`pgmux ctl`: what it makes of answers, of none, and of mistakes. The other side is a stand-in here."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgmux.cli import ctl as ctl_module
from pgmux.cli.main import main
from pgmux.control.answers import (
    Asked,
    ColumnName,
    Columns,
    Done,
    Failed,
    Notice,
    Progress,
    Reply,
    Rows,
    decode_asked,
    encode_line,
)
from pgmux.control.clerk import SHOWS
from pgmux.control.commands import COMMANDS

Answer = Callable[[socket.socket, list[str]], None]


class StandIn:
    """A control socket on which the test answers: each connection by the next of its answers."""

    def __init__(self, path: Path, answers: list[Answer]) -> None:
        self.path = str(path)
        self.heard: list[list[str]] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # it has been closed: nobody asks any more
            with connection:
                asked: Asked = decode_asked(connection.recv(65_536))
                self.heard.append(asked.command)
                answer(connection, asked.command)

    def close(self) -> None:
        self._listener.close()


def say(*replies: Reply) -> Answer:
    return lambda connection, _: connection.sendall(b"".join(map(encode_line, replies)))


def be_silent(connection: socket.socket, _: list[str]) -> None:
    connection.recv(1)  # until the other side gives up


def hang_up(connection: socket.socket, _: list[str]) -> None:
    pass


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    made: list[StandIn] = []

    def make(*answers: Answer) -> StandIn:
        made.append(StandIn(tmp_path / f"{len(made)}.sock", list(answers)))
        return made[-1]

    yield make
    for each in made:
        each.close()


Make = Callable[..., StandIn]
TABLE = (
    Columns([ColumnName("name", "text"), ColumnName("count", "int4"), ColumnName("note", "text")]),
    Rows([("app", 5, None)]),
    Rows([("a longer name", 1234, "x")]),
    Done("SHOW"),
)


def run(stand_in: StandIn, *words: str) -> int:
    return main(["ctl", "--socket", stand_in.path, *words])


def test_rows_are_an_aligned_table_with_numbers_to_the_right(
    stand_in: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    server = stand_in(say(*TABLE))
    assert run(server, "show", "pools") == 0
    assert server.heard == [["show", "pools"]]
    assert capsys.readouterr().out.splitlines() == [
        "name           count  note",
        "app                5",
        "a longer name   1234  x",
    ]


def test_rows_are_objects_for_programs(stand_in: Make, capsys: pytest.CaptureFixture[str]) -> None:
    server = stand_in(say(*TABLE), say(TABLE[0], Done("SHOW")))
    assert run(server, "show", "pools", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "app", "count": 5, "note": None},
        {"name": "a longer name", "count": 1234, "note": "x"},
    ]
    assert run(server, "--json", "show", "pools") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_command_prints_its_tag_and_notices_go_to_stderr(
    stand_in: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    told = (Progress("waiting for 2 backends"), Notice("one thing", "in detail"), Done("PAUSE"))
    server = stand_in(say(*told), say(*told))
    assert run(server, "pause", "my db") == 0
    assert server.heard == [["pause", "my db"]]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("PAUSE\n", "one thing (in detail)\n")
    assert run(server, "pause", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"done": "PAUSE"}


@pytest.mark.parametrize(("sqlstate", "code"), [("42601", 2), ("3D000", 1), ("57014", 1)])
def test_a_refusal_is_told_with_its_hint_and_wrong_usage_exits_2(
    stand_in: Make, capsys: pytest.CaptureFixture[str], sqlstate: str, code: int
) -> None:
    assert run(stand_in(say(Failed(sqlstate, "it cannot be", "do this"))), "pause", "x") == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "pgmux: it cannot be (do this)\n")


def test_no_pgmux_is_told_with_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "--socket", str(tmp_path / "none.sock"), "show", "pools"]) == 1
    assert f"no pgmux answers at {tmp_path}/none.sock: No such file" in capsys.readouterr().err


def test_a_show_is_asked_again_when_a_worker_is_silent_or_dies(
    stand_in: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl_module, "SILENCE_SECONDS", 0.1)
    server = stand_in(be_silent, hang_up, say(*TABLE))
    assert run(server, "show", "pools") == 0
    assert len(server.heard) == 3
    assert "longer name" in capsys.readouterr().out


def test_a_show_that_nobody_answers_is_given_up(
    stand_in: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl_module, "SILENCE_SECONDS", 0.05)
    assert run(stand_in(be_silent, be_silent, be_silent), "show", "pools") == 1
    assert "its workers are stopped, or stuck" in capsys.readouterr().err


def test_a_command_is_not_given_twice(stand_in: Make, capsys: pytest.CaptureFixture[str]) -> None:
    server = stand_in(hang_up, say(Done("KILL")))
    assert run(server, "kill") == 1
    assert len(server.heard) == 1
    assert "look whether it was carried out" in capsys.readouterr().err


def test_an_answer_cut_short_is_an_error(stand_in: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(stand_in(say(*TABLE[:2])), "show", "pools") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cut short" in captured.err


def test_the_socket_is_found_by_the_configuration(
    stand_in: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = stand_in(say(*TABLE))
    config = tmp_path / "pgmux.toml"
    config.write_text(f'[pgmux]\nauth_type = "trust"\ncontrol_socket = "{server.path}"\n')
    assert main(["ctl", "-c", str(config), "show", "pools"]) == 0
    assert "app" in capsys.readouterr().out
    config.write_text("[pgmux]\nworkres = 2\n")
    assert main(["ctl", "-c", str(config), "show", "pools"]) == 1
    assert "use --socket PATH" in capsys.readouterr().err


def test_help_lists_every_command_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["ctl", "--help"])
    assert exited.value.code == 0
    told = capsys.readouterr().out
    assert all(f"  show {name.lower()} " in told for name in SHOWS)
    assert all(f"\n  {word.lower().replace('_', '-')}" in told for word in COMMANDS)
    assert "shutdown [wait_for_servers|wait_for_clients]" in told
    assert main(["ctl"]) == 2
    assert "show pools" in capsys.readouterr().out
