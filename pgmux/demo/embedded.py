"""A real PostgreSQL that is thrown away afterwards.

`with EmbeddedPostgres() as postgres:` makes a data directory in a temporary folder, starts a server on it
that listens on a Unix socket and on 127.0.0.1, and in the end stops it and deletes everything. Nothing
durable is wanted, so the server never waits for a disk. Root may use it: the server then runs under an
unprivileged account.

The superuser `postgres` gets in through the Unix socket, whose folder belongs to the server's account alone;
by TCP everybody but him, without a password, as long as `hba` says nothing else.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pgmux.demo.account import Account, environment, reachable, server_account
from pgmux.demo.installations import find_installation
from pgmux.demo.leash import leashed
from pgmux.demo.ports import free_port, give_back
from pgmux.errors import PgmuxError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

OBSERVER = "pgmux observer"  # application_name of our own questions: no backend that `backends` counts

Setting = str | int | bool

# PostgreSQL manual, "Non-Durable Settings"; synchronous_commit stays on: an immediate stop may lose nothing
_SETTINGS: dict[str, Setting] = {
    "fsync": False,
    "full_page_writes": False,
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "logging_collector": False,
}
_HBA = (
    "local all all trust",
    "host all postgres all reject",
    "host all all 127.0.0.1/32 trust",
)
# PostgreSQL manual, "Shutting Down the Server"
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_FIELD, _ROW = "\x1f", "\x1e"  # what separates fields and rows in psql's output: no data of ours has them


class EmbeddedPostgres:
    """One throw-away server; use it in a with statement, or call `start` and `remove`.

    `version` is a major version such as "16", None the newest there is; `settings` go to postgresql.conf;
    `hba` are the lines of pg_hba.conf. Raises PgmuxError if there is no such PostgreSQL.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        version: str | None = None,
        settings: Mapping[str, Setting] | None = None,
        hba: Sequence[str] = _HBA,
    ) -> None:
        found = find_installation(version)
        self._account = server_account()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.folder = _temporary_folder(self._account)
        self.data_dir = self.folder / "data"
        self.socket_dir = self.folder
        self.log_path = self.folder / "postgresql.log"
        self._settings = {**_SETTINGS, "port": self.port, "unix_socket_directories": str(self.socket_dir)}
        self._settings.update(settings or {})
        self._hba = hba
        try:
            self.installation = reachable(found, self._account, self.folder)
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def version(self) -> str:
        """The server's full version, such as "18.4"."""
        return self.installation.version

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises PgmuxError if the server is not running."""
        if self._process is None:
            raise PgmuxError("PostgreSQL is not running")
        return self._process.pid

    def bin(self, name: str) -> Path:
        """The path of one of its programs, such as psql or pgbench. Raises PgmuxError if it has none."""
        return self.installation.bin(name)

    def start(self) -> None:
        """Starts the server and waits until it takes connections. Raises PgmuxError with its log."""
        if not self.data_dir.exists():
            self._make_data_directory()
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                leashed([str(self.bin("postgres")), "-D", str(self.data_dir)], account=self._account),
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for us: the server ends after its users
            )
        self._wait_until_ready()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server and waits for its end: "fast" in order, "immediate" like a crash.

        A server that has not ended after STOP_TIMEOUT_S is killed. Does nothing if none is running.
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(_STOP_SIGNALS[mode])
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when Ctrl-C ended the wait
            if process.poll() is None:
                process.kill()
                process.wait()

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server and starts it again on the same data, port and socket."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes all that it had. May be called twice."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
        give_back(self.port)

    def sql(self, query: str, dbname: str = "postgres", user: str = "postgres") -> list[tuple[str, ...]]:
        """The rows that a query gives, as text; NULL is "". Other statements may be sent too.

        Raises PgmuxError with what PostgreSQL said.
        """
        psql = [str(self.bin("psql")), "-XAtq", "-F", _FIELD, "-R", _ROW, "-v", "ON_ERROR_STOP=1"]
        target = ["-h", str(self.socket_dir), "-p", str(self.port), "-U", user, "-d", dbname]
        answer = subprocess.run(
            [*psql, *target, "-c", query],
            capture_output=True,
            encoding="utf-8",
            env={**environment(), "PGAPPNAME": OBSERVER},
            check=False,
        )
        if answer.returncode != 0:
            raise PgmuxError(answer.stderr.strip())
        output = answer.stdout.removesuffix("\n")
        return [tuple(row.split(_FIELD)) for row in output.split(_ROW)] if output else []

    def backends(
        self, *, application: str | None = None, user: str | None = None, dbname: str | None = None
    ) -> int:
        """How many backends serve clients, ours excepted: all, or those of one name."""
        return len(self.backend_pids(application=application, user=user, dbname=dbname))

    def backend_pids(
        self, *, application: str | None = None, user: str | None = None, dbname: str | None = None
    ) -> list[int]:
        """The process ids of the backends that serve clients, ours excepted, oldest first.

        Source: PostgreSQL manual, "pg_stat_activity".
        """
        wanted = {"application_name": application, "usename": user, "datname": dbname}
        conditions = [
            f"{column} = {_literal(value)}" for column, value in wanted.items() if value is not None
        ]
        rows = self.sql(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
            + " AND ".join([f"application_name <> '{OBSERVER}'", *conditions])
            + " ORDER BY backend_start"
        )
        return [int(pid) for (pid,) in rows]

    def log(self) -> str:
        """All that the server has logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _make_data_directory(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        answer = self._account.run([self.bin("initdb"), "--pgdata", self.data_dir, *options], self.folder)
        if answer.returncode != 0:
            raise PgmuxError(f"initdb of PostgreSQL {self.version} failed:\n{answer.stdout.strip()}")
        with open(self.data_dir / "postgresql.conf", "a") as conf:
            conf.writelines(f"{name} = {_written(value)}\n" for name, value in self._settings.items())
        (self.data_dir / "pg_hba.conf").write_text("".join(f"{line}\n" for line in self._hba))

    def _wait_until_ready(self) -> None:
        """Waits for the status line of postmaster.pid, as `pg_ctl --wait` does."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None:
                self._process = None
                raise PgmuxError(
                    f"PostgreSQL {self.version} did not start; its log:\n{_last_lines(self.log())}"
                )
            if time.monotonic() > deadline:
                self.stop("immediate")
                raise PgmuxError(
                    f"PostgreSQL {self.version} was not ready after {START_TIMEOUT_S:.0f} s; its log:\n"
                    + _last_lines(self.log())
                )
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"


def _temporary_folder(account: Account) -> Path:
    """A new folder that the account can reach, and short enough for a socket: 107 bytes, says unix(7)."""
    folder = Path(tempfile.mkdtemp(prefix="pgmux-pg-"))
    if len(str(folder)) > 80 or not account.reaches(folder):
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="pgmux-pg-", dir="/tmp"))
    account.own(folder)
    return folder


def _written(value: Setting) -> str:
    """A value as postgresql.conf has it. Source: PostgreSQL manual, "Parameter Names and Values"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else _literal(value)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _last_lines(text: str, count: int = 30) -> str:
    return "\n".join(text.splitlines()[-count:])
