"""The figures that pgmux has set itself, and whether a measurement reached them.

A row of FIGURES is one of them: its limit, its unit, and where its value comes from. None means that what it
needs was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from loadtest.measure import MemoryRun
from loadtest.summary import Summary, median_of


@dataclass(frozen=True)
class Measured:
    """All that figures are taken from."""

    summaries: Sequence[Summary]
    memories: Sequence[MemoryRun]

    def summary(self, scenario: str, arm: str) -> Summary | None:
        """The summary of an arm in a scenario, if it was measured."""
        return next((each for each in self.summaries if (each.scenario, each.arm) == (scenario, arm)), None)

    def ratio(self, scenario: str, arm: str) -> float | None:
        """The processor time per transaction against the reference's."""
        summary = self.summary(scenario, arm)
        return summary.ratio if summary else None


@dataclass(frozen=True)
class Figure:
    """A limit, and how the value to compare with it is found."""

    name: str
    limit: float
    unit: str
    value: Callable[[Measured], float | None]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its measured value."""

    name: str
    limit: float
    unit: str
    value: float | None
    reached: bool | None  # None: not measured


def _bytes_per_idle_client(measured: Measured) -> float | None:
    """Of pgmux with 1 and with 2 workers the worse."""
    values = [median_of(measured.memories, arm, lambda run: run.per_client) for arm in ("pgmux-1", "pgmux-2")]
    return max((value for value in values if value is not None), default=None)


def _private_megabytes_of_a_worker(measured: Measured) -> float | None:
    """Two workers' private memory less one worker's, with no clients."""
    one, two = (median_of(measured.memories, arm, lambda run: run.private) for arm in ("pgmux-1", "pgmux-2"))
    return None if one is None or two is None else (two - one) / 1e6


def _peak_backends(measured: Measured) -> float | None:
    summary = measured.summary("backends", "pgmux-4")
    return summary.peak_backends if summary else None


def _workers_without_work(measured: Measured) -> float | None:
    summary = measured.summary("backends", "pgmux-4")
    return 4 - summary.workers_that_served if summary else None


FIGURES = (
    Figure("CPU per select, 1 worker / PgBouncer", 0.80, "", lambda of: of.ratio("select", "pgmux-1")),
    Figure("CPU per select, 2 workers / PgBouncer", 0.95, "", lambda of: of.ratio("select", "pgmux-2")),
    Figure("CPU per select over TLS, 1 worker / PgBouncer", 0.90, "", lambda of: of.ratio("tls", "pgmux-1")),
    Figure("CPU per new TLS connection / PgBouncer", 1.0, "", lambda of: of.ratio("tls-connect", "pgmux-1")),
    Figure("memory per idle client", 3000, "bytes", _bytes_per_idle_client),
    Figure("private memory of one more worker", 15, "MB", _private_megabytes_of_a_worker),
    Figure("backends of 4 workers with pool_size 5", 5, "", _peak_backends),
    Figure("of 4 workers, those that served nothing", 0, "", _workers_without_work),
)


def judge(measured: Measured) -> list[Verdict]:
    """Every figure with its value and whether it was reached."""
    verdicts = []
    for figure in FIGURES:
        value = figure.value(measured)
        reached = None if value is None else value <= figure.limit
        verdicts.append(
            Verdict(name=figure.name, limit=figure.limit, unit=figure.unit, value=value, reached=reached)
        )
    return verdicts
