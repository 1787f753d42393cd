"""What the demo measures: the same load on PostgreSQL directly and through pgmux, in turn.

The two ways alternate, so that whatever else the machine does meanwhile falls on both. A first pair of runs
warms both up and is when memory is read, because reading it costs time; its speed is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pgmux.demo.embedded import EmbeddedPostgres
from pgmux.demo.memory import family, memory_bytes
from pgmux.demo.pgbench import Address, Pgbench


@dataclass
class Way:
    """One way to PostgreSQL, and the figures it has given so far."""

    name: str
    address: Address  # its user is no other way's: his are the backends that are counted
    pooler_pid: int | None = None
    backends: int = 0  # the most ever seen at once
    backend_bytes: int = 0
    pooler_bytes: int = 0
    tps: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)  # per second


@dataclass(frozen=True)
class Plan:
    """How much is measured, and for how long."""

    clients: int = 300
    connecting_clients: int = 20  # at once, each for one transaction
    rounds: int = 2
    warm_up_s: int = 2
    load_s: int = 3
    connect_s: int = 2

    @property
    def steps(self) -> int:
        """How many runs of pgbench there are for two ways."""
        return 2 * (1 + 2 * self.rounds)


class Comparison:
    """Runs a plan over some ways to one PostgreSQL; tell is called before each run with what it is."""

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        pgbench: Pgbench,
        ways: list[Way],
        plan: Plan,
        tell: Callable[[str], None],
    ) -> None:
        self._postgres = postgres
        self._pgbench = pgbench
        self._ways = ways
        self._plan = plan
        self._tell = tell

    def measure(self) -> None:
        """Fills in the figures of all ways. Raises PgmuxError if a run fails."""
        for way in self._ways:
            self._tell(f"memory and backends, {way.name}")
            with self._pgbench.select_only(way.address, self._plan.clients, self._plan.warm_up_s) as run:
                run.output(partial(self._look_at_memory, way))
        for _ in range(self._plan.rounds):
            for way in self._ways:
                self._measure_transactions(way)
        for _ in range(self._plan.rounds):
            for way in self._ways:
                self._measure_connects(way)

    def _measure_transactions(self, way: Way) -> None:
        self._tell(f"transactions of {self._plan.clients} clients, {way.name}")
        with self._pgbench.select_only(way.address, self._plan.clients, self._plan.load_s) as run:
            report = run.report(partial(self._count_backends, way))
        way.tps.append(report.tps)
        way.p99_ms.append(report.p99_ms)

    def _measure_connects(self, way: Way) -> None:
        self._tell(f"new connections, {way.name}")
        with self._pgbench.connect_each_time(
            way.address, self._plan.connecting_clients, self._plan.connect_s
        ) as run:
            report = run.report(partial(self._count_backends, way))
        way.connects.append(report.tps)

    def _count_backends(self, way: Way) -> None:
        way.backends = max(way.backends, self._postgres.backends(user=way.address.user))

    def _look_at_memory(self, way: Way) -> None:
        pids = self._postgres.backend_pids(user=way.address.user)
        way.backends = max(way.backends, len(pids))
        way.backend_bytes = max(way.backend_bytes, memory_bytes(pids))
        if way.pooler_pid is not None:
            pooler = [process.pid for process in family(way.pooler_pid)]
            way.pooler_bytes = max(way.pooler_bytes, memory_bytes(pooler))


def rows(direct: Way, pooled: Way) -> list[tuple[str, str, str, str]]:
    """The figures of both ways as text: what, direct, pooled, and the ratio of the two."""
    megabytes = "{:,.0f} MB".format
    median = statistics.median
    return [
        _row("backends in PostgreSQL", "{:,.0f}".format, direct.backends, pooled.backends),
        _row("memory of the backends", megabytes, direct.backend_bytes / 1e6, pooled.backend_bytes / 1e6),
        ("memory of pgmux", "-", megabytes(pooled.pooler_bytes / 1e6), ""),
        _row("transactions per second", "{:,.0f}".format, median(direct.tps), median(pooled.tps)),
        _row("p99 of a transaction", "{:,.1f} ms".format, median(direct.p99_ms), median(pooled.p99_ms)),
        _row(
            "new connections per second", "{:,.0f}".format, median(direct.connects), median(pooled.connects)
        ),
    ]


def _row(
    what: str, written: Callable[[float], str], direct: float, pooled: float
) -> tuple[str, str, str, str]:
    ratio = f"{pooled / direct:.2f}" if direct else ""
    return what, written(direct), written(pooled), ratio
