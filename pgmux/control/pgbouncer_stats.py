"""PgBouncer's statistics: what it counts, by its names, from our counters.

See pgbouncer.py, of which this is a part.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pgmux.control.figures import Figures
from pgmux.control.inventory import Named
from pgmux.control.table import NUMERIC, TEXT, Column, Show, item
from pgmux.control.traffic import Traffic, traffic_of_all, traffic_of_databases
from pgmux.protocol.results import Value


class Measure(NamedTuple):
    """Something that PgBouncer counts: its name, where that differs its other names, and our counter."""

    name: str  # in STATS_TOTALS and STATS_AVERAGES
    counter: str  # of shm/counters
    events: str = ""  # the counter of what its average is for each of; "" = for each second
    total: str = ""  # in STATS, after "total_"
    average: str = ""  # in STATS, after "avg_"
    listed: str = ""  # in TOTALS, after "total_" and "avg_"
    is_late: bool = False  # its name in STATS_AVERAGES begins with "avg_"

    def total_of(self, traffic: Traffic) -> int:
        """How much, since pgmux started."""
        return traffic.totals[self.counter]

    def average_of(self, traffic: Traffic) -> int:
        """How much lately, for each second or event."""
        if self.events:
            return traffic.mean(self.counter, self.events)
        return traffic.per_second(self.counter)


MEASURES: Final = (
    Measure("server_assignment_count", "leases"),
    Measure("xact_count", "transactions"),
    Measure("query_count", "queries"),
    Measure("bytes_received", "bytes_received", total="received", average="recv", listed="client_bytes"),
    Measure("bytes_sent", "bytes_sent", total="sent", average="sent", listed="server_bytes"),
    Measure("xact_time", "transaction_us", "transactions"),
    Measure("query_time", "query_us", "queries"),
    Measure("wait_time", "wait_us"),
    Measure("client_parse_count", "parses", listed="ps_client_parse_count", is_late=True),
    Measure("server_parse_count", "server_parses", listed="ps_server_parse_count", is_late=True),
    Measure("bind_count", "binds", listed="ps_bind_count", is_late=True),
    Measure("client_login_count", "logins", is_late=True),
)


def _total(name: str, measure: Measure) -> Column:
    return Column(name, NUMERIC, measure.total_of)


def _average(name: str, measure: Measure) -> Column:
    return Column(name, NUMERIC, measure.average_of)


DATABASE: Final = item("database", TEXT)


def console(figures: Figures) -> Mapping[str, Value]:
    """The console is a database too, and some exporters take a table without rows for a failure."""
    clients = figures.survey().consoles
    return {
        "database": CONSOLE,
        "name": CONSOLE,
        "user": CONSOLE,
        "force_user": CONSOLE,
        "pool_mode": "statement",
        "cl_active": clients,
        "current_client_connections": clients,
    }


CONSOLE: Final = "pgbouncer"  # the name that dashboards know, and leave out

STATS: Final = Show(
    "STATS",
    "What each database has done: totals, and averages over the last one to two stats_periods.",
    (
        DATABASE,
        *(_total(f"total_{measure.total or measure.name}", measure) for measure in MEASURES),
        *(_average(f"avg_{measure.average or measure.name}", measure) for measure in MEASURES),
        Column(
            "total_requests",
            NUMERIC,
            lambda traffic: traffic.totals["queries"],
            "As total_query_count, by the name that it had before PgBouncer 1.8.",
        ),
    ),
    traffic_of_databases,
    console,
)
STATS_TOTALS: Final = Show(
    "STATS_TOTALS",
    "What each database has done since pgmux started.",
    (DATABASE, *(_total(measure.name, measure) for measure in MEASURES)),
    traffic_of_databases,
    console,
)
STATS_AVERAGES: Final = Show(
    "STATS_AVERAGES",
    "What each database does: averages over the last one to two stats_periods.",
    (
        DATABASE,
        *(
            _average(f"avg_{measure.name}" if measure.is_late else measure.name, measure)
            for measure in MEASURES
        ),
    ),
    traffic_of_databases,
    console,
)


def _totals(figures: Figures) -> Iterator[Named]:
    traffic = traffic_of_all(figures)
    for measure in MEASURES:
        yield Named(f"total_{measure.listed or measure.name}", measure.total_of(traffic))
    for measure in MEASURES:
        yield Named(f"avg_{measure.listed or measure.name}", measure.average_of(traffic))


TOTALS: Final = Show(
    "TOTALS",
    "What all databases together have done, and their averages.",
    (item("name", TEXT), item("value", NUMERIC)),
    _totals,
)

SHOWS: Final = (STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS)
