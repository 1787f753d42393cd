"""PgBouncer's words for our figures: cl_active, sv_idle, maxwait_us stand here and in pgbouncer_*.py.

Each table has PgBouncer's columns under their names, in their order and with their types (of version 1.25),
so that exporters, agents and scripts that look there need no change; own columns come after them. A column
that means nothing here keeps the value by which PgBouncer says "none".

Source: PgBouncer's manual page on usage, section "Show Commands".
"""

from collections.abc import Iterator
from typing import Final

from pgmux import __version__
from pgmux.control.figures import Figures
from pgmux.control.inventory import Named, areas, databases, settings, show_setting, users
from pgmux.control.pgbouncer_connections import SHOWS as CONNECTIONS
from pgmux.control.pgbouncer_stats import DATABASE, console
from pgmux.control.pgbouncer_stats import SHOWS as STATISTICS
from pgmux.control.table import INT, TEXT, Column, Show, constant, item

VERSION: Final = "1.25.2"  # of PgBouncer, whose console ours is like

# --- pools


def _balance(hosts: tuple[str, ...]) -> str | None:
    """Hosts are tried in their order, which PgBouncer calls so; one host is nothing to balance."""
    return "disable" if len(hosts) > 1 else None


POOLS: Final = Show(
    "POOLS",
    "Each pool's clients and backends, and how long the first client in its queue has waited.",
    (
        DATABASE,
        item("user", TEXT),
        Column("cl_active", INT, lambda pool: pool.idle + pool.served),
        Column("cl_waiting", INT, lambda pool: pool.waiting),
        # Who asks for a cancel is let go at once: what waits is the request to PostgreSQL, sv_active_cancel.
        constant("cl_active_cancel_req", INT, 0),
        constant("cl_waiting_cancel_req", INT, 0),
        Column("sv_active", INT, lambda pool: pool.serving),
        Column("sv_active_cancel", INT, lambda pool: pool.cancels),
        Column("sv_being_canceled", INT, lambda pool: pool.being_cancelled),
        Column("sv_idle", INT, lambda pool: pool.free),
        constant("sv_used", INT, 0),  # idle ones are watched, so none has to be looked at before its next use
        Column("sv_tested", INT, lambda pool: pool.cleaning),
        Column("sv_login", INT, lambda pool: pool.opening),
        Column("maxwait", INT, lambda pool: pool.longest_wait_us // 1_000_000),
        Column("maxwait_us", INT, lambda pool: pool.longest_wait_us % 1_000_000),
        Column("pool_mode", TEXT, lambda pool: pool.settings and pool.settings.pool_mode),
        Column("load_balance_hosts", TEXT, lambda pool: pool.settings and _balance(pool.settings.hosts)),
        Column("sv_closing", INT, lambda pool: pool.closing, "Backends that PostgreSQL has not ended yet."),
        item("pool_size", INT, "Backends that the pool may have."),
        Column(
            "waiting_for",
            TEXT,
            lambda pool: pool.reason if pool.waiting else None,
            "Why its clients wait: a word that SHOW WAITS explains.",
        ),
    ),
    lambda figures: figures.survey().pools,
    console,
)


DATABASES: Final = Show(
    "DATABASES",
    "Each database: where it is, what limits it has, and what of them is used.",
    (
        item("name", TEXT),
        item("host", TEXT),
        Column("port", INT, lambda database: database.table.port if database.table is not None else None),
        Column(
            "database", TEXT, lambda database: (database.table and database.table.dbname) or database.name
        ),
        Column("force_user", TEXT, lambda database: (database.table and database.table.user) or None),
        Column("pool_size", INT, lambda database: database.setting("pool_size")),
        Column("min_pool_size", INT, lambda database: database.setting("min_pool_size")),
        Column("reserve_pool_size", INT, lambda database: database.setting("reserve_pool_size")),
        Column("server_lifetime", INT, lambda database: database.setting("server_lifetime")),
        Column("pool_mode", TEXT, lambda database: database.table and database.table.pool_mode),
        Column("load_balance_hosts", TEXT, lambda database: database.table and _balance(database.table.host)),
        Column("max_connections", INT, lambda database: database.table.max_backends if database.table else 0),
        Column("current_connections", INT, lambda database: sum(pool.backends for pool in database.pools)),
        Column(
            "max_client_connections",
            INT,
            lambda database: database.table.max_client_conn if database.table else 0,
        ),
        Column(
            "current_client_connections", INT, lambda database: sum(pool.clients for pool in database.pools)
        ),
        Column("paused", INT, lambda database: int(database.is_paused)),
        Column("disabled", INT, lambda database: int(database.is_disabled)),
        Column(
            "reserve_pool",
            INT,
            lambda database: database.setting("reserve_pool_size"),
            "As reserve_pool_size, by the name that it had before PgBouncer 1.24.",
        ),
    ),
    databases,
    console,
)


USERS: Final = Show(
    "USERS",
    "Each user who may log in or has: own limits, and what is used.",
    (
        item("name", TEXT),
        Column("pool_size", TEXT, lambda user: user.own("pool_size")),
        Column("reserve_pool_size", TEXT, lambda user: user.own("reserve_pool_size")),
        Column("pool_mode", TEXT, lambda user: user.own("pool_mode") or None),
        constant("max_user_connections", INT, 0),
        Column("current_connections", INT, lambda user: user.backends),
        Column(
            "max_user_client_connections", INT, lambda user: user.table.max_client_conn if user.table else 0
        ),
        Column("current_client_connections", INT, lambda user: user.clients),
    ),
    users,
)

# --- the whole


def _lists(figures: Figures) -> Iterator[Named]:
    survey = figures.survey()
    limit = figures.segment.client_limit
    backends = sum(pool.backends for pool in survey.pools)
    yield Named("databases", sum(1 for _ in databases(figures)))
    yield Named("users", sum(1 for _ in users(figures)))
    yield Named("peers", 0)
    yield Named("pools", len(survey.pools))
    yield Named("peer_pools", 0)
    yield Named("free_clients", max(limit - survey.clients, 0))
    yield Named("used_clients", survey.clients)
    yield Named("login_clients", survey.logging_in)
    yield Named("free_servers", figures.segment.slot_count - backends)
    yield Named("used_servers", backends)
    for name in ("dns_names", "dns_zones", "dns_queries", "dns_pending"):
        yield Named(name, 0)


LISTS: Final = Show(
    "LISTS",
    "How many there are of each kind of thing.",
    (Column("list", TEXT, lambda named: named.name), Column("items", INT, lambda named: named.value)),
    _lists,
)


CONFIG: Final = Show(
    "CONFIG",
    "Each option of [pgmux], and whether SET and RELOAD can change it.",
    (
        Column("key", TEXT, lambda setting: setting.row.name),
        Column("value", TEXT, lambda setting: show_setting(setting.row, setting.value)),
        Column("default", TEXT, lambda setting: show_setting(setting.row, setting.row.default)),
        Column("changeable", TEXT, lambda setting: "yes" if setting.row.option.reload else "no"),
    ),
    settings,
)


def _state(figures: Figures) -> Iterator[Named]:
    is_paused = figures.pools_table.is_paused
    yield Named("active", "no" if is_paused else "yes")
    yield Named("paused", "yes" if is_paused else "no")
    yield Named("suspended", "no")


STATE: Final = Show(
    "STATE",
    "Whether all is paused.",
    (Column("key", TEXT, lambda named: named.name), item("value", TEXT)),
    _state,
)
SHOW_VERSION: Final = Show(
    "VERSION",
    "The version of pgmux, and of PgBouncer, whose console this one is like.",
    (Column("version", TEXT, lambda version: version),),
    lambda figures: [f"pgmux {__version__}, console of PgBouncer {VERSION}"],
)


MEM: Final = Show(
    "MEM",
    "What the shared segment consists of; memory that was never used is not taken from the system.",
    (
        item("name", TEXT),
        item("size", INT),
        item("used", INT),
        Column("free", INT, lambda area: max(area.total - area.used, 0)),
        Column("memtotal", INT, lambda area: area.total * area.size),
    ),
    areas,
)

SHOWS: Final = (
    *STATISTICS,
    POOLS,
    DATABASES,
    USERS,
    *CONNECTIONS,
    LISTS,
    CONFIG,
    STATE,
    SHOW_VERSION,
    MEM,
)
