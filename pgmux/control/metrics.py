"""The metrics: one table, from which the page for Prometheus, the manual and the tests of etc/ are made.

Names and units follow OpenMetrics: counters end in _total, durations are seconds. Whatever can only grow is a
counter, and never goes back while pgmux runs, not even when a worker dies.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

from pgmux import __version__
from pgmux.control.clock import Clock
from pgmux.control.figures import Figures, WorkerFigures
from pgmux.control.histogram import cumulative
from pgmux.control.pool_figures import PoolFigures
from pgmux.control.reasons import REASONS
from pgmux.session.inquiry import REASONS as PINS

FIRST_BUCKET: Final = 6  # of a histogram of the segment: what took less than 128us is told together
LAST_BUCKET: Final = 25  # and what took more than a minute

Labels = tuple[str, ...]


class Sample(NamedTuple):
    """One value of a metric, or one histogram."""

    labels: Labels
    value: float = 0.0  # of a histogram: the sum of all
    buckets: tuple[tuple[float, int], ...] = ()  # (bound in seconds, how many below it); the last holds all


class Reading:
    """The figures of one moment, each taken when the first metric asks for it."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.clock = Clock()

    @cached_property
    def survey(self) -> Any:
        """All pools, counted."""
        return self.figures.survey()

    @property
    def pools(self) -> list[PoolFigures]:
        """All pools."""
        pools: list[PoolFigures] = self.survey.pools
        return pools

    @cached_property
    def workers(self) -> list[WorkerFigures]:
        """All workers."""
        return self.figures.workers()

    @cached_property
    def counters(self) -> list[dict[str, Any]]:
        """Each pool's counters and histograms, over all workers."""
        return [self.figures.counters.total(pool.number) for pool in self.pools]


class Metric(NamedTuple):
    """One metric."""

    name: str  # of a counter, without _total
    kind: str  # counter, gauge, histogram or info
    help: str  # one sentence
    labels: Labels
    samples: Callable[[Reading], Iterable[Sample]]

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its samples are told."""
        endings = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}
        return tuple(self.name + ending for ending in endings.get(self.kind, ("",)))


_POOL: Final = ("database", "user")


def _of_pool(pool: PoolFigures) -> Labels:
    return pool.database, pool.user


def _count(name: str, counter: str, text: str, unit: float = 1.0) -> Metric:
    """A counter of the segment's, for each pool."""

    def samples(reading: Reading) -> Iterator[Sample]:
        for pool, counters in zip(reading.pools, reading.counters, strict=True):
            yield Sample(_of_pool(pool), counters[counter] * unit)

    return Metric(name, "counter", text, _POOL, samples)


def _histogram(name: str, histogram: str, text: str) -> Metric:
    """A histogram of the segment's, for each pool, in seconds."""

    def samples(reading: Reading) -> Iterator[Sample]:
        for pool, counters in zip(reading.pools, reading.counters, strict=True):
            bounds = list(cumulative(counters[histogram]))
            buckets = [(bound / 1_000_000, count) for bound, count in bounds[FIRST_BUCKET : LAST_BUCKET + 1]]
            buckets.append((float("inf"), bounds[-1][1]))
            yield Sample(_of_pool(pool), counters[f"{histogram}_us"] / 1_000_000, tuple(buckets))

    return Metric(name, "histogram", text, _POOL, samples)


def _gauge(name: str, text: str, of: Callable[[PoolFigures], float]) -> Metric:
    """A value that each pool has now."""
    return Metric(
        name,
        "gauge",
        text,
        _POOL,
        lambda reading: (Sample(_of_pool(pool), of(pool)) for pool in reading.pools),
    )


def _whole(name: str, kind: str, text: str, of: Callable[[Reading], float]) -> Metric:
    """A value that pgmux has as a whole."""
    return Metric(name, kind, text, (), lambda reading: (Sample((), of(reading)),))


def _of_worker(name: str, kind: str, text: str, of: Callable[[WorkerFigures], float]) -> Metric:
    """A value that each worker has now."""
    return Metric(
        name,
        kind,
        text,
        ("worker",),
        lambda reading: (Sample((str(worker.number),), of(worker)) for worker in reading.workers),
    )


def _clients(reading: Reading) -> Iterator[Sample]:
    for pool in reading.pools:
        yield Sample((*_of_pool(pool), "idle"), pool.idle)
        yield Sample((*_of_pool(pool), "served"), pool.served)
        yield Sample((*_of_pool(pool), "waiting"), pool.waiting)


def _waiting(reading: Reading) -> Iterator[Sample]:
    for pool in reading.pools:
        for reason in REASONS:
            yield Sample((*_of_pool(pool), reason), pool.waiting if reason == pool.reason else 0)


def _backends(reading: Reading) -> Iterator[Sample]:
    for pool in reading.pools:
        yield Sample((*_of_pool(pool), "opening"), pool.opening)
        yield Sample((*_of_pool(pool), "free"), pool.free)
        yield Sample((*_of_pool(pool), "leased"), pool.serving)
        yield Sample((*_of_pool(pool), "cleaning"), pool.cleaning + pool.being_cancelled)
        yield Sample((*_of_pool(pool), "closing"), pool.closing)


def _pinned(reading: Reading) -> Iterator[Sample]:
    held = Counter(
        (backend.database, backend.user, reason)
        for backend in reading.figures.backends()
        if backend.client is not None
        for pin, reason in PINS.items()
        if backend.pins & pin
    )
    for pool in reading.pools:
        for reason in PINS.values():
            yield Sample((*_of_pool(pool), reason), held[pool.database, pool.user, reason])


METRICS: Final = (
    Metric("pgmux", "info", "The version.", ("version",), lambda _: (Sample((__version__,), 1),)),
    _whole(
        "pgmux_start_time_seconds",
        "gauge",
        "When pgmux was started, in seconds since 1970.",
        lambda reading: reading.clock.seconds(reading.figures.segment.created_at_us),
    ),
    _whole(
        "pgmux_max_client_conn",
        "gauge",
        "Clients that may be connected.",
        lambda reading: reading.figures.segment.client_limit,
    ),
    _whole(
        "pgmux_max_backends",
        "gauge",
        "Connections to PostgreSQL that there may be.",
        lambda reading: reading.figures.segment.slot_count,
    ),
    _whole(
        "pgmux_connections",
        "gauge",
        "Connections of clients, those included that log in or use the console.",
        lambda reading: reading.survey.clients,
    ),
    _whole(
        "pgmux_paused",
        "gauge",
        "1 while all is paused by the operator.",
        lambda reading: reading.figures.pools_table.is_paused,
    ),
    # --- pools: what there is now
    Metric("pgmux_clients", "gauge", "Clients by what they do now.", (*_POOL, "state"), _clients),
    Metric(
        "pgmux_waiting_clients",
        "gauge",
        "Clients that wait for a backend, by the reason for which their pool has none for them.",
        (*_POOL, "reason"),
        _waiting,
    ),
    _gauge(
        "pgmux_longest_wait_seconds",
        "How long the first client of the queue has waited.",
        lambda pool: pool.longest_wait_us / 1_000_000,
    ),
    Metric(
        "pgmux_backends", "gauge", "Connections to PostgreSQL by their state.", (*_POOL, "state"), _backends
    ),
    _gauge("pgmux_pool_size", "Backends that the pool may have.", lambda pool: pool.pool_size),
    _gauge("pgmux_pool_paused", "1 while the pool is paused by the operator.", lambda pool: pool.is_paused),
    _gauge(
        "pgmux_postgresql_up",
        "0 while PostgreSQL cannot be reached or refuses the log-in.",
        lambda pool: not pool.trouble,
    ),
    # --- pools: what was done
    _count("pgmux_transactions", "transactions", "Transactions, or single statements, served."),
    _count("pgmux_queries", "queries", "Requests answered to their ReadyForQuery."),
    _count("pgmux_received_bytes", "bytes_received", "Bytes from clients, passed on."),
    _count("pgmux_sent_bytes", "bytes_sent", "Bytes to clients, from PostgreSQL."),
    _count("pgmux_logins", "logins", "Clients let in."),
    _count("pgmux_leases", "leases", "Times that a backend was given to a client."),
    _count("pgmux_handovers", "handovers", "Of these, times that it came from another worker."),
    _count("pgmux_waits", "waits", "Times that a client had to wait for a backend."),
    _count("pgmux_errors", "errors", "Errors told to clients in place of an answer, while they waited."),
    _count("pgmux_cancels", "cancels", "Cancel requests that hit something."),
    _count("pgmux_backends_opened", "backends_opened", "Connections to PostgreSQL opened."),
    _count("pgmux_backends_closed", "backends_closed", "Connections to PostgreSQL closed."),
    _count("pgmux_backend_login_failures", "login_failures", "Connections to PostgreSQL that failed."),
    # --- pools: what it took to carry sessions over backends
    Metric(
        "pgmux_pinned_clients",
        "gauge",
        "Clients that keep their backend beyond the transaction now, by reason; who has several is told under each.",
        (*_POOL, "reason"),
        _pinned,
    ),
    _count("pgmux_pins", "pins", "Times that a client began to keep its backend."),
    _count("pgmux_catch_ups", "catch_ups", "Leases that began with settings to be brought to the backend."),
    _count("pgmux_inquiries", "inquiries", "Transactions after which the backend was asked what is left."),
    _count("pgmux_parses", "parses", "Parse messages of clients."),
    _count("pgmux_server_parses", "server_parses", "Parse messages to PostgreSQL, pgmux's own included."),
    _count("pgmux_binds", "binds", "Bind messages of clients."),
    _count("pgmux_injections", "injections", "Statements that were prepared on a backend that lacked them."),
    _count("pgmux_cleanings", "cleanings", "Backends whose client left in the middle of something."),
    _count("pgmux_audits", "audits", "Releases after which a backend was looked at."),
    _count("pgmux_findings", "findings", "Of these, where something was left that nothing had announced."),
    _count("pgmux_notifications", "notifications", "Notifications handed to clients that LISTEN."),
    _count(
        "pgmux_notifications_dropped",
        "notifications_dropped",
        "Notifications of clients that did not take them, and had to go.",
    ),
    _count("pgmux_listening_backends_lost", "ears_lost", "Listening backends that were lost and replaced."),
    _histogram("pgmux_wait_seconds", "wait", "How long clients waited for a backend, when they had to."),
    _histogram("pgmux_query_seconds", "query", "How long PostgreSQL took for a request."),
    _histogram("pgmux_transaction_seconds", "transaction", "How long clients kept a backend."),
    # --- workers
    _of_worker(
        "pgmux_worker_up", "gauge", "1 while the worker's process runs.", lambda worker: worker.pid > 0
    ),
    _of_worker("pgmux_worker_clients", "gauge", "Clients of the worker.", lambda worker: worker.clients),
    _of_worker(
        "pgmux_worker_cpu_seconds",
        "counter",
        "Processor time of the worker's present process.",
        lambda worker: worker.cpu_us / 1_000_000,
    ),
    _of_worker(
        "pgmux_worker_restarts",
        "counter",
        "Times it died and was replaced.",
        lambda worker: worker.restarts,
    ),
    _of_worker(
        "pgmux_worker_drains",
        "counter",
        "Times it left in order, drained, and was replaced.",
        lambda worker: worker.drains,
    ),
    _of_worker(
        "pgmux_worker_heartbeat_age_seconds",
        "gauge",
        "Since the worker last said that it lives.",
        lambda worker: worker.clock.since(worker.heartbeat_us) / 1_000_000 if worker.pid else 0,
    ),
)
