"""What the user may have meant by a name that pgmux does not know."""

import difflib
from collections.abc import Iterable, Mapping

# Options of PgBouncer that are written otherwise here, or that pgmux has no need of.
PGBOUNCER = {
    "listen_addr": 'pgmux has one key for address and port: listen = ["127.0.0.1:6432"]',
    "listen_port": 'pgmux has one key for address and port: listen = ["127.0.0.1:6432"]',
    "logfile": "pgmux logs to stderr, which systemd keeps",
    "syslog": "pgmux logs to stderr, which systemd keeps",
    "pidfile": "pgmux stays in the foreground, and systemd knows its process",
    "user": "pgmux runs as the user that starts it: set User= in its systemd unit",
    "verbose": 'use log_level = "debug"',
    "so_reuseport": "not needed: all workers share the port already",
    "peer_id": "not needed: any worker can cancel any query",
    "max_db_connections": "use max_backends, here for all databases or in [databases.NAME] for one",
    "reserve_pool": "use reserve_pool_size",
}
TABLES = {
    "pgbouncer": "the table is called [pgmux]",
    "peers": "not needed: any worker can cancel any query",
    "user": "the tables are called [users.NAME]",
}

SHORTEST_BEGINNING = 4  # letters from which a name's beginning stands for the whole name


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """A hint that names the known name nearest to `name`; "" when none is as like as `likeness` (0 to 1)."""
    plain = {_simplify(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_simplify(name), plain, n=1, cutoff=likeness)
    if not near and len(name) >= SHORTEST_BEGINNING:
        near = [candidate for candidate in plain if candidate.startswith(_simplify(name))]
    return f'did you mean "{plain[near[0]]}"?' if near else ""


def _simplify(name: str) -> str:
    return name.lower().replace("-", "_")


def hint_for_key(key: str, known: Iterable[str], elsewhere: Mapping[str, Iterable[str]]) -> str:
    """What to write in place of the unknown `key`.

    `known` are the keys of its table, `elsewhere` those of the other tables, by the table's
    spelling, as {"[users.NAME]": ...}.
    """
    if key in PGBOUNCER:
        return PGBOUNCER[key]
    homes = [table for table, keys in elsewhere.items() if key in keys]
    if homes:
        return f"it belongs to {' or '.join(homes)}"
    return did_you_mean(key, known) or "`pgmux check --options` lists all keys"


def hint_for_table(name: str, known: Iterable[str], options: Iterable[str]) -> str:
    """What to write in place of the unknown top-level `name`; `options` are the keys of [pgmux]."""
    if name in TABLES:
        return TABLES[name]
    if name in options:
        return "it belongs below the line [pgmux]"
    near = did_you_mean(name, known) or did_you_mean(name, options, likeness=0.8)
    return near or "the tables are [pgmux], [databases.NAME] and [users.NAME]"
