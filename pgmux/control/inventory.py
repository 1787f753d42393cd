"""What there is besides pools, clients and backends: databases, users, options, the segment's parts."""

from collections.abc import Iterator
from typing import NamedTuple

from pgmux.config.configuration import ANY_DATABASE, Config
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from pgmux.control.figures import Figures
from pgmux.control.pool_figures import PoolFigures
from pgmux.protocol.results import Value


class Named(NamedTuple):
    """A name and a value."""

    name: str
    value: Value


class DatabaseFigures(NamedTuple):
    """One database: what is configured, and what its pools have."""

    name: str
    table: Database | None  # None: a reload has taken it away
    config: Config
    pools: list[PoolFigures]
    is_paused: bool
    is_disabled: bool

    def setting(self, name: str) -> int:
        """Its own value of an option, or the global one."""
        own = getattr(self.table, name, None)
        name = "default_pool_size" if name == "pool_size" else name
        return int(getattr(self.config.pgmux, name) if own is None else own)

    @property
    def host(self) -> str | None:
        """Where PostgreSQL is."""
        return ",".join(self.table.host) if self.table is not None else None


def databases(figures: Figures) -> Iterator[DatabaseFigures]:
    """Every database that is configured or in use."""
    config, board = figures.config, figures.board
    pools: dict[str, list[PoolFigures]] = {}
    for pool in figures.survey().pools:
        pools.setdefault(pool.database, []).append(pool)
    names = [name for name in config.databases if name != ANY_DATABASE]
    for name in [*names, *(name for name in pools if name not in config.databases)]:
        record = board.find(name.encode("utf-8", "surrogateescape"))
        said = board.read(record) if record is not None else None
        yield DatabaseFigures(
            name=name,
            table=config.databases.get(name, config.databases.get(ANY_DATABASE)),
            config=config,
            pools=pools.get(name, []),
            is_paused=said is not None and said["is_paused"],
            is_disabled=said is not None and said["is_disabled"],
        )


class UserFigures(NamedTuple):
    """One user."""

    name: str
    table: User | None
    backends: int
    clients: int

    def own(self, name: str) -> str:
        """The user's own value of an option, "" = none."""
        value = getattr(self.table, name, None)
        return "" if value is None else str(value)


def users(figures: Figures) -> Iterator[UserFigures]:
    """Every user who is configured, may log in, or has."""
    config = figures.config
    backends: dict[str, int] = {}
    clients: dict[str, int] = {}
    for pool in figures.survey().pools:
        backends[pool.user] = backends.get(pool.user, 0) + pool.backends
    for client in figures.clients():
        clients[client.user] = clients.get(client.user, 0) + 1
    for name in dict.fromkeys([*config.users, *figures.users, *backends, *clients]):
        yield UserFigures(name, config.users.get(name), backends.get(name, 0), clients.get(name, 0))


class Setting(NamedTuple):
    """One option and its value."""

    row: Row
    value: object


def settings(figures: Figures) -> Iterator[Setting]:
    """Every option of [pgmux]."""
    for name, row in rows_of(Settings).items():
        yield Setting(row, getattr(figures.config.pgmux, name))


def show_setting(row: Row, value: object) -> str:
    """An option's value as SHOW CONFIG tells it: as it may be given to SET. Secrets are hidden."""
    if row.option.is_secret:
        return "***" if value else ""
    plain = row.show(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, list | tuple):
        return ",".join(map(str, plain))
    return str(plain)


class Area(NamedTuple):
    """A part of the shared segment."""

    name: str
    size: int  # of one thing, bytes
    used: int
    total: int


def areas(figures: Figures) -> Iterator[Area]:
    """The parts of the shared segment."""
    segment, survey = figures.segment, figures.survey()
    backends = sum(pool.backends for pool in survey.pools)
    used = {
        "client": survey.clients,
        "backend": backends,
        "pool": len(survey.pools),
        "worker": sum(1 for worker in figures.workers() if worker.pid),
        "counters": len(survey.pools) * segment.worker_count,
    }
    for name, (size, count) in segment.sizes().items():
        yield Area(name, size, used.get(name, count), count)
