"""The competitors of a measurement: what stands between the clients and the backend, and how it is started.

An arm is entered and left with its with statement; in between, `address` is where clients go, `pid` its
first process. To add one, write a class like PgBouncer's and a line in ARMS. All are configured alike:
transaction mode, trust, the same pool size, TLS for clients who ask for it, nothing logged for
each connection. Programs that this project does not bring may be named: `--pgbouncer`, `--odyssey`.
"""

from __future__ import annotations

import json
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from loadtest.build import build
from loadtest.certificate import write_certificate
from loadtest.client import Address, write_userlist
from loadtest.debian import find_pgbouncer
from loadtest.program import Program
from pgmux.demo.account import server_account
from pgmux.demo.ports import free_port, give_back
from pgmux.errors import PgmuxError

MAX_CLIENTS = 10_000
_SPARE_CLIENTS = 100  # ours, that look whether an arm is up


@dataclass(frozen=True)
class Place:
    """What an arm needs to know: the backends' address, how many it may open, and a folder of its own."""

    backend: Address
    pool_size: int
    folder: Path
    auth: str = "trust"  # or "scram-sha-256"
    programs: Mapping[str, Path] = field(
        default_factory=dict
    )  # of kinds of arms, where the user has named one


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
so_reuseport = {shares_port}
auth_type = {auth}
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
    """Debian's PgBouncer under an unprivileged account if we are root: one process, or several that share a port
    and, as nothing else divides it, have each their part of the pool.
    """

    kind = "pgbouncer"

    def __init__(self, place: Place, processes: int = 1, divides_pool: bool = True) -> None:
        super().__init__(place)
        found = find_pgbouncer(place.programs.get(self.kind))
        if found is None:
            raise MissingError(
                "PgBouncer is not installed, and apt-get could not fetch it: apt-get install pgbouncer"
            )
        self._found = found
        self._processes = processes
        self._divides_pool = divides_pool
        self.name = self.kind if processes == 1 else f"{self.kind}-{processes}"
        self.version = found.version

    def _start(self, place: Place, port: int) -> Program:
        write_certificate(place.folder)
        write_userlist(place.folder)
        each = max(1, place.pool_size // self._processes) if self._divides_pool else place.pool_size
        commands = [
            f"{shlex.quote(str(self._found.program))} "
            f"{shlex.quote(str(self._write_configuration(place, port, each, number)))}"
            for number in range(self._processes)
        ]
        # One command becomes the program itself; several are children of a shell that ends with them.
        together = f"trap 'kill -TERM 0' INT; {' & '.join(commands)} & wait"
        script = f"exec {commands[0]}" if len(commands) == 1 else together
        return Program("pgbouncer", ["/bin/sh", "-c", script], place.folder, self._found.variables)

    def _write_configuration(self, place: Place, port: int, pool_size: int, number: int) -> Path:
        configuration = place.folder / f"pgbouncer{number or ''}.ini"
        configuration.write_text(
            _PGBOUNCER_INI.format(
                host=place.backend.host,
                port=place.backend.port,
                listen_port=port,
                shares_port=int(self._processes > 1),
                auth=place.auth,
                folder=place.folder,
                pool_size=pool_size,
                max_clients=MAX_CLIENTS + _SPARE_CLIENTS,
                account=_account_line(),
            )
        )
        return configuration


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
auth_type = {auth}
auth_file = {auth_file}
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
        users = write_userlist(place.folder)
        configuration.write_text(
            _PGMUX_TOML.format(  # a JSON string of these is a TOML string too
                workers=self._workers,
                listen=json.dumps(f"127.0.0.1:{port}"),
                runtime_dir=json.dumps(str(place.folder)),
                auth=json.dumps(place.auth),
                auth_file=json.dumps(str(users)),
                pool_size=place.pool_size,
                max_clients=MAX_CLIENTS + _SPARE_CLIENTS,
                host=json.dumps(place.backend.host),
                port=place.backend.port,
            )
        )
        return configuration


_ODYSSEY_CONF = """\
daemonize no
log_to_stdout yes
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_config no
log_session no
log_query no
log_stats no
workers {workers}
resolvers 1
nodelay yes
cache_coroutine {max_clients}
client_max {max_clients}
listen {{
    host "127.0.0.1"
    port {listen_port}
    backlog 4096
    tls "allow"
    tls_key_file "{folder}/server.key"
    tls_cert_file "{folder}/server.crt"
}}
storage "postgres_server" {{
    type "remote"
    host "{host}"
    port {port}
    tls "disable"
}}
database default {{
    user default {{
        authentication "none"
        storage "postgres_server"
        pool "transaction"
        pool_size {pool_size}
        pool_timeout 0
        pool_ttl 3600
        pool_discard no
        pool_reserve_prepared_statement yes
    }}
}}
"""


class Odyssey(Pooler):
    """Odyssey, whose program the user has named: Debian has none."""

    kind = "odyssey"

    def __init__(self, place: Place, workers: int) -> None:
        super().__init__(place)
        named = place.programs.get(self.kind) or shutil.which("odyssey")
        if named is None:
            raise MissingError("no odyssey on the PATH: --odyssey PATH names one")
        self._program_path = Path(named)
        self._workers = workers
        self.name = f"{self.kind}-{workers}"
        self.version = _odyssey_version(self._program_path)

    def _start(self, place: Place, port: int) -> Program:
        if place.auth != "trust":
            raise PgmuxError("this measurement sets up Odyssey with trust alone")
        write_certificate(place.folder)
        configuration = place.folder / "odyssey.conf"
        configuration.write_text(
            _ODYSSEY_CONF.format(
                workers=self._workers,
                listen_port=port,
                folder=place.folder,
                host=place.backend.host,
                port=place.backend.port,
                pool_size=place.pool_size,
                max_clients=MAX_CLIENTS + _SPARE_CLIENTS,
            )
        )
        return Program(self.name, [self._program_path, configuration], place.folder)


def _odyssey_version(program: Path) -> str:
    """What it says of itself, wherever it says it."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(f"{program} does not run: {error}") from error
    match = re.search(r"\d+(\.\d+)+\S*", said.stdout + said.stderr)
    return match[0] if match else "unknown"


def _pgmux_with(workers: int) -> Callable[[Place], Arm]:
    return lambda place: Pgmux(place, workers)


def _pgbouncers(processes: int) -> Callable[[Place], Arm]:
    return lambda place: PgBouncer(place, processes)


def _odyssey_with(workers: int) -> Callable[[Place], Arm]:
    return lambda place: Odyssey(place, workers)


ARMS: dict[str, Callable[[Place], Arm]] = {
    "direct": Direct,
    "floor": Floor,
    "pgbouncer": PgBouncer,
    "pgbouncer-2": _pgbouncers(2),
    "odyssey-1": _odyssey_with(1),
    "odyssey-2": _odyssey_with(2),
    "pgmux-1": _pgmux_with(1),
    "pgmux-2": _pgmux_with(2),
    "pgmux-4": _pgmux_with(4),
    "pgmux-8": _pgmux_with(8),
}
REFERENCE = "pgbouncer"  # what processor times are against
BARE = "direct"  # what transactions per second are against, where it is rows that are moved
