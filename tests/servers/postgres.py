"""A real PostgreSQL for tests: the demo's throw-away server with roles, a database, and verbs to trouble it.

It has a role for each way to log in, and a database `app` that belongs to the role `app`. Passwords are in
PASSWORDS; who has none there gets in by trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pgmux.demo.embedded import OBSERVER, EmbeddedPostgres, Setting
from tests.servers.certificates import Certificate
from tests.servers.log import Log
from tests.servers.waiting import wait_until

PASSWORDS = {"plain": "plain-secret", "hashed": "hashed-secret", "scram": "scram-secret"}
METHODS = {"plain": "password", "hashed": "md5", "scram": "scram-sha-256"}

_HBA = (
    *(f"local all {role} {method}" for role, method in METHODS.items()),
    *(f"host all {role} 127.0.0.1/32 {method}" for role, method in METHODS.items()),
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
)


class Postgres(EmbeddedPostgres):
    """One server; `hba` lines come before the usual ones. Start it by `with` or by a fixture.

    With a `certificate` it speaks TLS, if it was built with OpenSSL.
    """

    def __init__(
        self,
        version: str | None = None,
        settings: Mapping[str, Setting] | None = None,
        hba: Sequence[str] = (),
        certificate: Certificate | None = None,
    ) -> None:
        tls: dict[str, Setting] = {"ssl": True} if certificate else {}
        super().__init__(version, {**tls, **(settings or {})}, (*hba, *_HBA))
        self._certificate = certificate
        self.log_file = Log(self.log_path)

    def start(self) -> None:
        """Starts the server; the first time it also makes the roles and the database."""
        is_new = not self.data_dir.exists()
        super().start()
        if is_new:
            self._make_roles()

    def _make_data_directory(self) -> None:
        super()._make_data_directory()
        if self._certificate is not None:
            for name, path in (
                ("server.crt", self._certificate.cert_file),
                ("server.key", self._certificate.key_file),
            ):
                copy = self.data_dir / name
                copy.touch(0o600)
                copy.write_bytes(Path(path).read_bytes())
                self._account.own(copy)

    def sql(self, query: str, dbname: str = "postgres", user: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows that a query gives, as Python's values. Raises psycopg.Error."""
        with self.connect(dbname, user, application_name=OBSERVER) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(
        self, dbname: str = "app", user: str = "app", **more: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A psycopg connection over the Unix socket, in autocommit."""
        return psycopg.connect(self.dsn(dbname, user), autocommit=True, **more)

    def dsn(self, dbname: str = "app", user: str = "app") -> str:
        """The address for libpq."""
        password = f" password={PASSWORDS[user]}" if user in PASSWORDS else ""
        return f"host={self.socket_dir} port={self.port} dbname={dbname} user={user}{password}"

    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    def kill_backend(self, pid: int) -> None:
        """Ends one backend as an administrator does, with 57P01, and waits until it is gone."""
        self.sql(f"SELECT pg_terminate_backend({pid})")
        wait_until(lambda: pid not in self.backend_pids(), what=f"the end of backend {pid}")

    def crash(self) -> None:
        """Ends the server without a shutdown; `start` recovers it."""
        self.stop("immediate")

    def log_contains(self, pattern: str) -> bool:
        """Whether a line logged since the test began matches a regular expression."""
        return self.log_file.contains(pattern)

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> str:
        """The first such line, once there is one."""
        return self.log_file.wait_for(pattern, timeout)

    def _make_roles(self) -> None:
        with self.connect("postgres", "postgres") as connection:
            connection.execute("CREATE ROLE app LOGIN")
            for role, password in PASSWORDS.items():
                method = "md5" if METHODS[role] == "md5" else "scram-sha-256"
                connection.execute(sql.SQL("SET password_encryption = {}").format(method))
                create = sql.SQL("CREATE ROLE {} LOGIN IN ROLE app PASSWORD {}")
                connection.execute(create.format(sql.Identifier(role), password))
            connection.execute("CREATE DATABASE app OWNER app")
