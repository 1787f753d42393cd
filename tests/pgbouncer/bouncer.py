"""A real PgBouncer, to ask what it makes of an ini: the oracle of the tests of our reader."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from loadtest.debian import find_pgbouncer
from pgmux.demo.account import server_account
from pgmux.demo.leash import leashed
from pgmux.demo.ports import free_port, give_back
from tests.servers.waiting import wait_until


class Bouncer:
    """A PgBouncer that runs on `ini`, which ends in its section [pgbouncer]: our way in is added there."""

    host = "127.0.0.1"

    def __init__(self, ini: str) -> None:
        found = find_pgbouncer()
        assert found is not None, "PgBouncer is not installed: bash .ci/packages"
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pgmux-bouncer-"))
        account = server_account()
        account.own(self.folder)
        users = self.folder / "userlist.txt"
        users.write_text('"oracle" ""\n')
        path = self.folder / "pgbouncer.ini"
        path.write_text(f"{ini}\n{self._ways_in(users)}")
        account.own(users, path)
        become = "" if account.is_ours else pwd.getpwuid(account.uid).pw_name
        self._process = subprocess.Popen(
            leashed([str(found.program), *(["-u", become] if become else []), str(path)]),
            env={**os.environ, **found.variables},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _ways_in(self, users: Path) -> str:
        return (
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir = {self.folder}\n"
            f"auth_type = any\nadmin_users = oracle\nauth_file = {users}\n"
        )

    def __enter__(self) -> Self:
        wait_until(self._answers, what="PgBouncer's console")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
        give_back(self.port)
        shutil.rmtree(self.folder)

    def show(self, what: str) -> list[dict[str, Any]]:
        """The rows of SHOW … of its console."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="oracle", dbname="pgbouncer", autocommit=True
        ) as console:
            return console.cursor(row_factory=dict_row).execute(f"SHOW {what}".encode()).fetchall()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._process.stderr and self._process.stderr.read()) or ""
        try:
            return bool(self.show("VERSION"))
        except psycopg.OperationalError:
            return False
