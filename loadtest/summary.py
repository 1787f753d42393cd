"""From runs to what is quoted: medians, and ratios against the reference within the same round.

A ratio of two runs that followed each other is worth more than a ratio of two medians: the machine was in
the same mood. So the ratio is formed round by round, and its median is given with the lowest and highest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from loadtest.arms import BARE, REFERENCE
from loadtest.measure import CountRun, LoadRun, MemoryRun


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one arm in one load scenario: medians; times in microseconds."""

    scenario: str
    arm: str
    rounds: int
    tps: float
    p50_us: float | None
    p99_us: float | None
    p999_us: float | None
    connect_us: float | None
    user_us: float | None
    system_us: float | None
    total_us: float | None
    ratio: float | None  # total_us against the reference's
    ratio_low: float | None
    ratio_high: float | None
    tps_ratio: float | None  # against the bare backend's
    p99_ratio: float | None  # against the reference's
    backend_us: float
    fewest: int | None  # of all rounds
    most: int | None
    memory: float | None  # bytes
    peak_growth: int | None  # bytes, the highest of all rounds
    bytes_per_second: float | None
    strangers_share: float
    errors: int  # of all rounds
    first_error: str
    peak_backends: int | None  # the highest of all rounds
    workers_that_served: int  # the lowest of all rounds


def summarise(runs: Sequence[LoadRun]) -> list[Summary]:
    """One Summary for each scenario and arm, in the order of their first runs."""
    groups: dict[tuple[str, str], list[LoadRun]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.arm), []).append(run)
    return [
        _summary(group, groups.get((scenario, REFERENCE), []), groups.get((scenario, BARE), []))
        for (scenario, _), group in groups.items()
    ]


def median_of(runs: Sequence[MemoryRun], arm: str, field: Callable[[MemoryRun], float]) -> float | None:
    """The median of one field over an arm's memory runs; None without runs."""
    values = [field(run) for run in runs if run.arm == arm]
    return median(values) if values else None


def median_count(runs: Sequence[CountRun], scenario: str, arm: str) -> float | None:
    """The median of an arm's runs of a scenario that gives one number; None without runs."""
    values = [run.value for run in runs if (run.scenario, run.arm) == (scenario, arm)]
    return median(values) if values else None


def _summary(runs: list[LoadRun], reference: list[LoadRun], bare: list[LoadRun]) -> Summary:
    ratios = _ratios(runs, reference, lambda run: run.total_us)
    peaks = [run.peak_backends for run in runs if run.peak_backends is not None]
    return Summary(
        scenario=runs[0].scenario,
        arm=runs[0].arm,
        rounds=len(runs),
        tps=median(run.tps for run in runs),
        p50_us=_median([run.p50_us for run in runs]),
        p99_us=_median([run.p99_us for run in runs]),
        p999_us=_median([run.p999_us for run in runs]),
        connect_us=_median([run.connect_us for run in runs]),
        user_us=_median([run.user_us for run in runs]),
        system_us=_median([run.system_us for run in runs]),
        total_us=_median([run.total_us for run in runs]),
        ratio=_median(ratios),
        ratio_low=min(ratios, default=None),
        ratio_high=max(ratios, default=None),
        tps_ratio=_median(_ratios(runs, bare, lambda run: run.tps)),
        p99_ratio=_median(_ratios(runs, reference, lambda run: run.p99_us)),
        backend_us=median(run.backend_us for run in runs),
        fewest=min((run.fewest for run in runs if run.fewest is not None), default=None),
        most=max((run.most for run in runs if run.most is not None), default=None),
        memory=_median([run.memory for run in runs]),
        peak_growth=max((run.peak_growth for run in runs if run.peak_growth is not None), default=None),
        bytes_per_second=_median([run.bytes_per_second for run in runs]),
        strangers_share=median(run.strangers_share for run in runs),
        errors=sum(run.errors for run in runs),
        first_error=next((run.first_error for run in runs if run.first_error), ""),
        peak_backends=max(peaks, default=None),
        workers_that_served=min(run.workers_that_served for run in runs),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _ratios(
    runs: list[LoadRun], reference: list[LoadRun], field: Callable[[LoadRun], float | None]
) -> list[float]:
    of_round = {run.round: field(run) for run in reference}
    return [
        value / against
        for run in runs
        if (value := field(run)) is not None and (against := of_round.get(run.round))
    ]
