"""This measurement against the last recorded one: what got worse, what got better, beyond what is noise.

Two measurements never meet under the same load, so only ratios are compared, which each had within its rounds, and
counts. A ratio has changed when its spread does not reach the other's median and it moved by more than what few
rounds, and other programs on the machine, make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from loadtest.figures import Measured, judge
from loadtest.summary import Summary, median_count
from pgmux.demo.terminal import print_table
from pgmux.errors import PgmuxError

if TYPE_CHECKING:
    from loadtest.report import Result

BASELINE = Path(__file__).parent / "results" / "baseline.json"
_RATIO_NOISE = 0.05  # of five rounds on a machine of one's own
_NOISE_OF_OTHERS = 0.5  # for each part of the machine that other programs used
_ROUNDS_FOR_A_SPREAD = 5
_NOISE_OF_A_ROUND_LESS = 0.03
_COUNT_NOISE = {"instructions": 0.02, "s": 0.15}
_MEMORY_NOISE = 0.05


@dataclass(frozen=True)
class Change:
    """One figure that moved beyond its noise; less is better in all of them."""

    what: str
    before: float
    now: float

    @property
    def is_worse(self) -> bool:
        """Whether it grew."""
        return self.now > self.before


def read_baseline(path: Path, may_be_missing: bool = False) -> Result | None:
    """The recorded measurement, None where none was recorded. Raises PgmuxError for a file that is none."""
    from loadtest.report import Result

    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except FileNotFoundError:
        if path == BASELINE or may_be_missing:
            return None
        raise PgmuxError(f"no baseline in {path}: --record writes one") from None
    except msgspec.MsgspecError as error:
        raise PgmuxError(f"{path} is no measurement of this version ({error}): record one anew") from error


def merged(before: Result | None, now: Result) -> Result:
    """This measurement with those scenarios of an earlier one that it has not made anew; alone, if that was made on
    another machine or before another backend.
    """
    if before is None or _where(before) != _where(now):
        return now
    measured = set(now.method.rounds)
    summaries = [each for each in before.summaries if each.scenario not in measured] + now.summaries
    memories = [each for each in before.memories if each.scenario not in measured] + now.memories
    counts = [each for each in before.counts if each.scenario not in measured] + now.counts
    versions = {**before.circumstances.versions, **now.circumstances.versions}
    return msgspec.structs.replace(
        now,
        circumstances=msgspec.structs.replace(now.circumstances, versions=versions),
        method=msgspec.structs.replace(now.method, rounds={**before.method.rounds, **now.method.rounds}),
        figures=judge(Measured(summaries, memories, counts, is_null=now.method.target == "nullpg")),
        summaries=summaries,
        loads=[each for each in before.loads if each.scenario not in measured] + now.loads,
        memories=memories,
        counts=counts,
        left_out=[each for each in before.left_out if each.split(",")[0] not in measured] + now.left_out,
    )


def _where(result: Result) -> tuple[str, int, str]:
    machine = result.circumstances.machine
    return machine.processor, machine.cores, result.method.target


def compare(before: Result, now: Result) -> list[Change]:
    """What moved, the worst first."""
    changes = [*_ratios(before, now), *_counts(before, now), *_memories(before, now)]
    return sorted(changes, key=lambda change: change.before / change.now if change.now else 0)


def _ratios(before: Result, now: Result) -> Iterator[Change]:
    if before.method.target.split()[0] != now.method.target.split()[0]:
        return  # what nullpg costs is not what PostgreSQL costs
    known = {(each.scenario, each.arm): each for each in before.summaries}
    for each in now.summaries:
        old = known.get((each.scenario, each.arm))
        if not each.arm.startswith("pgmux") or old is None:
            continue  # others do not get worse by what is done here
        if old.ratio and each.ratio and _is_beyond_noise(old, each):
            yield Change(f"CPU ratio, {each.scenario}, {each.arm}", old.ratio, each.ratio)


def _is_beyond_noise(old: Summary, new: Summary) -> bool:
    assert old.ratio is not None
    assert new.ratio is not None
    others = max(old.strangers_share, new.strangers_share)
    fewer = max(0, _ROUNDS_FOR_A_SPREAD - min(old.rounds, new.rounds))
    noise = _RATIO_NOISE + others * _NOISE_OF_OTHERS + fewer * _NOISE_OF_A_ROUND_LESS
    if abs(new.ratio / old.ratio - 1) <= noise:
        return False
    if new.ratio > old.ratio:
        return (new.ratio_low or 0) > old.ratio and (old.ratio_high or 0) < new.ratio
    return (new.ratio_high or 0) < old.ratio and (old.ratio_low or 0) > new.ratio


def _counts(before: Result, now: Result) -> Iterator[Change]:
    for scenario, arm, unit in dict.fromkeys((run.scenario, run.arm, run.unit) for run in now.counts):
        old, new = (median_count(each.counts, scenario, arm) for each in (before, now))
        if old and new and abs(new / old - 1) > _COUNT_NOISE.get(unit, _RATIO_NOISE):
            yield Change(f"{unit}, {scenario}, {arm}", old, new)


def _memories(before: Result, now: Result) -> Iterator[Change]:
    known = {(run.scenario, run.arm, run.clients): run for run in before.memories}
    for arm in dict.fromkeys(run.arm for run in now.memories):
        run = next(each for each in now.memories if each.arm == arm)
        old = known.get((run.scenario, arm, run.clients))
        if old is not None and abs(run.held / old.held - 1) > _MEMORY_NOISE:
            yield Change(f"MB, {run.scenario}, {arm}, {run.clients} clients", old.held / 1e6, run.held / 1e6)


def print_changes(changes: Sequence[Change], before: Result, now: Result) -> None:
    """The table of changes, or that there are none."""
    there, here = before.circumstances, now.circumstances
    title = f"against the baseline of {there.date}, commit {there.commit or 'none'}"
    if (there.machine.processor, there.machine.cores) != (here.machine.processor, here.machine.cores):
        title += f" (another machine: {there.machine.processor}, {there.machine.cores} cores)"
    if not changes:
        print(f"{title}: nothing moved beyond noise", flush=True)
        return
    rows = [
        [
            each.what,
            f"{each.before:,.2f}",
            f"{each.now:,.2f}",
            f"{each.now / each.before - 1:+.0%}",
            "WORSE" if each.is_worse else "better",
        ]
        for each in changes
    ]
    print_table(title, ["", "before", "now", "", ""], rows, "")
