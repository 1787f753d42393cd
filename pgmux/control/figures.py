"""What the shared segment tells, in our own words: pools, clients, backends, workers, as they are now.

Any process that has mapped the segment can read all of it, read-only too, and takes no lock. Nothing is
kept from one question to the next. Moments are CLOCK_MONOTONIC microseconds, as in the segment; `Clock`
turns them into durations and times of day.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgmux.config import Config
from pgmux.control.clock import Clock
from pgmux.control.connection_figures import BackendFigures, ClientFigures
from pgmux.control.pool_figures import SurveyFigures
from pgmux.control.spelling import shown
from pgmux.control.suites import name_suite
from pgmux.shm.board import Board
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase, Private
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


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker's place, and the process in it."""

    number: int
    pid: int  # 0 = vacant
    clients: int
    restarts: int  # deaths, each of which had a successor
    drains: int
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
        """Clients that have logged in, those included that are still to come from another segment, one by one: there
        may be very many."""
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
            is_away = row["phase"] == Phase.OPENING and row["owner"] == self.segment.worker_count
            if row["phase"] == Phase.LEASED or is_away:  # or used where its client has still to come from
                client = self._client(row["client"], names, clock)
            is_known = row["phase"] != Phase.OPENING  # what stands there is its predecessor's
            yield BackendFigures(
                slot=slot,
                phase=row["phase"],
                worker=None if is_away else row["owner"],
                generation=row["generation"],
                database=database,
                user=user,
                address=shown(row["address"]) if is_known else "",
                port=row["port"] if is_known else 0,
                local_address=shown(row["local_address"]) if is_known else "",
                local_port=row["local_port"] if is_known else 0,
                tls=name_suite(row["tls"]) if is_known else "",
                process=row["backend_pid"] if is_known else 0,
                private=row["private"],
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
                restarts=row["deaths"],
                drains=row["drains"],
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
            process=row["process"],
            private=self._private(row["slot"]),
            statements=row["statements"],
            application_name=shown(row["application_name"]),
            connected_us=row["connected_at_us"],
            since_us=row["since_us"],
            slot=row["slot"],
            transactions=row["transactions"],
            clock=clock,
        )

    def _private(self, slot: int | None) -> Private:
        return Private.NOT_PRIVATE if slot is None else self.pools_table.describe_slot(slot)["private"]
