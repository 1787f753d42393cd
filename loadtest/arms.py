"""The competitors of a measurement: what stands between the clients and the backend, and how it is started.

An arm is entered and left with its with statement; in between, `address` is where clients go, `pid` its
first process. To add one, write a class like PgBouncer's and a line in ARMS. All are configured alike:
transaction mode, trust, the same pool size, TLS for clients who ask for it, nothing logged for
each connection.
"""

from __future__ import annotations

import json
import pwd
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from loadtest.build import build
from loadtest.certificate import write_certificate
from loadtest.client import USER, Address
from loadtest.debian import find_pgbouncer
from loadtest.program import Program
from pgmux.demo.account import server_account
from pgmux.demo.ports import free_port, give_back
from pgmux.errors import PgmuxError

MAX_CLIENTS = 10_000


@dataclass(frozen=True)
class Place:
    """What an arm needs to know: the backends' address, how many it may open, and a folder of its own."""

    backend: Address
    pool_size: int
    folder: Path


class MissingError(PgmuxError):
    """This competitor is not on this machine; its text says how to get it."""


class Arm(ABC):
    """One competitor. `kind` is the program, `name` the program with its number of workers."""

    kind: ClassVar[str]
    name: str
    version: str
    segment: Path | None = None  # the shared memory file, for an arm that has one

    def __init__(self, place: Place) -> None:
        self._place = place

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    @abstractmethod
    def address(self) -> Address:
        """Where clients go."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Its first process; None when the clients talk to the backend itself."""

    def check(self) -> None:  # noqa: B027  # a competitor without a process has nothing to check
        """Raises PgmuxError if it is not running any more."""


class Direct(Arm):
    """No pooler: the floor of every latency, and the load that pgbench and the backend can make at all."""

    kind = name = "direct"
    version = ""
    pid = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def address(self) -> Address:
        return self._place.backend


class Pooler(Arm):
    """A program that listens on a free port of 127.0.0.1."""

    def __enter__(self) -> Self:
        self._port = free_port()
        try:
            self._program = self._start(self._place, self._port)
            try:
                self._program.wait_for_a_query(self.address)
            except BaseException:
                self._program.stop()
                raise
        except BaseException:
            give_back(self._port)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.stop()
        give_back(self._port)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._port)

    @property
    def pid(self) -> int:
        return self._program.pid

    def check(self) -> None:
        self._program.check()

    @abstractmethod
    def _start(self, place: Place, port: int) -> Program:
        """Writes the configuration and starts the program."""


class Floor(Pooler):
    """floor.c: the four socket calls of a transaction and nothing else, which no pooler can undercut."""

    kind = name = "floor"
    version = ""

    def _start(self, place: Place, port: int) -> Program:
        to = ["-h", place.backend.host, "-b", str(place.backend.port), "-n", str(place.pool_size)]
        return Program("floor", [build("floor"), "-p", str(port), *to], place.folder)


_PGBOUNCER_INI = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/userlist.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = {max_clients}
log_connections = 0
log_disconnections = 0
log_stats = 0
client_tls_sslmode = allow
client_tls_key_file = {folder}/server.key
client_tls_cert_file = {folder}/server.crt
server_tls_sslmode = disable
{account}
"""


class PgBouncer(Pooler):
    """Debian's PgBouncer, one process, under an unprivileged account if we are root."""

    kind = name = "pgbouncer"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        found = find_pgbouncer()
        if found is None:
            raise MissingError(
                "PgBouncer is not installed, and apt-get could not fetch it: apt-get install pgbouncer"
            )
        self._found = found
        self.version = found.version

    def _start(self, place: Place, port: int) -> Program:
        configuration = place.folder / "pgbouncer.ini"
        write_certificate(place.folder)
        (place.folder / "userlist.txt").write_text(f'"{USER}" ""\n')
        configuration.write_text(
            _PGBOUNCER_INI.format(
                host=place.backend.host,
                port=place.backend.port,
                listen_port=port,
                folder=place.folder,
                pool_size=place.pool_size,
                max_clients=MAX_CLIENTS,
                account=_account_line(),
            )
        )
        command = [self._found.program, configuration]
        return Program("pgbouncer", command, place.folder, self._found.variables)


def _account_line() -> str:
    """For root, whom it refuses: an account to change to. It does that itself, once it has been loaded from
    folders that the account perhaps cannot enter.
    """
    account = server_account()
    return "" if account.is_ours else f"user = {pwd.getpwuid(account.uid).pw_name}"


_PGMUX_TOML = """\
[pgmux]
workers = {workers}
listen = [{listen}]
runtime_dir = {runtime_dir}
log_level = "warning"
auth_type = "trust"
pool_mode = "transaction"
default_pool_size = {pool_size}
max_backends = {pool_size}
max_client_conn = {max_clients}
client_tls_sslmode = "allow"
client_tls_key_file = "server.key"
client_tls_cert_file = "server.crt"
server_tls_sslmode = "disable"

[databases."*"]
host = {host}
port = {port}
"""


class Pgmux(Pooler):
    """The pgmux that is installed beside this Python, with a number of workers."""

    kind = "pgmux"

    def __init__(self, place: Place, workers: int) -> None:
        super().__init__(place)
        self._command = Path(sys.executable).with_name("pgmux")
        if not self._command.exists():
            raise MissingError("pgmux is not installed beside this Python: make build")
        self._workers = workers
        self.name = f"pgmux-{workers}"
        self.version = installed_version("pgmux")
        self.segment = place.folder / "pgmux.shm"

    def _start(self, place: Place, port: int) -> Program:
        command: list[str | Path] = [self._command, "run", "-c", self.write_configuration(place, port)]
        return Program(self.name, command, place.folder)

    def write_configuration(self, place: Place, port: int) -> Path:
        """Writes the configuration file into the arm's folder."""
        configuration = place.folder / "pgmux.toml"
        write_certificate(place.folder)
        configuration.write_text(
            _PGMUX_TOML.format(  # a JSON string of these is a TOML string too
                workers=self._workers,
                listen=json.dumps(f"127.0.0.1:{port}"),
                runtime_dir=json.dumps(str(place.folder)),
                pool_size=place.pool_size,
                max_clients=MAX_CLIENTS,
                host=json.dumps(place.backend.host),
                port=place.backend.port,
            )
        )
        return configuration


def _pgmux_with(workers: int) -> Callable[[Place], Arm]:
    return lambda place: Pgmux(place, workers)


ARMS: dict[str, Callable[[Place], Arm]] = {
    "direct": Direct,
    "floor": Floor,
    "pgbouncer": PgBouncer,
    "pgmux-1": _pgmux_with(1),
    "pgmux-2": _pgmux_with(2),
    "pgmux-4": _pgmux_with(4),
}
REFERENCE = "pgbouncer"  # what ratios are against
