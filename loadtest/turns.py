"""The order of runs: arm after arm, round after round, so that what slows the machine slows them alike."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.arms import ARMS, Arm, Place
from loadtest.measure import Bench, CountRun, LoadRun, MemoryRun
from loadtest.nullpg import Backend
from loadtest.scenarios import Scenario
from pgmux.demo.terminal import Progress
from pgmux.errors import PgmuxError


@dataclass(frozen=True)
class Turn:
    """One scenario with those who take part in it."""

    scenario: Scenario
    arms: tuple[str, ...]
    rounds: int

    @property
    def steps(self) -> int:
        """Runs that will be made; for the progress line."""
        return len(self.arms) * self.rounds

    def lasts_s(self, seconds: int) -> float:
        """About how long it takes, starting and warming up included."""
        clients = self.scenario.load.clients
        if self.scenario.measure == "load":
            return len(self.arms) * (2.0 + self.rounds * (seconds + 0.2 + clients / 3000))
        return (
            self.steps
            * {"backends": seconds + 1.5, "idle": 8.0, "start": 1.5, "instructions": 45.0}[
                self.scenario.measure
            ]
        )


@dataclass
class Outcome:
    """What one turn gave."""

    loads: list[LoadRun] = field(default_factory=list)
    memories: list[MemoryRun] = field(default_factory=list)
    counts: list[CountRun] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # "scenario, arm: what happened"

    def add(self, other: Outcome) -> None:
        """Takes in what another turn gave."""
        self.loads += other.loads
        self.memories += other.memories
        self.counts += other.counts
        self.failures += other.failures


class Table:
    """Where the competitors meet: one backend, one bench, one line of progress."""

    def __init__(
        self, backend: Backend, bench: Bench, progress: Progress, programs: Mapping[str, Path]
    ) -> None:
        self._backend = backend
        self._programs = programs
        self._bench = bench
        self._progress = progress
        self._would_not_start: set[str] = set()  # arms; they are not tried, and waited for, again

    def play(self, turn: Turn) -> Outcome:
        """Runs one scenario. An arm that fails leaves it, with a line among the failures; others go on."""
        outcome = Outcome()
        if turn.scenario.measure == "load":
            self._play_side_by_side(turn, outcome)
        else:
            self._play_alone(turn, outcome)
        return outcome

    def _play_side_by_side(self, turn: Turn, outcome: Outcome) -> None:
        scenario = turn.scenario
        with ExitStack() as stack:
            arms: dict[str, Arm] = {}
            for name in self._willing(turn):
                with self._failures_noted(turn, name, outcome):
                    arm = stack.enter_context(self._started(name, scenario))
                    self._bench.warm_up(arm, scenario.load)
                    arms[name] = arm
            for round_number in range(1, turn.rounds + 1):
                for name, arm in list(arms.items()):
                    self._tell(turn, name, round_number)
                    del arms[name]
                    with self._failures_noted(turn, name, outcome):
                        run = self._bench.run_load(arm, scenario.name, scenario.load, round_number)
                        outcome.loads.append(run)
                        arms[name] = arm

    def _play_alone(self, turn: Turn, outcome: Outcome) -> None:
        left = self._willing(turn)
        for round_number in range(1, turn.rounds + 1):
            for name in list(left):
                self._tell(turn, name, round_number)
                left.remove(name)
                with self._failures_noted(turn, name, outcome):
                    self._run_alone(turn.scenario, name, round_number, outcome)
                    left.append(name)

    def _willing(self, turn: Turn) -> list[str]:
        return [name for name in turn.arms if name not in self._would_not_start]

    def _run_alone(self, scenario: Scenario, name: str, round_number: int, outcome: Outcome) -> None:
        if scenario.measure == "instructions":
            with tempfile.TemporaryDirectory(prefix="pgmux-bench-") as folder:
                run = self._bench.run_instructions(
                    scenario.name, name, scenario.load, scenario.pool_size, Path(folder)
                )
            outcome.counts.append(run)
            return
        with self._started(name, scenario) as arm:
            if scenario.measure == "start":
                outcome.counts.append(self._bench.run_start(arm, scenario.name, round_number))
            elif scenario.measure == "idle":
                outcome.memories.append(self._bench.run_idle(arm, scenario.name, round_number))
            else:
                outcome.loads.append(
                    self._bench.run_backends(arm, scenario.name, scenario.load, round_number)
                )

    @contextmanager
    def _started(self, name: str, scenario: Scenario) -> Iterator[Arm]:
        with tempfile.TemporaryDirectory(prefix="pgmux-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)  # a pooler that leaves root must still read its configuration
            auth = "scram-sha-256" if scenario.load.with_password else "trust"
            place = Place(self._backend.address, scenario.pool_size, Path(folder), auth, self._programs)
            with ExitStack() as stack:
                self._would_not_start.add(name)
                arm = stack.enter_context(ARMS[name](place))
                self._would_not_start.remove(name)
                yield arm

    @contextmanager
    def _failures_noted(self, turn: Turn, name: str, outcome: Outcome) -> Iterator[None]:
        try:
            yield
        except (PgmuxError, OSError) as error:
            self._backend.check()  # without it nobody can go on
            outcome.failures.append(f"{turn.scenario.name}, {name}: {error}")

    def _tell(self, turn: Turn, name: str, round_number: int) -> None:
        self._progress.tell(f"{turn.scenario.name}, round {round_number} of {turn.rounds}: {name}")
