"""The figures that pgmux has set itself, and whether a measurement reached them.

A row of FIGURES is one of them: its limit, its unit, and where its value comes from. None means that what it
needs was not measured. Processor times are before nullpg; what is streamed, behind which a real PostgreSQL works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from loadtest.arms import REFERENCE
from loadtest.measure import CountRun, MemoryRun
from loadtest.summary import Summary, median_count, median_of

_ALLOWED_PER_WORKER_MB = 15


@dataclass(frozen=True)
class Measured:
    """All that figures are taken from."""

    summaries: Sequence[Summary]
    memories: Sequence[MemoryRun]
    counts: Sequence[CountRun] = ()
    is_null: bool = True  # nullpg was the backend

    def summary(self, scenario: str, arm: str) -> Summary | None:
        """The summary of an arm in a scenario, if it was measured."""
        return next((each for each in self.summaries if (each.scenario, each.arm) == (scenario, arm)), None)

    def ratio(self, scenario: str, arm: str) -> float | None:
        """The processor time per transaction against the reference's, before nullpg."""
        summary = self.summary(scenario, arm)
        return summary.ratio if summary and self.is_null else None

    def cpu_us(self, scenario: str, arm: str) -> float | None:
        """The processor time per transaction, before nullpg."""
        summary = self.summary(scenario, arm)
        return summary.total_us if summary and self.is_null else None


@dataclass(frozen=True)
class Figure:
    """A limit, and how the value to compare with it is found."""

    name: str
    limit: float
    unit: str
    value: Callable[[Measured], float | None]
    is_floor: bool = False  # the limit is the least


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its measured value."""

    name: str
    limit: float
    unit: str
    value: float | None
    reached: bool | None  # None: not measured
    is_floor: bool = False


def _over(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _bytes_per_idle_client(measured: Measured) -> float | None:
    """Of pgmux with 1 and with 2 workers the worse."""
    values = [median_of(measured.memories, arm, lambda run: run.per_client) for arm in ("pgmux-1", "pgmux-2")]
    return max((value for value in values if value is not None), default=None)


def _private_megabytes_of_a_worker(measured: Measured) -> float | None:
    """Two workers' private memory less one worker's, with no clients."""
    one, two = (median_of(measured.memories, arm, lambda run: run.private) for arm in ("pgmux-1", "pgmux-2"))
    return None if one is None or two is None else (two - one) / 1e6


def _megabytes_above_reference(measured: Measured) -> float | None:
    """With all idle clients: what pgmux has more than PgBouncer, less what each worker may; 1 and 2 workers."""
    reference = median_of(measured.memories, REFERENCE, lambda run: run.held)
    above = [
        (held - reference) / 1e6 - workers * _ALLOWED_PER_WORKER_MB
        for workers in (1, 2)
        if (held := median_of(measured.memories, f"pgmux-{workers}", lambda run: run.held)) and reference
    ]
    return max(above, default=None)


def _peak_backends(measured: Measured) -> float | None:
    summary = measured.summary("backends", "pgmux-4")
    return summary.peak_backends if summary else None


def _workers_without_work(measured: Measured) -> float | None:
    summary = measured.summary("backends", "pgmux-4")
    return 4 - summary.workers_that_served if summary else None


def _p99_at_500(measured: Measured) -> float | None:
    summary = measured.summary("simple@500", "pgmux-1")
    return summary.p99_ratio if summary and measured.is_null else None


def _throughput(scenario: str) -> Callable[[Measured], float | None]:
    """Against a direct connection, where a real PostgreSQL makes the rows."""

    def value(measured: Measured) -> float | None:
        summary = measured.summary(scenario, "pgmux-1")
        return summary.tps_ratio if summary and not measured.is_null else None

    return value


def _growth_of_stream(measured: Measured) -> float | None:
    summaries = [measured.summary(scenario, "pgmux-1") for scenario in ("stream", "copy-out")]
    growths = [each.peak_growth for each in summaries if each and each.peak_growth is not None]
    return max(growths) / 1e6 if growths else None


def _ratio(scenario: str, arm: str) -> Callable[[Measured], float | None]:
    return lambda of: of.ratio(scenario, arm)


FIGURES = (
    Figure("CPU, simple, 1 worker / PgBouncer", 0.70, "", _ratio("simple", "pgmux-1")),
    Figure("CPU, extended, 1 worker / PgBouncer", 0.75, "", _ratio("extended", "pgmux-1")),
    Figure("CPU, prepared, 1 worker / PgBouncer", 0.75, "", _ratio("prepared", "pgmux-1")),
    Figure(
        "CPU, prepared / simple through PgBouncer",
        0.90,
        "",
        lambda of: _over(of.cpu_us("prepared", "pgmux-1"), of.cpu_us("simple", REFERENCE)),
    ),
    Figure(
        "CPU, prepared / simple through pgmux",
        1.10,
        "",
        lambda of: _over(of.cpu_us("prepared", "pgmux-1"), of.cpu_us("simple", "pgmux-1")),
    ),
    Figure("CPU, tpcb, 1 worker / PgBouncer", 0.75, "", _ratio("tpcb", "pgmux-1")),
    Figure("CPU, simple, 2 workers / PgBouncer", 0.85, "", _ratio("simple", "pgmux-2")),
    Figure("CPU, extended, 2 workers / PgBouncer", 0.85, "", _ratio("extended", "pgmux-2")),
    Figure("CPU, tpcb, 2 workers / PgBouncer", 0.85, "", _ratio("tpcb", "pgmux-2")),
    Figure(
        "CPU, simple, 1 worker / the floor",
        1.15,
        "",
        lambda of: _over(of.cpu_us("simple", "pgmux-1"), of.cpu_us("simple", "floor")),
    ),
    Figure("p99 of 500 clients on 20 backends / PgBouncer", 1.0, "", _p99_at_500),
    Figure(
        "CPU, 10,000 clients / 10 clients",
        1.3,
        "",
        lambda of: _over(of.cpu_us("simple@10000", "pgmux-1"), of.cpu_us("simple@10", "pgmux-1")),
    ),
    Figure("CPU per connection, trust / PgBouncer", 0.9, "", _ratio("connect", "pgmux-1")),
    Figure("CPU per connection, SCRAM / PgBouncer", 0.9, "", _ratio("scram-connect", "pgmux-1")),
    Figure("CPU per connection, TLS / PgBouncer", 0.9, "", _ratio("tls-connect", "pgmux-1")),
    Figure("CPU over TLS, 1 worker / PgBouncer", 0.90, "", _ratio("tls", "pgmux-1")),
    Figure("memory per idle client", 3000, "bytes", _bytes_per_idle_client),
    Figure("idle clients, above PgBouncer + 15 MB a worker", 0, "MB", _megabytes_above_reference),
    Figure("private memory of one more worker", 15, "MB", _private_megabytes_of_a_worker),
    Figure("backends of 4 workers with pool_size 5", 5, "", _peak_backends),
    Figure("of 4 workers, those that served nothing", 0, "", _workers_without_work),
    Figure(
        "instructions of the relay, simple, 8 clients",
        2500,
        "",
        lambda of: median_count(of.counts, "instructions", "pgmux-1"),
    ),
    Figure(
        "CPU to the first query, 4 workers", 1.0, "s", lambda of: median_count(of.counts, "start", "pgmux-4")
    ),
    Figure(
        "throughput of a 1 GB result / direct (PostgreSQL)", 0.9, "", _throughput("stream"), is_floor=True
    ),
    Figure("throughput of COPY out / direct (PostgreSQL)", 0.9, "", _throughput("copy-out"), is_floor=True),
    Figure("resident memory grown by these", 4, "MB", _growth_of_stream),
)


def judge(measured: Measured) -> list[Verdict]:
    """Every figure with its value and whether it was reached."""
    verdicts = []
    for figure in FIGURES:
        value = figure.value(measured)
        reached = (
            None if value is None else value >= figure.limit if figure.is_floor else value <= figure.limit
        )
        verdicts.append(
            Verdict(
                name=figure.name,
                limit=figure.limit,
                unit=figure.unit,
                value=value,
                reached=reached,
                is_floor=figure.is_floor,
            )
        )
    return verdicts
