"""PgBouncer's words for connections: SHOW CLIENTS and SHOW SERVERS.

See pgbouncer.py, of which this is a part.
"""

from collections.abc import Callable
from typing import Any, Final

from pgmux.control.connection_figures import BackendFigures, ClientFigures
from pgmux.control.pgbouncer_stats import DATABASE
from pgmux.control.table import BIG, INT, TEXT, Column, Show, constant, item
from pgmux.shm.leases import Phase, Private
from pgmux.shm.survey import Standing

_REPLICATION: Final = {
    Private.NOT_PRIVATE: "none",
    Private.PHYSICAL: "physical",
    Private.LOGICAL: "logical",
}


def _ends(
    kind: str,
    state: Callable[[Any], str],
    connected_us: Callable[[Any], int],
    requested_us: Callable[[Any], int],
) -> tuple[Column, ...]:
    """The columns that both tables begin with. `kind`: C or S."""
    return (
        constant("type", TEXT, kind),
        item("user", TEXT),
        DATABASE,
        Column("replication", TEXT, lambda end: _REPLICATION[end.private]),
        Column("state", TEXT, state),
        Column("addr", TEXT, lambda end: end.address),
        item("port", INT),
        Column("local_addr", TEXT, lambda end: end.local_address),
        item("local_port", INT),
        Column("connect_time", TEXT, lambda end: end.clock.time_of_day(connected_us(end))),
        Column("request_time", TEXT, lambda end: end.clock.time_of_day(requested_us(end))),
    )


def _name_client(client: ClientFigures) -> str:
    return f"client-{client.number}"


def _name_slot(slot: int) -> str:
    return f"backend-{slot}"


def _client_state(client: ClientFigures) -> str:
    if client.standing is Standing.WAITING:
        return "waiting"
    return "active" if client.standing is Standing.SERVED else "idle"


CLIENTS: Final = Show(
    "CLIENTS",
    "Each client that has logged in.",
    (
        *_ends("C", _client_state, lambda client: client.connected_us, lambda client: client.since_us),
        Column("wait", INT, lambda client: client.wait_us // 1_000_000),
        Column("wait_us", INT, lambda client: client.wait_us % 1_000_000),
        constant("close_needed", INT, 0),
        Column("ptr", TEXT, _name_client),
        Column("link", TEXT, lambda client: "" if client.slot is None else _name_slot(client.slot)),
        Column("remote_pid", INT, lambda client: client.process),
        item("tls", TEXT),
        item("application_name", TEXT),
        Column("prepared_statements", INT, lambda client: client.statements),
        Column("id", BIG, lambda client: client.number),
        item("worker", INT, "The worker that serves it; null = one of the version before, see UPGRADE."),
        item("transactions", BIG, "Transactions that it was served so far."),
    ),
    lambda figures: figures.clients(),
)


def _backend_state(backend: BackendFigures) -> str:
    if backend.phase is Phase.OPENING:
        return "active" if backend.client is not None else "new"
    if backend.phase is Phase.FREE:
        return "idle"
    if backend.phase is Phase.CLOSING:
        return "closing"  # PgBouncer does not wait for PostgreSQL to end a connection, and has no word for it
    if backend.phase is Phase.GRANTED or backend.client is not None:
        return "active"
    return "being_canceled" if backend.cancels else "tested"


def _requested_us(backend: BackendFigures) -> int:
    return backend.leased_us if backend.phase is Phase.LEASED else backend.released_us


SERVERS: Final = Show(
    "SERVERS",
    "Each backend: a connection to PostgreSQL.",
    (
        *_ends("S", _backend_state, lambda backend: backend.opened_us, _requested_us),
        constant("wait", INT, 0),
        constant("wait_us", INT, 0),
        Column("close_needed", INT, lambda backend: int(backend.is_outdated)),
        Column("ptr", TEXT, lambda backend: _name_slot(backend.slot)),
        Column("link", TEXT, lambda backend: _name_client(backend.client) if backend.client else ""),
        Column("remote_pid", INT, lambda backend: backend.process),
        item("tls", TEXT),
        Column(
            "application_name",
            TEXT,
            lambda backend: backend.client.application_name if backend.client else "",
        ),
        Column("prepared_statements", INT, lambda backend: backend.statements),
        Column("id", BIG, lambda backend: backend.slot + 1),
        item("worker", INT, "The worker that owns it now."),
        Column("assignments", BIG, lambda backend: backend.leases, "How often it was given to a client."),
    ),
    lambda figures: figures.backends(),
)

SHOWS: Final = (CLIENTS, SERVERS)
