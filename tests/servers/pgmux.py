"""A pgmux for tests: its configuration from keywords, its processes, its log, and a strict eye on how it
ends.

with Pgmux(postgres, workers=2, default_pool_size=3) as pgmux: with pgmux.connect() as connection: ...

At the end it must stop by itself with exit status 0, leave no process behind, and have logged no traceback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGKILL
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from pgmux.demo.account import environment
from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.leash import leashed
from pgmux.demo.memory import family
from pgmux.demo.ports import free_port, give_back
from tests.servers import toml
from tests.servers.log import Log
from tests.servers.waiting import wait_until
from tests.wire import Wire, WireClosedError, WireTimeoutError, frontend

PGMUX = (sys.executable, "-m", "pgmux")
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
CTL_TIMEOUT_S = 30.0  # a Python is started

Tables = Mapping[str, toml.Table]


class Pgmux:
    """One pgmux in front of a PostgreSQL; keywords are the options of its [pgmux] table.

    `databases` and `users` are the tables of these names; without `databases` every name leads to `postgres`.
    `passwords` become the auth_file. `environ` is added to its environment. Everything is in a folder of its
    own.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        postgres: EmbeddedPostgres | None = None,
        *,
        databases: Tables | None = None,
        users: Tables | None = None,
        passwords: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = PGMUX,
        **settings: toml.Value,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgmux-test-"))
        self.port = free_port()
        self.config_path = self.folder / "pgmux.toml"
        self.log_file = Log(self.folder / "pgmux.log")
        self.exit_status: int | None = None  # of the last one that ended
        self._command = list(command)
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[psutil.Process] = set()  # every process of ours that we ever saw
        self._databases = databases if databases is not None else _all_to(postgres)
        self._users = users or {}
        self._settings: dict[str, toml.Value] = {
            "workers": 2,
            "listen": [f"{self.host}:{self.port}"],
            "unix_socket_dir": str(self.folder),
            "runtime_dir": str(self.folder / "run"),
            "auth_type": "trust",
            "deferred_begin": False,  # so that a BEGIN alone holds a backend, as many tests need
            "log_level": "debug",
        }
        if passwords is not None:
            self._settings["auth_file"] = str(self._write_auth_file(passwords))
        self._settings.update(settings)
        self.write_configuration()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Its life

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts it and waits for nothing."""
        with open(self.log_file.path, "ab") as log:
            self._process = subprocess.Popen(
                leashed([*self._command, "run", "-c", str(self.config_path)]),
                cwd=self.folder,
                env={**environment(), "PYTHONFAULTHANDLER": "1", **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Waits until all workers run and one answers. Raises AssertionError with the log."""
        try:
            wait_until(self._is_ready, timeout, "pgmux to be ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_file.tail()}") from None

    def stop(self, signal_number: int = SIGINT, timeout: float = STOP_TIMEOUT_S) -> int:
        """Sends a signal, waits for the end, and gives the exit status. Raises AssertionError without one."""
        assert self._process is not None, "pgmux is not running"
        self.all_pids()
        self._process.send_signal(signal_number)
        return self.wait_until_stopped(timeout)

    def wait_until_stopped(self, timeout: float = STOP_TIMEOUT_S) -> int:
        """Waits until it has ended, and gives the exit status."""
        assert self._process is not None, "pgmux is not running"
        try:
            self.exit_status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"pgmux did not stop within {timeout:g} s\n{self.log_file.tail()}") from None
        self._process = None
        return self.exit_status

    def kill(self) -> None:
        """Ends all its processes with SIGKILL, and waits for them."""
        self.all_pids()
        for process in self._seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self.exit_status = self._process.wait()
            self._process = None
        wait_until(lambda: not self._alive(), STOP_TIMEOUT_S, "the end of killed processes")

    def close(self) -> None:
        """The end of a test: stops it if it runs. Raises AssertionError if anything about it is amiss."""
        try:
            if self._process is not None:
                status = self.stop()
                assert status == 0, f"pgmux ended with exit status {status}\n{self.log_file.tail()}"
            self._assert_nobody_is_left()
            logged = self.log_file.whole()
            assert "Traceback" not in logged, f"pgmux logged a traceback:\n{logged}"
            assert "Fatal Python error" not in logged, f"a process of pgmux crashed:\n{logged}"
        finally:
            self.kill()
            self.remove()

    def remove(self) -> None:
        """Deletes its folder and gives its port back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        give_back(self.port)

    # Its processes

    @property
    def supervisor_pid(self) -> int:
        """The process id of the one that we started."""
        assert self._process is not None, "pgmux is not running"
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """The supervisor's living children, oldest first."""
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            self._seen.update(children)
            return [child.pid for child in sorted(children, key=_birth) if _is_alive(child)]
        return []

    def all_pids(self) -> list[int]:
        """Supervisor and workers."""
        if self._process is None:
            return []
        found = family(self._process.pid)
        self._seen.update(found)
        return [process.pid for process in found if _is_alive(process)]

    def signal(self, number: int) -> None:
        """Sends a signal to the supervisor."""
        os.kill(self.supervisor_pid, number)

    def kill_worker(self, pid: int | None = None, number: int = SIGKILL) -> int:
        """Sends a worker (the oldest, unless one is named) a signal, and gives its process id."""
        victim = self.worker_pids()[0] if pid is None else pid
        os.kill(victim, number)
        return victim

    def rss_bytes(self) -> int:
        """Resident memory of all processes; what they share counts for each."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.all_pids())

    def uss_bytes(self) -> int:
        """Memory that belongs to one process alone, of all processes together."""
        return sum(psutil.Process(pid).memory_full_info().uss for pid in self.all_pids())

    # Its clients

    def connect_dsn(self, dbname: str = "app", user: str = "app", password: str | None = None) -> str:
        """Its TCP address for libpq and psycopg."""
        return make_conninfo(
            host=self.host, port=self.port, dbname=dbname, user=user, password=password, connect_timeout=10
        )

    def connect_url(self, dbname: str = "app", user: str = "app", password: str | None = None) -> str:
        """Its TCP address for asyncpg."""
        who = ":".join(quote(part, safe="") for part in (user, password) if part is not None)
        return f"postgresql://{who}@{self.host}:{self.port}/{quote(dbname, safe='')}"

    def connect(
        self, dbname: str = "app", user: str = "app", password: str | None = None, **more: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A psycopg connection, in autocommit unless told otherwise."""
        return psycopg.connect(self.connect_dsn(dbname, user, password), **{"autocommit": True, **more})

    def wire(self, *, unix: bool = False) -> Wire:
        """A connection for single messages, not logged in, over TCP or the Unix socket."""
        return Wire(str(self.folder) if unix else self.host, self.port)

    # Its configuration, control and log

    def write_configuration(self, **settings: toml.Value) -> None:
        """Writes pgmux.toml, with some settings changed: for a SIGHUP or the next start to read."""
        self._settings.update(settings)
        tables: dict[tuple[str, ...], toml.Table] = {("pgmux",): self._settings}
        tables |= {("databases", name): table for name, table in self._databases.items()}
        tables |= {("users", name): table for name, table in self._users.items()}
        self.config_path.write_text(toml.written(tables))

    def ctl(self, *arguments: str) -> str:
        """What `pgmux ctl …` prints. Raises AssertionError with its complaint if it fails."""
        answer = subprocess.run(
            [*self._command, "ctl", "-c", str(self.config_path), *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=CTL_TIMEOUT_S,
            check=False,
        )
        assert answer.returncode == 0, f"pgmux ctl {' '.join(arguments)} failed: {answer.stderr}"
        return answer.stdout

    def log_contains(self, pattern: str) -> bool:
        """Whether a line of the log matches a regular expression."""
        return self.log_file.contains(pattern)

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> str:
        """The first such line, once there is one."""
        return self.log_file.wait_for(pattern, timeout)

    def _is_ready(self) -> bool:
        if not self.is_running():
            status = None if self._process is None else self._process.returncode
            raise AssertionError(f"pgmux ended with exit status {status}")
        workers = self._settings["workers"]
        if workers and len(self.worker_pids()) != workers:
            return False
        return _answers(self.host, self.port)

    def _assert_nobody_is_left(self) -> None:
        try:
            wait_until(lambda: not self._alive(), 2, "the end of the workers")
        except AssertionError:
            raise AssertionError(f"outlived pgmux: {self._alive()}\n{self.log_file.tail()}") from None

    def _alive(self) -> list[psutil.Process]:
        return [process for process in self._seen if _is_alive(process)]

    def _write_auth_file(self, passwords: Mapping[str, str]) -> Path:
        """PgBouncer's format: a name and a secret, both in double quotes that are doubled inside."""
        path = self.folder / "userlist.txt"
        path.touch(0o600)
        quoted = [(name.replace('"', '""'), secret.replace('"', '""')) for name, secret in passwords.items()]
        path.write_text("".join(f'"{name}" "{secret}"\n' for name, secret in quoted))
        return path


def _all_to(postgres: EmbeddedPostgres | None) -> Tables:
    if postgres is None:
        return {}
    return {"*": {"host": str(postgres.socket_dir), "port": postgres.port}}


def _answers(host: str, port: int) -> bool:
    """Whether somebody answers an SSLRequest there, with whatever byte."""
    try:
        with Wire(host, port, timeout_s=1) as wire:
            wire.send(frontend.ssl_request())
            wire.read_byte()
    except (OSError, WireClosedError, WireTimeoutError):
        return False
    return True


def _birth(process: psutil.Process) -> float:
    return float(process.create_time())


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
