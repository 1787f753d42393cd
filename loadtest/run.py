"""`make bench`: chooses scenarios and competitors, lets them take turns, prints and writes what came out.

Read `_measure` first: it is the whole measurement from top to bottom.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from loadtest.arms import ARMS, BARE, MAX_CLIENTS, Arm, MissingError, Place
from loadtest.baseline import compare, merged, print_changes, read_baseline
from loadtest.client import Address
from loadtest.crowd import Crowd
from loadtest.figures import Measured, judge
from loadtest.idle import files_for, raise_open_files
from loadtest.machine import look_around
from loadtest.measure import Bench
from loadtest.nullpg import Backend, NullBackend
from loadtest.options import Options, parse_options
from loadtest.pgbench import Pgbench, find_pgbench
from loadtest.postgres import PostgresBackend
from loadtest.program import pass_on_niceness
from loadtest.report import (
    Method,
    Result,
    print_circumstances,
    print_counts,
    print_load,
    print_memory,
    print_verdicts,
    write_json,
)
from loadtest.scenarios import Scenario, why_not
from loadtest.summary import summarise
from loadtest.turns import Outcome, Table, Turn
from pgmux.demo.terminal import Progress
from pgmux.errors import PgmuxError

_MOST_PROCESSES = 1000  # of PostgreSQL, without a pooler
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code: 0, or 1 if something failed. Wrong usage exits with 2."""
    options = parse_options(arguments)
    try:
        with _interrupted_by_signals():
            return _measure(options)
    except PgmuxError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nloadtest: stopped before its end; nothing is written, nothing runs on", file=sys.stderr)
        return 1


def _measure(options: Options) -> int:
    raise_open_files(files_for(MAX_CLIENTS))
    pass_on_niceness(os.getpid())
    pgbench = find_pgbench()
    baseline = read_baseline(options.baseline, may_be_missing=options.record)
    present, missing = _look_for_arms(options)
    turns, left_out = _plan(options, present, missing)
    if not turns:
        raise PgmuxError("nothing is left to measure: " + "; ".join(left_out))
    with ExitStack() as stack:
        backend = stack.enter_context(_backend(options, turns))
        competitors = {arm.kind: arm.version for arm in present.values() if arm.version}
        circumstances = look_around({"pgbench": pgbench.version, **competitors})
        method = _method(options, turns, backend)
        print_circumstances(circumstances, method)
        outcome = _play(turns, options, backend, pgbench, left_out)
    summaries = summarise(outcome.loads)
    result = Result(
        circumstances=circumstances,
        method=method,
        figures=judge(
            Measured(summaries, outcome.memories, outcome.counts, is_null=options.backend == "null")
        ),
        summaries=summaries,
        loads=outcome.loads,
        memories=outcome.memories,
        counts=outcome.counts,
        left_out=left_out,
        failures=outcome.failures,
    )
    print_verdicts(result.figures)
    if baseline is not None:
        print_changes(compare(baseline, result), baseline, result)
    print(f"every run: {_shown(write_json(result, options.output))}", flush=True)
    if options.record:
        recorded = write_json(merged(baseline, result), options.baseline)
        print(f"the baseline from now on: {_shown(recorded)}", flush=True)
    return 1 if outcome.failures else 0


def _method(options: Options, turns: Sequence[Turn], backend: Backend) -> Method:
    return Method(
        target=backend.version,
        backend_transport="unix" if options.unix else "tcp",
        rounds={turn.scenario.name: turn.rounds for turn in turns},
        seconds=options.seconds,
        idle_clients=options.idle_clients,
        quick=options.quick,
    )


@contextmanager
def _backend(options: Options, turns: Sequence[Turn]) -> Iterator[Backend]:
    """nullpg, or a PostgreSQL with room for everybody who comes to it at once."""
    if options.backend != "null":
        direct = max([turn.scenario.load.clients for turn in turns if "direct" in turn.arms], default=0)
        pooled = max(len(turn.arms) * turn.scenario.pool_size for turn in turns)
        with PostgresBackend(options.backend, direct + pooled, options.unix) as postgres:
            yield postgres
        return
    with tempfile.TemporaryDirectory(prefix="pgmux-null-") as folder:
        Path(folder).chmod(0o755)  # its Unix socket is for every account
        with NullBackend(Path(folder), options.unix) as null:
            yield null


def _look_for_arms(options: Options) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms that are on this machine, and for the others what to do about it."""
    wanted = options.arms or dict.fromkeys(arm for each in options.scenarios for arm in each.arms)
    present: dict[str, Arm] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        try:
            present[name] = ARMS[name](
                Place(Address("", 0), 0, Path(), programs=options.programs)
            )  # looked at, never started
        except MissingError as error:
            missing[name] = str(error)
    return present, missing


def _plan(options: Options, present: dict[str, Arm], missing: dict[str, str]) -> tuple[list[Turn], list[str]]:
    """Who takes part in which scenario, and a line "scenario, arm: why" for each who does not."""
    turns, left_out = [], []
    for scenario in options.scenarios:
        playing = []
        for name in options.arms or _usual_arms(options, scenario):
            arm = present.get(name)
            reason = (
                missing[name]
                if arm is None
                else why_not(arm.kind, arm.version, scenario.name) or _why_not_here(options, scenario, name)
            )
            if reason is None:
                playing.append(name)
            else:
                left_out.append(f"{scenario.name}, {name}: {reason}")
        if playing:
            rounds = options.rounds or (scenario.quick_rounds if options.quick else scenario.rounds)
            turns.append(Turn(scenario, tuple(playing), rounds))
    return turns, left_out


def _usual_arms(options: Options, scenario: Scenario) -> tuple[str, ...]:
    """A scenario's own; a first look goes without what no ratio is against."""
    return tuple(
        name for name in scenario.arms if not options.quick or name != BARE or scenario.load.bytes_each_time
    )


def _why_not_here(options: Options, scenario: Scenario, arm: str) -> str | None:
    """What makes no sense with the chosen backend."""
    if options.backend == "null":
        return None
    if scenario.measure != "load":
        return "measured before nullpg alone: nothing of it depends on PostgreSQL"
    if arm == "direct" and scenario.load.clients > _MOST_PROCESSES:
        return f"more than {_MOST_PROCESSES} clients would be as many PostgreSQL processes"
    return None


def _play(
    turns: Sequence[Turn], options: Options, backend: Backend, pgbench: Pgbench, left_out: Sequence[str]
) -> Outcome:
    """All turns, each with its table when it is over."""
    _tell_how_long(turns, options)
    progress = Progress(sum(turn.steps for turn in turns))
    everything = Outcome()
    bench = Bench({"crowd": Crowd(), "pgbench": pgbench}, backend, options.seconds, options.idle_clients)
    table = Table(backend, bench, progress, options.programs)
    try:
        for turn in turns:
            outcome = table.play(turn)
            progress.clear()
            _print_turn(turn, outcome, left_out)
            everything.add(outcome)
    finally:
        progress.clear()
    return everything


def _print_turn(turn: Turn, outcome: Outcome, left_out: Sequence[str]) -> None:
    name = turn.scenario.name
    absent = [line.removeprefix(f"{name}, ") for line in left_out if line.startswith(f"{name}, ")]
    print_load(turn.scenario, summarise(outcome.loads), absent)
    print_memory(turn.scenario, outcome.memories, absent)
    print_counts(turn.scenario, outcome.counts, absent)
    for failure in outcome.failures:
        print(f"loadtest: {failure}", file=sys.stderr, flush=True)


def _tell_how_long(turns: Sequence[Turn], options: Options) -> None:
    minutes = sum(turn.lasts_s(options.seconds) for turn in turns) / 60
    runs = sum(turn.steps for turn in turns)
    print(f"{runs} runs, about {max(1, round(minutes))} min", file=sys.stderr, flush=True)


def _shown(path: Path) -> Path:
    """A path as the user would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that everything is stopped on the way out."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in _STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
