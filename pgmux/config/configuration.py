"""The configuration as the rest of pgmux uses it: read, checked and unchanging.

A reload makes a new Config; nobody changes one.
"""

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from pgmux.config.addresses import socket_path
from pgmux.config.notations import OnPin, PoolMode, SessionAttributes
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from pgmux.errors import Problem

ANY_DATABASE = "*"
CONSOLE_DATABASES = ("pgmux", "pgbouncer")  # answered by pgmux itself
DEFAULT_PORT = 6432  # names the Unix socket when there is no TCP address
MOST_WORKERS = 250
FEW_CLIENTS = 64

Value = TypeVar("Value")


class PoolSettings(msgspec.Struct, frozen=True):
    """What one pool is to be. The pool is known by (database, server_user)."""

    database: str  # the name that clients ask for
    server_user: str  # who logs in to PostgreSQL: the user forced by the database, else the client's
    server_password: str | None  # None = look it up in auth_file
    hosts: tuple[str, ...]  # to be tried in this order; one that begins with / is a Unix socket's directory
    port: int
    dbname: str
    pool_mode: PoolMode
    pool_size: int
    min_pool_size: int
    reserve_pool_size: int
    max_backends: int  # of all pools of this database together; 0 = no limit of its own
    target_session_attrs: SessionAttributes
    database_clients: int  # that may be connected to the database; 0 = no limit of its own
    user_clients: int  # the same of the user
    on_pin: OnPin
    most_pinned: int  # of the pool's backends may be kept by a client beyond its transaction, at once

    @property
    def host(self) -> str:
        """The host to be tried first."""
        return self.hosts[0]

    def leads_where(self, other: "PoolSettings") -> bool:
        """Whether a backend opened by `other` leads to the same place, as the same PostgreSQL user."""
        return self._place == other._place

    @property
    def _place(self) -> tuple[object, ...]:
        return self.hosts, self.port, self.dbname, self.server_user, self.target_session_attrs


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration."""

    pgmux: Settings = field(default_factory=Settings)
    databases: dict[str, Database] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    path: str | None = None  # the file it was read from
    warnings: tuple[Problem, ...] = ()  # what is hardly meant so

    def pool_settings(self, database: str, user: str) -> PoolSettings:
        """The settings of the pool that serves clients who ask for `database` and log in as `user`.

        A setting of the user goes before the database's, and that before the global one. The
        user is the one who logs in to PostgreSQL: where a database forces one, all clients share
        that user's pool. Raises KeyError for a database that is not declared, unless "*" is.
        """
        declared = self.databases.get(database, self.databases.get(ANY_DATABASE))
        if declared is None:
            raise KeyError(database)
        server_user = declared.user or user
        own = self.users.get(server_user, User())
        pool_size = _first(own.pool_size, declared.pool_size, self.pgmux.default_pool_size)
        min_pool_size = _first(own.min_pool_size, declared.min_pool_size, self.pgmux.min_pool_size)
        return PoolSettings(
            database=database,
            server_user=server_user,
            server_password=declared.password or None,
            hosts=declared.host,
            port=declared.port,
            dbname=declared.dbname or database,
            pool_mode=_first(own.pool_mode, declared.pool_mode, self.pgmux.pool_mode),
            pool_size=pool_size,
            min_pool_size=min(min_pool_size, pool_size),  # a small pool need not restate a global minimum
            reserve_pool_size=_first(
                own.reserve_pool_size, declared.reserve_pool_size, self.pgmux.reserve_pool_size
            ),
            max_backends=declared.max_backends,
            target_session_attrs=declared.target_session_attrs,
            database_clients=declared.max_client_conn,
            user_clients=own.max_client_conn,
            on_pin=_first(declared.on_pin, self.pgmux.on_pin),
            most_pinned=max(1, pool_size * self.pgmux.max_pinned_percent // 100),
        )

    def pool_mode(self, database: str, user: str) -> PoolMode:
        """A client's mode: its own user's goes before the database's. Raises KeyError as `pool_settings`."""
        declared = self.databases.get(database, self.databases.get(ANY_DATABASE))
        if declared is None:
            raise KeyError(database)
        return _first(self.users.get(user, User()).pool_mode, declared.pool_mode, self.pgmux.pool_mode)

    def settings_of_pool(self, database: str, server_user: str) -> PoolSettings:
        """The settings of a pool that is there, whoever its clients are. Raises KeyError as `pool_settings`.

        Its user may be another than the one that the database forces on clients: auth_user's, or that of
        before a reload. Then the database's password is not its own.
        """
        settings = self.pool_settings(database, server_user)
        if settings.server_user == server_user:
            return settings
        declared = self.databases.get(database, self.databases.get(ANY_DATABASE))
        assert declared is not None
        unforced = msgspec.structs.replace(declared, user="", password="")
        alike = dataclasses.replace(self, databases={database: unforced})
        return alike.pool_settings(database, server_user)

    def auth_database(self, database: str) -> str | None:
        """Where auth_query is asked about a client that wants `database`; None = nowhere.

        A database that only "*" stands for may not exist, which strangers must not find out: `postgres` is
        asked then. For one that is not declared at all it is any that is.
        """
        if self.pgmux.auth_dbname:
            return self.pgmux.auth_dbname
        if database in self.databases and database != ANY_DATABASE:
            return database
        if ANY_DATABASE in self.databases:
            return "postgres"
        return next(iter(self.databases), None)

    def worker_count(self) -> int:
        """How many workers to run: as configured, or one per CPU core this process may use."""
        return self.pgmux.workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)

    @property
    def login_limit_of_a_worker(self) -> int:
        """How many clients may be logging in at once in one worker: its share of max_login_conn.

        All together they take no more than half of max_client_conn where that is many.
        """
        workers = self.worker_count()
        limit = min(self.pgmux.max_login_conn, max(self.pgmux.max_client_conn // 2, FEW_CLIENTS))
        return max(1, -(-limit // workers))

    @property
    def segment_path(self) -> str:
        """The file of the shared memory segment."""
        return f"{self.pgmux.runtime_dir}/pgmux.shm"

    @property
    def control_socket(self) -> str:
        """The Unix socket for the control commands."""
        return self.pgmux.control_socket or f"{self.pgmux.runtime_dir}/control.sock"

    @property
    def unix_socket(self) -> str | None:
        """The Unix socket for clients, named after the first TCP port; None = there is none."""
        if not self.pgmux.unix_socket_dir:
            return None
        port = self.pgmux.listen[0].port if self.pgmux.listen else DEFAULT_PORT
        return self.unix_socket_path(port)

    def unix_socket_path(self, port: int) -> str:
        """The Unix socket for clients who connect to `port`, in PostgreSQL's spelling."""
        return socket_path(self.pgmux.unix_socket_dir, port)


def _first(*values: Value | None) -> Value:
    """The first value that is given; the last one always is."""
    return next(value for value in values if value is not None)
