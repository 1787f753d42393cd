"""Instructions of the relay for each transaction, counted by callgrind: a figure that repeats on any machine.

Only what the worker spends in Loop.run is counted, and the difference of two lengths of the same run is taken, so that
log-ins and start are not in it. Valgrind makes everything fifty times slower.

Source: callgrind manual, "--toggle-collect".
"""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil

from loadtest.arms import Pgmux, Place
from loadtest.client import Address, Client, log_in
from loadtest.program import Program
from pgmux.errors import PgmuxError

_FEW, _MANY = 400, 1600
_WARM_UP = 20
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 120, 60

Crowd = list[Client]


class Watched(Pgmux):
    """A pgmux of one worker, run by another program if there is a `prefix`."""

    def __init__(self, place: Place, prefix: tuple[str, ...] = ()) -> None:
        super().__init__(place, workers=1)
        self._prefix = prefix

    def _start(self, place: Place, port: int) -> Program:
        configuration = self.write_configuration(place, port)
        command = [*self._prefix, sys.executable, "-m", "pgmux", "run", "-c", str(configuration)]
        patience = (_START_TIMEOUT_S, _STOP_TIMEOUT_S) if self._prefix else ()
        return Program(self.name, command, place.folder, None, *patience)

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        return int(psutil.Process(self.pid).children()[0].pid)


def gather(stack: ExitStack, arm: Watched, count: int) -> Crowd:
    """Clients that are logged in and have each asked before."""
    clients = [stack.enter_context(log_in(arm.address)) for _ in range(count)]
    ask(clients, _WARM_UP)
    return clients


def ask(clients: Crowd, times: int) -> None:
    """Every client asks, then every client has its answer, and so on."""
    for _ in range(times):
        for client in clients:
            client.send_query("SELECT 1")
        for client in clients:
            client.wait_until_ready()


def instructions_per_transaction(backend: Address, pool_size: int, clients: int, folder: Path) -> float:
    """Of the relay in user space, for a SELECT 1 by simple protocol. Raises PgmuxError without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise PgmuxError("instructions are counted by callgrind: apt-get install valgrind")
    totals = []
    for transactions in (_FEW, _MANY):
        run = folder / str(transactions)
        run.mkdir()
        with Watched(Place(backend, pool_size, run), _prefix(valgrind, run)) as arm, ExitStack() as stack:
            ask(gather(stack, arm, clients), transactions // clients)
        totals.append(_counted(run))
    return (totals[1] - totals[0]) / (_MANY - _FEW)


def _prefix(valgrind: str, folder: Path) -> tuple[str, ...]:
    return (
        valgrind,
        "--tool=callgrind",
        f"--callgrind-out-file={folder}/callgrind.%p",
        "--collect-atstart=no",
        "--toggle-collect=*4Loop_*run",
    )


def _counted(folder: Path) -> int:
    """What the one process that relayed has counted."""
    counted = [re.search(r"^totals: (\d+)", path.read_text(), re.M) for path in folder.glob("callgrind.*")]
    return max(int(found[1]) for found in counted if found)
