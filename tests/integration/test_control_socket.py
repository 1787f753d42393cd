"""The control socket and `pgmux ctl`: whoever is stuck or down, it answers, and only whom it may."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.shm.family import Family


class Line:
    """A connection to the control socket, for single lines."""

    def __init__(self, pgmux: Pgmux) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(f"{pgmux.folder}/run/control.sock")
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *words: str) -> None:
        self.socket.sendall(json.dumps({"command": words}).encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        """The next object. Raises EOFError at the end."""
        line = self._file.readline()
        if not line:
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, *words: str) -> list[dict[str, Any]]:
        """All objects of the answer."""
        self.send(*words)
        return self.hear_out()

    def hear_out(self) -> list[dict[str, Any]]:
        found = [self.hear()]
        while found[-1]["type"] not in ("done", "error"):
            found.append(self.hear())
        return found


def column(pgmux: Pgmux, what: str, name: str) -> list[Any]:
    """One column of a table, asked without a process of its own: quickly."""
    with Line(pgmux) as line:
        columns, *pieces, _ = line.ask("show", what)
    at = [each["name"] for each in columns["columns"]].index(name)
    return [row[at] for piece in pieces for row in piece["rows"]]


def show(pgmux: Pgmux, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(pgmux.ctl("show", what, "--json"))
    return found


def test_a_table_for_people_and_objects_for_programs(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux, application_name="an application") as client:
        client.query("SELECT 1")
        lines = pgmux.ctl("show", "pools").splitlines()
        assert lines[0].split()[:3] == ["database", "user", "cl_active"]
        assert lines[1].split()[:3] == ["app", "app", "1"]
        (row,) = show(pgmux, "clients")
        assert (row["database"], row["state"], row["application_name"]) == ("app", "idle", "an application")
        assert (row["addr"], row["local_addr"], row["local_port"]) == ("127.0.0.1", "127.0.0.1", pgmux.port)


def test_the_lines_are_those_that_the_docstring_draws(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client, Line(pgmux) as line:
        client.query("SELECT 1")
        columns, rows, done = line.ask("show", "pools")
        assert columns["columns"][0] == {"name": "database", "type": "text"}
        assert rows["rows"][0][:2] == ["app", "app"]
        assert done == {"type": "done", "tag": "SHOW"}
        (error,) = line.ask("puase")
        assert error["type"] == "error"
        assert (error["sqlstate"], error["hint"]) == ("42601", 'did you mean "PAUSE"?')
        line.socket.sendall(b"nonsense\n" + b'{"command": 5}\n' + b'{"command": ["show", "version"]}\n')
        assert [line.hear()["sqlstate"] for _ in range(2)] == ["42601", "42601"]
        assert line.hear_out()[-1]["tag"] == "SHOW"


def test_a_line_without_end_is_cut_off(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with Line(pgmux) as line:
        line.socket.sendall(b"x" * 200_000)
        assert line.hear()["type"] == "error"
        with pytest.raises((EOFError, ConnectionResetError)):
            line.hear()
    assert show(pgmux, "version")


# --- who may


def test_its_file_is_its_owner_s_alone(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    assert stat.S_IMODE(os.stat(pgmux.folder / "run/control.sock").st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_is_turned_away_even_where_the_file_lets_him(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    os.chmod(pgmux.folder, 0o755)
    path = pgmux.folder / "run/control.sock"

    def knock(*, is_let: bool) -> None:
        os.setuid(65534)
        if not is_let:
            with pytest.raises(PermissionError):
                Line(pgmux)
            return
        with Line(pgmux) as line:
            assert line.hear()["sqlstate"] == "42501"
            with pytest.raises(EOFError):
                line.hear()

    for is_let in (False, True):
        with Family() as family:
            family.fork(lambda is_let=is_let: knock(is_let=is_let))
            family.end_well()
        path.chmod(0o666)


def test_ctl_without_the_right_to_use_it_says_so(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    done = subprocess.run(
        [sys.executable, "-m", "pgmux", "ctl", "--socket", "/proc/1/none", "show", "pools"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no pgmux answers at /proc/1/none" in done.stderr
    assert pgmux.is_running()


# --- it answers


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that do not move for as long as the with statement lasts: less than the supervisor waits."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_it_answers_for_all_while_any_worker_is_stopped(make_pgmux: MakePgmux, victim: int) -> None:
    pgmux = make_pgmux(workers=3)
    lobbies = Lobbies(pgmux)
    lobbies.a_client_on_each_worker()
    wait_until(lambda: column(pgmux, "workers", "clients") == [1, 1, 1], what="a heartbeat of each")
    with stopped(lobbies.pid_of(victim)):
        for _ in range(8):  # whichever of the others takes it
            assert len(column(pgmux, "clients", "id")) == 3
        assert pgmux.ctl("disable", "app") == "DISABLE\n"
        wait_until(lambda: column(pgmux, "workers", "state")[victim] == "silent", what="a silent worker")
        assert column(pgmux, "workers", "clients") == [1, 1, 1]


def test_a_request_that_a_worker_took_before_it_stopped_is_asked_again(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    found: list[list[dict[str, Any]]] = []
    with stopped(lobbies.pid_of(0), lobbies.pid_of(1)):
        asking = threading.Thread(target=lambda: found.append(show(pgmux, "version")))
        asking.start()
        asking.join(0.5)
        assert not found
    asking.join(15)
    assert len(found) == 1


def test_it_answers_while_postgresql_is_down_and_says_what_is_wrong(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, server_login_retry="100ms")
    with connect(pgmux) as client:
        client.query("SELECT 1")
        postgres.stop("immediate")
        assert client.query("SELECT 1").errors
        assert client.query("SELECT 1").errors
        (row, _) = show(pgmux, "pools")
        assert (row["cl_active"], row["sv_active"], row["sv_idle"]) == (1, 0, 0)
        for what in ("stats", "servers", "databases", "lists", "waits", "leases"):
            show(pgmux, what)


def test_all_workers_together_answer_many_at_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lines = [Line(pgmux) for _ in range(40)]
    for line in lines:
        line.send("show", "config")
    for line in lines:
        assert line.hear_out()[-1]["tag"] == "SHOW"
        line.close()


def test_who_hangs_up_takes_a_pause_back_that_still_waits(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as client, Line(pgmux) as line:
        client.query("BEGIN")
        line.send("pause", "app")
        assert line.hear() == {"type": "progress", "message": "waiting for 1 backend"}
        assert lobbies.is_pool_paused()
        line.close()
        wait_until(lambda: not lobbies.is_pool_paused(), what="the end of the pause")
        assert client.query("COMMIT").status == "I"
        assert client.query("SELECT 1").value == b"1"


def test_the_socket_goes_with_pgmux_and_a_stale_one_is_no_obstacle(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    path = pgmux.folder / "run/control.sock"
    pgmux.stop()
    assert not path.exists()
    pgmux.start()
    pgmux.kill()
    assert path.exists()
    pgmux.start()
    assert show(pgmux, "version")


def test_commands_and_who_gave_them_are_in_the_log(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client:
        client.query("SELECT 1")
    pgmux.ctl("reconnect", "app")
    pgmux.ctl("show", "pools")
    pgmux.wait_for_log(r'INFO worker \d: command: RECONNECT app: by="pid \d+ \(uid \d+\)"')
    assert not pgmux.log_contains("command: SHOW")
