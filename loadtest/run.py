"""`make bench`: chooses scenarios and competitors, lets them take turns, prints and writes what came out.

Read `_measure` first: it is the whole measurement from top to bottom.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from loadtest.arms import ARMS, MAX_CLIENTS, Arm, MissingError, Place
from loadtest.client import Address
from loadtest.figures import Measured, judge
from loadtest.idle import files_for, raise_open_files
from loadtest.machine import look_around
from loadtest.measure import Bench
from loadtest.nullpg import NullBackend
from loadtest.options import Options, parse_options
from loadtest.pgbench import Pgbench, find_pgbench
from loadtest.report import (
    Method,
    Result,
    print_circumstances,
    print_load,
    print_memory,
    print_verdicts,
    write_json,
)
from loadtest.scenarios import SCENARIOS, why_not
from loadtest.summary import summarise
from loadtest.turns import Outcome, Table, Turn
from pgmux.demo.terminal import Progress
from pgmux.errors import PgmuxError

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
    pgbench = find_pgbench()
    present, missing = _look_for_arms(options)
    turns, left_out = _plan(options, present, missing)
    if not turns:
        raise PgmuxError("nothing is left to measure: " + "; ".join(left_out))
    competitors = {arm.kind: arm.version for arm in present.values() if arm.version}
    circumstances = look_around({"pgbench": pgbench.version, **competitors})
    method = Method(
        target=options.target,
        backend_transport="unix" if options.unix else "tcp",
        rounds={turn.scenario.name: turn.rounds for turn in turns},
        seconds=options.seconds,
        idle_clients=options.idle_clients,
        quick=options.quick,
    )
    print_circumstances(circumstances, method)
    outcome = _play(turns, options, pgbench, left_out)
    summaries = summarise(outcome.loads)
    figures = judge(Measured(summaries, outcome.memories))
    print_verdicts(figures)
    result = Result(
        circumstances=circumstances,
        method=method,
        figures=figures,
        summaries=summaries,
        loads=outcome.loads,
        memories=outcome.memories,
        left_out=left_out,
        failures=outcome.failures,
    )
    print(f"every run: {_shown(write_json(result, options.output))}", flush=True)
    return 1 if outcome.failures else 0


def _look_for_arms(options: Options) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms that are on this machine, and for the others what to do about it."""
    wanted = options.arms or dict.fromkeys(arm for name in options.scenarios for arm in SCENARIOS[name].arms)
    present: dict[str, Arm] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        try:
            present[name] = ARMS[name](Place(Address("", 0), 0, Path()))  # looked at, never started
        except MissingError as error:
            missing[name] = str(error)
    return present, missing


def _plan(options: Options, present: dict[str, Arm], missing: dict[str, str]) -> tuple[list[Turn], list[str]]:
    """Who takes part in which scenario, and a line "scenario, arm: why" for each who does not."""
    turns, left_out = [], []
    for scenario in (SCENARIOS[name] for name in options.scenarios):
        playing = []
        for name in options.arms or scenario.arms:
            arm = present.get(name)
            reason = missing[name] if arm is None else why_not(arm.kind, arm.version, scenario.name)
            if reason is None:
                playing.append(name)
            else:
                left_out.append(f"{scenario.name}, {name}: {reason}")
        if playing:
            rounds = options.rounds or (scenario.quick_rounds if options.quick else scenario.rounds)
            turns.append(Turn(scenario, tuple(playing), rounds))
    return turns, left_out


def _play(turns: Sequence[Turn], options: Options, pgbench: Pgbench, left_out: Sequence[str]) -> Outcome:
    """All turns, each with its table when it is over."""
    _tell_how_long(turns, options)
    progress = Progress(sum(turn.steps for turn in turns))
    everything = Outcome()
    with ExitStack() as stack:
        stack.callback(progress.clear)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pgmux-null-"))
        Path(folder).chmod(0o755)  # its Unix socket is for every account
        backend = stack.enter_context(NullBackend(Path(folder), options.unix))
        table = Table(backend, Bench(pgbench, backend, options.seconds, options.idle_clients), progress)
        for turn in turns:
            outcome = table.play(turn)
            progress.clear()
            _print_turn(turn, outcome, left_out)
            everything.add(outcome)
    return everything


def _print_turn(turn: Turn, outcome: Outcome, left_out: Sequence[str]) -> None:
    name = turn.scenario.name
    absent = [line.removeprefix(f"{name}, ") for line in left_out if line.startswith(f"{name}, ")]
    print_load(turn.scenario, summarise(outcome.loads), absent)
    print_memory(turn.scenario, outcome.memories, absent)
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
