"""What a transaction may cost, in counts that repeat on any machine: system calls, and instructions of the
relay.

The limits are a little above what is reached. Where strace or valgrind is missing, or may not trace, these
tests are skipped: .ci/packages installs both.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from loadtest.arms import Pgmux, Place
from loadtest.client import Client, log_in
from loadtest.nullpg import NullBackend
from loadtest.program import Program
from pgmux.relay.volley import Volley
from tests.servers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

POOL_SIZE = 20
WARM_UP = 20
BATCHED = Volley().is_possible  # else each send is a call of its own


class Watched(Pgmux):
    """A pgmux of one worker, run by another program if there is a `prefix`."""

    def __init__(self, place: Place, prefix: tuple[str, ...] = ()) -> None:
        super().__init__(place, workers=1)
        self._prefix = prefix

    def _start(self, place: Place, port: int) -> Program:
        configuration = self.write_configuration(place, port)
        command = [*self._prefix, sys.executable, "-m", "pgmux", "run", "-c", str(configuration)]
        return Program(self.name, command, place.folder)

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        return int(psutil.Process(self.pid).children()[0].pid)


Crowd = list[Client]


@pytest.fixture
def crowd() -> Iterator[Callable[[Watched, int], Crowd]]:
    """Clients that are logged in and have each asked before."""
    with ExitStack() as stack:

        def gather(arm: Watched, count: int) -> Crowd:
            clients = [stack.enter_context(log_in(arm.address)) for _ in range(count)]
            ask(clients, WARM_UP)
            return clients

        yield gather


def ask(clients: Crowd, times: int) -> None:
    """Every client asks, then every client has its answer, and so on."""
    for _ in range(times):
        for client in clients:
            client.send_query("SELECT 1")
        for client in clients:
            client.wait_until_ready()


def system_calls(pid: int, folder: Path, work: Callable[[], None]) -> int:
    """Those of a process while `work` is done."""
    summary = folder / "strace"
    strace = subprocess.Popen(
        ["strace", "-c", "-f", "-o", str(summary), "-p", str(pid)], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: is_traced(pid) or strace.poll() is not None, 20, "strace to attach")
        if strace.poll() is not None:
            assert strace.stderr is not None
            pytest.skip(f"strace may not trace here: {strace.stderr.read().decode().strip()}")
        work()
    finally:
        strace.send_signal(signal.SIGINT)
        strace.communicate()
    return sum(
        map(int, re.findall(r"^ *\d[\d.]* +\d[\d.]* +\d+ +(\d+) .*(?<!total)$", summary.read_text(), re.M))
    )


def is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(("clients", "limit"), [(1, 6.2), (8, 3.2 if BATCHED else 4.7)])
def test_a_transaction_takes_few_system_calls(
    nullpg: NullBackend, crowd: Callable[[Watched, int], Crowd], tmp_path: Path, clients: int, limit: float
) -> None:
    times = 4000 // clients
    with Watched(Place(nullpg.address, POOL_SIZE, tmp_path)) as arm:
        asking = crowd(arm, clients)
        calls = system_calls(arm.worker, tmp_path, lambda: ask(asking, times))
    assert calls / (times * clients) <= limit


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
@pytest.mark.parametrize(("clients", "limit"), [(1, 5000), (8, 4200)])  # an audit a second with it
def test_a_transaction_takes_few_instructions_of_the_relay(
    nullpg: NullBackend,
    crowd: Callable[[Watched, int], Crowd],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clients: int,
    limit: int,
) -> None:
    # Valgrind makes everything fifty times slower.
    monkeypatch.setattr("loadtest.program._START_TIMEOUT_S", 120)
    monkeypatch.setattr("loadtest.program._STOP_TIMEOUT_S", 60)
    few, many = 400, 1600
    totals = []
    for transactions in (few, many):  # the difference is free of the log-ins
        folder = tmp_path / str(transactions)
        folder.mkdir()
        with Watched(Place(nullpg.address, POOL_SIZE, folder), callgrind(folder)) as arm:
            ask(crowd(arm, clients), transactions // clients)
        totals.append(instructions(folder))
    assert (totals[1] - totals[0]) / (many - few) <= limit


def callgrind(folder: Path) -> tuple[str, ...]:
    """The prefix of a command whose processes count the instructions that they spend in Loop.run."""
    return (
        str(shutil.which("valgrind")),
        "--tool=callgrind",
        f"--callgrind-out-file={folder}/callgrind.%p",
        "--collect-atstart=no",
        "--toggle-collect=*4Loop_*run",
    )


def instructions(folder: Path) -> int:
    """What the one process that relayed has counted."""
    counted = [re.search(r"^totals: (\d+)", path.read_text(), re.M) for path in folder.glob("callgrind.*")]
    return max(int(found[1]) for found in counted if found)
