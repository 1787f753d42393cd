"""What pools have done: counters over all workers, and how they grew in the last one to two stats_periods."""

from collections.abc import Iterable
from dataclasses import dataclass

from pgmux.control.clock import Clock
from pgmux.control.figures import Figures
from pgmux.control.spelling import shown
from pgmux.shm.counters import NAMES, CounterTable
from pgmux.shm.periods import Periods
from pgmux.shm.pools import Pools
from pgmux.shm.survey import Survey

Counts = dict[str, int]  # by the names of shm/counters


@dataclass(frozen=True, slots=True)
class Traffic:
    """The counters of one pool, of one database, or of all."""

    database: str
    totals: Counts
    before: Counts  # what they were when the period began that averages are over
    period_us: int

    def per_second(self, name: str) -> int:
        """By how much a counter grew each second."""
        return self._growth(name) * 1_000_000 // self.period_us if self.period_us else 0

    def mean(self, name: str, events: str) -> int:
        """By how much a counter grew for each of the events that another one counts."""
        count = self._growth(events)
        return self._growth(name) // count if count else 0

    def _growth(self, name: str) -> int:
        return max(self.totals[name] - self.before[name], 0)


def traffic_of_databases(figures: Figures) -> list[Traffic]:
    """The traffic of each database, in the order in which they were first asked for."""
    by_database: dict[str, list[Traffic]] = {}
    for traffic in traffic_of_pools(figures.pools_table, figures.periods):
        by_database.setdefault(traffic.database, []).append(traffic)
    return [_together(database, parts) for database, parts in by_database.items()]


def traffic_of_all(figures: Figures) -> Traffic:
    """The traffic of all pools together."""
    return _together("", traffic_of_pools(figures.pools_table, figures.periods))


def traffic_of_pools(pools: Pools, periods: Periods, back: int = 1) -> list[Traffic]:
    """The traffic of each pool; averages begin with the last snapshot but `back`."""
    period_us, counters = Clock().since(periods.since(back)), CounterTable(pools.segment)
    rows = Survey(pools.segment).take()[0]
    return [
        Traffic(
            shown(row["database"]), counters.sums(row["pool"]), periods.read(row["pool"], back), period_us
        )
        for row in rows
    ]


def describe_traffic(pools: Pools, periods: Periods) -> str:
    """What was done since the last snapshot, in a line for the log; "" when nothing was."""
    traffic = _together("", traffic_of_pools(pools, periods, back=0))
    if traffic.totals == traffic.before:
        return ""
    return (
        f"{traffic.per_second('transactions')} transactions/s, {traffic.per_second('queries')} queries/s, "
        f"{traffic.per_second('logins')} log-ins/s, "
        f"in {traffic.per_second('bytes_received')} B/s, out {traffic.per_second('bytes_sent')} B/s, "
        f"transaction {traffic.mean('transaction_us', 'transactions')}us, "
        f"query {traffic.mean('query_us', 'queries')}us, wait {traffic.mean('wait_us', 'leases')}us"
    )


def _together(database: str, parts: list[Traffic]) -> Traffic:
    return Traffic(
        database,
        _sum(part.totals for part in parts),
        _sum(part.before for part in parts),
        parts[0].period_us if parts else 0,
    )


def _sum(rows: Iterable[Counts]) -> Counts:
    total: Counts = dict.fromkeys(NAMES, 0)
    for row in rows:
        for name, value in row.items():
            total[name] += value
    return total
