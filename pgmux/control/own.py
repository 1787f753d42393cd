"""What can be shown that PgBouncer does not have: workers, leases, waits, pins."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pgmux.control.connection_figures import BackendFigures
from pgmux.control.figures import SILENT_AFTER_US, Figures, WorkerFigures
from pgmux.control.histogram import describe, percentile_us
from pgmux.control.pool_figures import PoolFigures
from pgmux.control.processes import resident_bytes
from pgmux.control.table import BIG, INT, TEXT, Column, Show, item
from pgmux.session.inquiry import name_pins


def _status(worker: WorkerFigures) -> str:
    if not worker.pid:
        return "vacant"
    if worker.clock.since(worker.heartbeat_us) > SILENT_AFTER_US:
        return "silent"
    if worker.is_draining:
        return "draining"
    return "running" if worker.is_accepting else "leaving"


WORKERS: Final = Show(
    "WORKERS",
    "Each worker process.",
    (
        Column("worker", INT, lambda worker: worker.number, "Its number."),
        item("pid", INT, "The process; 0 = the place is vacant."),
        Column(
            "state", TEXT, _status, "running, draining, leaving, silent (no heartbeat for 1.5s) or vacant."
        ),
        item("clients", INT, "Clients whose sockets it holds."),
        item("backends", INT, "Backends that it owns at this instant."),
        Column("cpu_ms", BIG, lambda worker: worker.cpu_us // 1000, "Processor time of this process so far."),
        Column(
            "rss_bytes",
            BIG,
            lambda worker: resident_bytes(worker.pid),
            "Its memory, what is shared included.",
        ),
        item("restarts", INT, "How often it died and was replaced."),
        item("drains", INT, "How often it left in order, drained, and was replaced."),
        Column("start_time", TEXT, lambda worker: worker.clock.time_of_day(worker.started_us), "Its birth."),
        Column(
            "heartbeat_age_us",
            BIG,
            lambda worker: worker.clock.since(worker.heartbeat_us) if worker.pid else None,
            "Since it last said that it lives.",
        ),
        item("configuration", INT, "Number of the configuration it works by."),
        item("listening", INT, "Clients of it that LISTEN."),
    ),
    lambda figures: figures.workers(),
)


def _duration(backend: BackendFigures) -> int:
    is_leased = backend.phase.name in ("LEASED", "GRANTED")
    return backend.clock.since(backend.leased_us if is_leased else backend.released_us)


LEASES: Final = Show(
    "LEASES",
    "Each slot that has a backend: who may touch its socket at this instant.",
    (
        item("slot", INT, "Its index in the lease table."),
        Column("phase", TEXT, lambda backend: backend.phase.name.lower(), "Of the slot."),
        Column("owner", INT, lambda backend: backend.worker, "The worker that has the lease; null = nobody."),
        item("generation", BIG, "Grows when the socket changes and when a lease is ended from outside."),
        item("database", TEXT, "Of its pool."),
        item("user", TEXT, "Of its pool: who logs in to PostgreSQL."),
        Column("backend_pid", INT, lambda backend: backend.process, "PostgreSQL's process."),
        Column("client", BIG, lambda backend: backend.client and backend.client.number, "Whom it serves."),
        Column("leases", BIG, lambda backend: backend.leases, "Leases of this backend so far."),
        Column("phase_us", BIG, _duration, "How long it has been leased, or free."),
        Column("age_us", BIG, lambda backend: backend.clock.since(backend.opened_us), "Since it was opened."),
    ),
    lambda figures: figures.backends(),
)


@dataclass(frozen=True, slots=True)
class _Waits:
    """A pool and its histogram of waits."""

    pool: PoolFigures
    counters: dict[str, Any]


def _waits(figures: Figures) -> Iterator[_Waits]:
    for pool in figures.survey().pools:
        yield _Waits(pool, figures.counters.total(pool.number))


def _percentile(share: float, name: str) -> Column:
    help_ = f"{share:.0%} of them took less." if share != 0.5 else "Half of them took less."
    return Column(name, BIG, lambda waits: percentile_us(waits.counters["wait"], share), help_)


WAITS: Final = Show(
    "WAITS",
    "Each pool's waiting clients, why they wait, and how long clients have waited for a backend so far.",
    (
        Column("database", TEXT, lambda waits: waits.pool.database, "Of the pool."),
        Column("user", TEXT, lambda waits: waits.pool.user, "Of the pool."),
        Column("waiting", INT, lambda waits: waits.pool.waiting, "Clients that wait now."),
        Column("longest_us", BIG, lambda waits: waits.pool.longest_wait_us, "For how long the first has."),
        Column(
            "reason", TEXT, lambda waits: waits.pool.reason if waits.pool.waiting else None, "Why, in a word."
        ),
        Column("detail", TEXT, lambda waits: waits.pool.detail if waits.pool.waiting else None, "Why."),
        Column("waits", BIG, lambda waits: waits.counters["waits"], "Times a client had to wait."),
        Column("wait_us", BIG, lambda waits: waits.counters["wait_us"], "What these took together."),
        _percentile(0.5, "p50_us"),
        _percentile(0.9, "p90_us"),
        _percentile(0.99, "p99_us"),
        Column("histogram", TEXT, lambda waits: describe(waits.counters["wait"]), "How many took how long."),
    ),
    _waits,
)


def _pins(figures: Figures) -> Iterator[BackendFigures]:
    return (backend for backend in figures.backends() if backend.pins and backend.client is not None)


def _of_client(name: str) -> Callable[[BackendFigures], Any]:
    return lambda backend: getattr(backend.client, name)


PINS: Final = Show(
    "PINS",
    "Each client that keeps its backend beyond its transactions, and why.",
    (
        Column("client", BIG, _of_client("number"), "Its id in SHOW CLIENTS, by which KILL_CLIENT names it."),
        item("database", TEXT, "Of its pool."),
        item("user", TEXT, "Of its pool: who logs in to PostgreSQL."),
        Column(
            "reason", TEXT, lambda backend: name_pins(backend.pins), "What it would lose without its backend."
        ),
        Column(
            "pinned_us", BIG, lambda backend: backend.clock.since(backend.leased_us), "It has had it so long."
        ),
        Column("application_name", TEXT, _of_client("application_name"), "As it calls itself."),
        Column("addr", TEXT, _of_client("address"), "Where it comes from."),
        Column("port", INT, _of_client("port"), "And from which port."),
        Column("backend_pid", INT, lambda backend: backend.process, "PostgreSQL's process."),
        item("slot", INT, "Of the lease table."),
        Column("worker", INT, lambda backend: backend.worker, "That serves it."),
    ),
    _pins,
)

SHOWS: Final = (WORKERS, LEASES, WAITS, PINS)
