"""What the shared segment tells, in our own words: pools, clients, backends, workers, as they are now.

Any process that has mapped the segment can read all of it, read-only too, and takes no lock. Nothing is
kept from one question to the next. Moments are CLOCK_MONOTONIC microseconds, as in the segment; `Clock`
turns them into durations and times of day.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pgmux.config import Config, PoolSettings
from pgmux.control.reasons import why
from pgmux.control.suites import name_suite
from pgmux.shm.board import Board
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase
from pgmux.shm.periods import Periods
from pgmux.shm.pools import Pools
from pgmux.shm.survey import Standing, Survey
from pgmux.shm.workers import WorkerState

if TYPE_CHECKING:
    from pgmux.shm.survey import _PoolSurvey

SILENT_AFTER_US = 1_500_000  # several heartbeats of a worker have failed to come

_LOGGED_IN = (Standing.IDLE, Standing.WAITING, Standing.SERVED)

# A console client belongs to no pool; its record says which name it asked for.
CONSOLE_POOLS = {(1 << 32) - 1: "pgmux", (1 << 32) - 2: "pgbouncer"}


class Clock:
    """One moment: now."""

    def __init__(self) -> None:
        self.now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._epoch_us = time.time_ns() // 1000 - self.now_us

    def since(self, moment_us: int) -> int:
        """Microseconds from then to now; 0 for never, and for what has happened meanwhile."""
        return max(self.now_us - moment_us, 0) if moment_us else 0

    def time_of_day(self, moment_us: int) -> str | None:
        """Date and time in the time zone of this process, to the second; None for never."""
        if not moment_us:
            return None
        seconds = (moment_us + self._epoch_us) / 1_000_000
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))

    def seconds(self, moment_us: int) -> float:
        """Seconds since 1970 (UTC)."""
        return (moment_us + self._epoch_us) / 1_000_000


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """One pool."""

    number: int
    database: str
    user: str
    pool_size: int
    is_paused: bool
    settings: PoolSettings | None  # None: a reload has taken its database away
    # clients
    idle: int
    served: int
    waiting: int
    longest_wait_us: int
    reason: str  # why its clients wait, or would: one of `reasons.REASONS`
    detail: str  # the same in a sentence
    # backends
    opening: int
    free: int
    serving: int
    cleaning: int
    being_cancelled: int
    closing: int
    outdated: int
    cancels: int
    trouble: str  # why PostgreSQL's last log-in failed; "" when it did not

    @property
    def clients(self) -> int:
        """All its clients."""
        return self.idle + self.served + self.waiting

    @property
    def backends(self) -> int:
        """All its connections to PostgreSQL, those included that are being opened or closed."""
        others = self.cleaning + self.being_cancelled
        return self.opening + self.free + self.serving + others + self.closing


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """One client that has logged in."""

    number: int
    worker: int
    standing: Standing
    database: str
    user: str
    address: str
    port: int
    local_address: str
    local_port: int
    tls: str
    application_name: str
    connected_us: int
    since_us: int  # when its standing began
    slot: int | None
    transactions: int
    clock: Clock

    @property
    def wait_us(self) -> int:
        """How long it has waited for a backend; 0 when it does not."""
        return self.clock.since(self.since_us) if self.standing is Standing.WAITING else 0


@dataclass(frozen=True, slots=True)
class BackendFigures:
    """One connection to PostgreSQL."""

    slot: int
    phase: Phase
    worker: int | None  # that owns the slot
    generation: int
    database: str
    user: str
    address: str
    port: int
    local_address: str
    local_port: int
    tls: str
    backend_pid: int
    client: ClientFigures | None
    opened_us: int
    leased_us: int
    released_us: int
    leases: int
    cancels: int
    pins: int  # bits of session.inquiry.Pin: why its client keeps it
    statements: int  # prepared on it
    is_outdated: bool
    clock: Clock


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker's place, and the process in it."""

    number: int
    pid: int  # 0 = vacant
    clients: int
    restarts: int
    started_us: int
    heartbeat_us: int
    cpu_us: int
    configuration: int
    is_accepting: bool
    is_draining: bool
    listening: int  # clients that LISTEN
    backends: int  # that it owns now
    clock: Clock


class Figures:
    """All figures of one pgmux, as one process sees them."""

    def __init__(
        self, pools: Pools, config: Callable[[], Config], users: Callable[[], Collection[str]] = tuple
    ) -> None:
        """`config` gives the configuration in force; `users` the names that may log in, as far as known."""
        self.pools_table = pools
        self.segment = pools.segment
        self.board: Board = pools.board
        self.client_table = Clients(self.segment)
        self.counters = CounterTable(self.segment)
        self.periods = Periods(self.segment)
        self._survey = Survey(self.segment)
        self._config = config
        self._users = users

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config()

    @property
    def users(self) -> Collection[str]:
        """The names that may log in, as far as they are known."""
        return self._users()

    def survey(self) -> "SurveyFigures":
        """All pools, counted now."""
        return SurveyFigures(self, *self._survey.take())

    def survey_rows(self) -> "list[_PoolSurvey]":
        """The same as the segment has it, quicker: see shm/survey."""
        return self._survey.take()[0]

    def clients_before(self, database: int, moment_us: int) -> int:
        """How many clients of a database there are who were admitted by that moment."""
        return self._survey.count_clients_before(database, moment_us)

    def is_served(self, number: int) -> bool:
        """Whether the client with that number is logged in, and not leaving."""
        found = self.client_table.find_number(number)
        row = self.client_table.read(found[0]) if found is not None else None
        return row is not None and row["number"] == number and row["phase"] in _LOGGED_IN

    def clients(self) -> Iterator[ClientFigures]:
        """Clients that have logged in, one by one: there may be very many."""
        clock, names = Clock(), self._pool_names()
        record = self.client_table.next_used(0)
        while record is not None:
            client = self._client(record, names, clock)
            if client is not None:
                yield client
            record = self.client_table.next_used(record + 1)

    def backends(self) -> Iterator[BackendFigures]:
        """Connections to PostgreSQL, those included that are being opened or closed."""
        clock, names = Clock(), self._pool_names()
        for slot in range(self.pools_table.leases.count):
            row = self.pools_table.describe_slot(slot)
            if row["pool"] is None or row["phase"] == Phase.EMPTY:
                continue
            database, user = names.get(row["pool"], ("", ""))
            client = None
            if row["phase"] == Phase.LEASED:
                client = self._client(row["client"], names, clock)
            is_known = row["phase"] != Phase.OPENING  # what stands there is its predecessor's
            yield BackendFigures(
                slot=slot,
                phase=row["phase"],
                worker=row["owner"],
                generation=row["generation"],
                database=database,
                user=user,
                address=shown(row["address"]) if is_known else "",
                port=row["port"] if is_known else 0,
                local_address=shown(row["local_address"]) if is_known else "",
                local_port=row["local_port"] if is_known else 0,
                tls=name_suite(row["tls"]) if is_known else "",
                backend_pid=row["backend_pid"] if is_known else 0,
                client=client if client is not None and client.slot == slot else None,
                opened_us=row["opened_at_us"] if is_known else 0,
                leased_us=row["leased_at_us"] if is_known else 0,
                released_us=row["released_at_us"] if is_known else 0,
                leases=row["lease_count"] if is_known else 0,
                cancels=row["cancels"],
                pins=row["pins"] if row["phase"] == Phase.LEASED else 0,
                statements=self.pools_table.baggage.prepared_count(slot) if is_known else 0,
                is_outdated=is_known and 0 < row["expires_s"] < clock.now_us // 1_000_000,
                clock=clock,
            )

    def workers(self) -> list[WorkerFigures]:
        """The workers' places."""
        clock, owned = Clock(), [0] * 256
        for _, owner, _, _ in self.pools_table.leases.snapshot():
            owned[owner] += 1
        rows = [self.pools_table.workers.read(worker) for worker in range(self.segment.worker_count)]
        return [
            WorkerFigures(
                number=row["worker"],
                pid=row["pid"],
                clients=row["clients"],
                restarts=row["restarts"],
                started_us=row["started_at_us"],
                heartbeat_us=row["heartbeat_us"],
                cpu_us=row["cpu_us"],
                configuration=row["configuration"],
                is_accepting=row["is_accepting"],
                is_draining=row["state"] == WorkerState.DRAINING,
                listening=row["listening"],
                backends=owned[row["worker"]],
                clock=clock,
            )
            for row in rows
        ]

    def _pool_names(self) -> dict[int, tuple[str, str]]:
        rows = self.survey_rows()
        return {row["pool"]: (shown(row["database"]), shown(row["user"])) for row in rows}

    def _client(self, record: int, names: dict[int, tuple[str, str]], clock: Clock) -> ClientFigures | None:
        """The client with a record, or None when it has none, or has not logged in."""
        row = self.client_table.read(record)
        if row is None or row["phase"] not in _LOGGED_IN:
            return None
        console = CONSOLE_POOLS.get(row["pool"])
        database = console or names.get(row["pool"], ("", ""))[0]
        listens = self.config.pgmux.listen
        is_tcp = row["listener"] < len(listens)
        listen = listens[row["listener"]] if is_tcp else None
        port = listen.port if listen else listens[0].port if listens else 0
        return ClientFigures(
            number=row["number"],
            worker=row["worker"],
            standing=Standing.SERVED if console else Standing(row["phase"]),
            database=database,
            user=shown(row["user"]),
            address=shown(row["address"]),
            port=row["port"] if is_tcp else port,
            local_address=(listen.host or "0.0.0.0") if listen else "unix",
            local_port=port,
            tls=name_suite(row["tls"]),
            application_name=shown(row["application_name"]),
            connected_us=row["connected_at_us"],
            since_us=row["since_us"],
            slot=row["slot"],
            transactions=row["transactions"],
            clock=clock,
        )


class SurveyFigures:
    """All pools as they were counted at one moment."""

    def __init__(
        self, figures: Figures, rows: "list[_PoolSurvey]", logging_in: int, records: int, consoles: int
    ) -> None:
        self.logging_in = logging_in  # clients
        self.consoles = consoles  # clients of the console
        self.clients = records  # whose sockets are open, those included that log in
        self._figures = figures
        self._rows = rows

    @cached_property
    def pools(self) -> list[PoolFigures]:
        """One a pool."""
        by_database: dict[bytes, int] = {}
        for row in self._rows:
            by_database[row["database"]] = by_database.get(row["database"], 0) + backends_of(row)
        in_all = sum(by_database.values())
        return [self._pool(row, by_database[row["database"]], in_all) for row in self._rows]

    def _pool(self, row: "_PoolSurvey", in_database: int, in_all: int) -> PoolFigures:
        is_paused = self._figures.pools_table.is_pool_paused(row["pool"])
        reason, detail = why(
            is_paused=is_paused,
            trouble=shown(row["trouble"]),
            usable=row["free"] + row["serving"] + row["cleaning"] + row["being_cancelled"],
            opening=row["opening"],
            backends=backends_of(row),
            pool_size=row["pool_size"],
            in_database=in_database,
            database_limit=row["database_limit"],
            in_all=in_all,
            max_backends=self._figures.segment.slot_count,
        )
        try:
            settings = self._figures.config.settings_of_pool(known(row["database"]), known(row["user"]))
        except KeyError:
            settings = None
        return PoolFigures(
            number=row["pool"],
            database=shown(row["database"]),
            user=shown(row["user"]),
            pool_size=row["pool_size"],
            is_paused=is_paused,
            settings=settings,
            idle=row["idle"],
            served=row["served"],
            waiting=row["waiting"],
            longest_wait_us=row["longest_wait_us"],
            reason=reason,
            detail=detail,
            opening=row["opening"],
            free=row["free"],
            serving=row["serving"],
            cleaning=row["cleaning"],
            being_cancelled=row["being_cancelled"],
            closing=row["closing"],
            outdated=row["outdated"],
            cancels=row["cancels"],
            trouble=shown(row["trouble"]),
        )


def shown(name: bytes) -> str:
    """A name or text for people; bytes that are not UTF-8 become question marks."""
    return name.decode("utf-8", "replace")


def known(name: bytes) -> str:
    """A name as the configuration and log-ins know it: any bytes, unharmed."""
    return name.decode("utf-8", "surrogateescape")


def backends_of(row: "_PoolSurvey") -> int:
    """All of a pool's slots that are not EMPTY."""
    others = row["cleaning"] + row["being_cancelled"]
    return row["opening"] + row["free"] + row["serving"] + others + row["closing"]
