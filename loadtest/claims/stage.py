"""What measuring a claim takes: a PostgreSQL or nullpg, arms in front of it, clients, and a line of progress."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from loadtest.arms import Arm, Direct, PgBouncer, Pgmux, Place
from loadtest.client import USER
from loadtest.crowd import Crowd
from loadtest.load import Load
from loadtest.measure import Bench, LoadRun
from loadtest.nullpg import Backend, NullBackend
from loadtest.postgres import PostgresBackend
from pgmux.demo.memory import memory_bytes
from pgmux.demo.terminal import Progress

MakeArm = Callable[[Place], Arm]


def pgmux_with(workers: int) -> MakeArm:
    """pgmux with so many workers."""
    return lambda place: Pgmux(place, workers)


def pgbouncers(processes: int, divides_pool: bool = True) -> MakeArm:
    """PgBouncer, or several that share a port."""
    return lambda place: PgBouncer(place, processes, divides_pool)


DIRECT: MakeArm = Direct


@dataclass
class Stage:
    """How a claim is measured this time."""

    seconds: float = 4  # of each run
    rounds: int = 3
    major: str | None = None  # PostgreSQL's version, None = the newest here
    progress: Progress | None = None

    def tell(self, what: str) -> None:
        """Says what is being done."""
        if self.progress is not None:
            self.progress.tell(what)

    @contextmanager
    def postgres(self, connections: int) -> Iterator[PostgresBackend]:
        """A real PostgreSQL with the scripts' tables."""
        self.tell("PostgreSQL is made")
        with PostgresBackend(self.major, connections) as backend:
            yield backend

    @contextmanager
    def nullpg(self) -> Iterator[NullBackend]:
        """The backend that answers at once."""
        with tempfile.TemporaryDirectory(prefix="pgmux-null-") as folder:
            Path(folder).chmod(0o755)
            with NullBackend(Path(folder)) as backend:
                yield backend

    @contextmanager
    def arm(self, make: MakeArm, backend: Backend, pool_size: int = 20) -> Iterator[Arm]:
        """A pooler, or none, in front of a backend."""
        with ExitStack() as stack:
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="pgmux-claim-", ignore_cleanup_errors=True)
                )
            )
            folder.chmod(0o755)
            yield stack.enter_context(make(Place(backend.address, pool_size, folder)))

    def play(self, load: Load, arm: Arm, backend: Backend, seconds: float | None = None) -> LoadRun:
        """One run of a load."""
        bench = Bench({"crowd": Crowd()}, backend, seconds or self.seconds, 0)
        return bench.run_load(arm, load.script, load, 1)


def backend_processes(backend: PostgresBackend) -> int:
    """PostgreSQL's processes that serve the clients or poolers of a measurement."""
    count = 0
    for process in psutil.Process(backend.pid).children():
        try:
            count += f"{USER} {USER} " in " ".join(process.cmdline())
        except psutil.Error:
            continue
    return count


def postgres_memory(backend: PostgresBackend) -> int:
    """All of PostgreSQL's processes, each shared page once, bytes."""
    root = psutil.Process(backend.pid)
    return memory_bytes([root.pid, *(child.pid for child in root.children(recursive=True))])


def middle(runs: list[LoadRun], field: Callable[[LoadRun], float | None]) -> float:
    """The median over rounds."""
    return median([value for run in runs if (value := field(run)) is not None])
