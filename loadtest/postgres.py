"""A real PostgreSQL as the backend of a measurement, thrown away afterwards: tables for the scripts, trust log-in."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from loadtest.client import DATABASE, USER, Address
from loadtest.program import pass_on_niceness
from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.errors import PgmuxError

_SPARE_CONNECTIONS = 30
_TABLES = """
CREATE TABLE accounts AS SELECT id, 0 AS balance FROM generate_series(1, 100000) id;
ALTER TABLE accounts ADD PRIMARY KEY (id);
CREATE TABLE branches (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO branches VALUES (1, 0);
CREATE UNLOGGED TABLE history (account int, amount int, at timestamptz);
CREATE UNLOGGED TABLE copied (text text);
ALTER TABLE branches SET (autovacuum_enabled = off);
"""


class PostgresBackend:
    """One server of a major version, for so many connections, from the with statement's begin to its end."""

    def __init__(self, major: str | None, connections: int, over_unix: bool = False) -> None:
        self._postgres = EmbeddedPostgres(
            major,
            {
                "max_connections": connections + _SPARE_CONNECTIONS,
                "shared_buffers": "128MB",
                "autovacuum": False,
                "max_wal_size": "4GB",
            },
        )
        self._over_unix = over_unix

    def __enter__(self) -> Self:
        self._postgres.__enter__()
        pass_on_niceness(self._postgres.pid)
        try:
            self._postgres.sql(f"CREATE ROLE {USER} LOGIN")
            self._postgres.sql(f"CREATE DATABASE {DATABASE} OWNER {USER}")
            self._postgres.sql(_TABLES, DATABASE, USER)
            self._postgres.sql("VACUUM (ANALYZE)", DATABASE)
        except BaseException:
            self._postgres.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._postgres.remove()

    @property
    def version(self) -> str:
        """Such as "PostgreSQL 18.4"."""
        return f"PostgreSQL {self._postgres.version}"

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._postgres.pid

    @property
    def address(self) -> Address:
        """Where poolers find it."""
        host = str(self._postgres.socket_dir) if self._over_unix else self._postgres.host
        return Address(host, self._postgres.port)

    @property
    def server(self) -> EmbeddedPostgres:
        """The server itself."""
        return self._postgres

    def check(self) -> None:
        """Raises PgmuxError if it does not answer any more."""
        self._postgres.sql("SELECT 1")

    def take_peak(self) -> int:
        """PostgreSQL does not tell it."""
        raise PgmuxError("only nullpg counts the most backends at any instant")
