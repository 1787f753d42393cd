"""From runs to what is quoted: medians, and ratios against the reference within the same round.

A ratio of two runs that followed each other is worth more than a ratio of two medians: the machine was in
the same mood. So the ratio is formed round by round, and its median is given with the lowest and highest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from loadtest.arms import REFERENCE
from loadtest.measure import LoadRun, MemoryRun


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one arm in one load scenario: medians; times in microseconds."""

    scenario: str
    arm: str
    rounds: int
    tps: float
    p50_us: float | None
    p99_us: float | None
    connect_us: float | None
    user_us: float | None
    system_us: float | None
    total_us: float | None
    ratio: float | None  # total_us against the reference's
    ratio_low: float | None
    ratio_high: float | None
    backend_us: float
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
    return [_summary(group, groups.get((scenario, REFERENCE), [])) for (scenario, _), group in groups.items()]


def median_of(runs: Sequence[MemoryRun], arm: str, field: Callable[[MemoryRun], float]) -> float | None:
    """The median of one field over an arm's memory runs; None without runs."""
    values = [field(run) for run in runs if run.arm == arm]
    return median(values) if values else None


def _summary(runs: list[LoadRun], reference: list[LoadRun]) -> Summary:
    ratios = _ratios(runs, reference)
    peaks = [run.peak_backends for run in runs if run.peak_backends is not None]
    return Summary(
        scenario=runs[0].scenario,
        arm=runs[0].arm,
        rounds=len(runs),
        tps=median(run.tps for run in runs),
        p50_us=_median([run.p50_us for run in runs]),
        p99_us=_median([run.p99_us for run in runs]),
        connect_us=_median([run.connect_us for run in runs]),
        user_us=_median([run.user_us for run in runs]),
        system_us=_median([run.system_us for run in runs]),
        total_us=_median([run.total_us for run in runs]),
        ratio=_median(ratios),
        ratio_low=min(ratios, default=None),
        ratio_high=max(ratios, default=None),
        backend_us=median(run.backend_us for run in runs),
        strangers_share=median(run.strangers_share for run in runs),
        errors=sum(run.errors for run in runs),
        first_error=next((run.first_error for run in runs if run.first_error), ""),
        peak_backends=max(peaks, default=None),
        workers_that_served=min(run.workers_that_served for run in runs),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _ratios(runs: list[LoadRun], reference: list[LoadRun]) -> list[float]:
    of_round = {run.round: run.total_us for run in reference}
    return [
        run.total_us / against
        for run in runs
        if run.total_us is not None and (against := of_round.get(run.round))
    ]
