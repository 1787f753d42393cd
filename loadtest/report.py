"""What a measurement leaves: tables for people, and one JSON file with every single run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec

from loadtest.arms import BARE, REFERENCE
from loadtest.figures import Verdict
from loadtest.machine import Circumstances
from loadtest.measure import CountRun, LoadRun, MemoryRun
from loadtest.scenarios import Scenario
from loadtest.summary import Summary
from pgmux.demo.terminal import print_table

RESULTS_FOLDER = Path(__file__).parent / "results"
_NOISE_WORTH_A_WORD = 0.05
_NONE = "–"
_MEGABYTE = 1e6


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """How the runs were made."""

    target: str  # nullpg, or PostgreSQL and its version
    backend_transport: str  # tcp | unix; clients always come over TCP
    rounds: dict[str, int]  # by scenario
    seconds: int
    idle_clients: int
    quick: bool


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: what the JSON file holds."""

    circumstances: Circumstances
    method: Method
    figures: list[Verdict]
    summaries: list[Summary]
    loads: list[LoadRun]
    memories: list[MemoryRun]
    counts: list[CountRun]
    left_out: list[str]  # who was not measured in what, and why
    failures: list[str]


def write_json(result: Result, path: Path | None = None) -> Path:
    """Writes the result, by default to results/<date>.json, and gives the path."""
    path = path or RESULTS_FOLDER / f"{result.circumstances.date.replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return path


def print_circumstances(circumstances: Circumstances, method: Method) -> None:
    """Two lines of what was measured where."""
    machine = circumstances.machine
    kind = "virtual, " if machine.is_virtual else ""
    print(
        f"{machine.processor}, {machine.cores} cores ({kind}load {machine.load_average}), "
        f"Linux {machine.kernel}, {circumstances.date}, commit {circumstances.commit or 'none'}"
    )
    print(", ".join(f"{name} {version}" for name, version in circumstances.versions.items()))
    print(
        f"backend: {method.target} over {method.backend_transport}; runs of {method.seconds} s, "
        "arms in turn; medians, ratios within a round\n",
        flush=True,
    )


def print_load(scenario: Scenario, summaries: Sequence[Summary], left_out: Sequence[str]) -> None:
    """The table of one load scenario."""
    if not summaries:
        return
    load = scenario.load
    errors = [f"{each.arm}: {each.first_error}" for each in summaries if each.first_error]
    noisy = max(summary.strangers_share for summary in summaries)
    noise = [f"other programs used {noisy:.0%} of the machine: compare ratios only"]
    notes = [*scenario.notes, *left_out, *errors, *(noise if noisy > _NOISE_WORTH_A_WORD else [])]
    clients = "1 client" if load.clients == 1 else f"{load.clients:,} clients"
    size = f"{clients}, {scenario.pool_size} backends, {_rounds(summaries[0].rounds)}"
    title = f"{scenario.name}: {scenario.what} ({size})"
    _print_columns(title, _LOAD_COLUMNS, summaries, notes)


def print_memory(scenario: Scenario, runs: Sequence[MemoryRun], left_out: Sequence[str]) -> None:
    """The table of the memory scenario."""
    if not runs:
        return
    by_arm = [[run for run in runs if run.arm == arm] for arm in dict.fromkeys(run.arm for run in runs)]
    title = f"{scenario.name}: {scenario.what} ({runs[0].clients} clients, {_rounds(len(by_arm[0]))})"
    _print_columns(title, _MEMORY_COLUMNS, by_arm, [*scenario.notes, *left_out])


def print_counts(scenario: Scenario, runs: Sequence[CountRun], left_out: Sequence[str]) -> None:
    """The table of a scenario that gives one number."""
    if not runs:
        return
    by_arm = [[run for run in runs if run.arm == arm] for arm in dict.fromkeys(run.arm for run in runs)]
    title = f"{scenario.name}: {scenario.what} ({_rounds(len(by_arm[0]))})"
    _print_columns(title, _COUNT_COLUMNS, by_arm, [*scenario.notes, *left_out])


_Row = TypeVar("_Row")
_Columns = Sequence[tuple[str, Callable[[_Row], str]]]


def _print_columns(title: str, columns: _Columns[_Row], rows: Sequence[_Row], notes: Sequence[str]) -> None:
    """A table without the columns in which no row has anything to say."""
    cells = [(heading, [cell(row) for row in rows]) for heading, cell in columns]
    shown = [(heading, column) for heading, column in cells if set(column) != {_NONE}]
    lines = list(zip(*(column for _, column in shown), strict=True))
    print_table(title, [heading for heading, _ in shown], lines, "\n".join(notes) + "\n" * bool(notes))


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _number(value: float | None, decimals: int = 2, unit: float = 1) -> str:
    return _NONE if value is None else f"{value / unit:,.{decimals}f}"


def _spread(summary: Summary) -> str:
    return _NONE if summary.ratio_low is None else f"{summary.ratio_low:.2f}–{summary.ratio_high:.2f}"


def _median(
    field: Callable[[MemoryRun], float], decimals: int = 1, unit: float = _MEGABYTE
) -> Callable[[Sequence[MemoryRun]], str]:
    """A column: the median of one field over all runs of an arm."""
    return lambda runs: _number(median(map(field, runs)), decimals, unit)


_LOAD_COLUMNS: _Columns[Summary] = (
    ("", lambda of: of.arm),
    ("tps", lambda of: _number(of.tps, 0)),
    ("p50 ms", lambda of: _number(of.p50_us, 3, 1000)),
    ("p99 ms", lambda of: _number(of.p99_us, 3, 1000)),
    ("p99.9 ms", lambda of: _number(of.p999_us, 3, 1000)),
    ("connect ms", lambda of: _number(of.connect_us, 3, 1000)),
    ("user µs", lambda of: _number(of.user_us, 1)),
    ("system µs", lambda of: _number(of.system_us, 1)),
    ("CPU µs/tx", lambda of: _number(of.total_us, 1)),
    (f"of {REFERENCE}", lambda of: _number(of.ratio)),
    ("spread", _spread),
    ("MB/s", lambda of: _number(of.bytes_per_second, 0, _MEGABYTE)),
    (f"tps of {BARE}", lambda of: _number(of.tps_ratio if of.bytes_per_second else None)),
    ("backend µs", lambda of: _number(of.backend_us, 1)),
    ("per client", lambda of: _NONE if of.fewest is None else f"{of.fewest:,}–{of.most:,}"),
    ("memory MB", lambda of: _number(of.memory, 1, _MEGABYTE)),
    ("grew MB", lambda of: _number(of.peak_growth, 1, _MEGABYTE)),
    ("most backends", lambda of: _number(of.peak_backends, 0)),
    ("workers busy", lambda of: _number(of.workers_that_served or None, 0)),
    ("errors", lambda of: str(of.errors)),
)

_MEMORY_COLUMNS: _Columns[Sequence[MemoryRun]] = (
    ("", lambda runs: runs[0].arm),
    ("empty MB", _median(lambda run: run.empty)),
    ("held MB", _median(lambda run: run.held)),
    ("bytes/client", _median(lambda run: run.per_client, 0, 1)),
    ("busy once", _median(lambda run: run.per_client_busy_once, 0, 1)),
    ("private MB", _median(lambda run: run.private)),
    (
        "by process",
        lambda runs: " + ".join(_number(each, 1, _MEGABYTE) for each in runs[-1].private_by_process),
    ),
    ("segment MB", _median(lambda run: run.segment_held)),
)


_COUNT_COLUMNS: _Columns[Sequence[CountRun]] = (
    ("", lambda runs: runs[0].arm),
    ("median", lambda runs: _number(median(run.value for run in runs), 0 if runs[0].value > 100 else 2)),
    ("lowest", lambda runs: _number(min(run.value for run in runs), 0 if runs[0].value > 100 else 2)),
    ("highest", lambda runs: _number(max(run.value for run in runs), 0 if runs[0].value > 100 else 2)),
    ("", lambda runs: runs[0].unit),
)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """The table of figures, reached or not."""
    words = {True: "reached", False: "NOT REACHED", None: "not measured"}
    rows = [
        [
            each.name,
            f"{'≥' if each.is_floor else '≤'} {each.limit:g} {each.unit}".strip(),
            _number(each.value),
            words[each.reached],
        ]
        for each in verdicts
    ]
    print_table("figures", ["", "wanted", "measured", ""], rows, "")
