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
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest.arms import Place
from loadtest.callgrind import Crowd, Watched, ask, gather, instructions_per_transaction
from loadtest.nullpg import NullBackend
from pgmux.relay.volley import Volley
from tests.servers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

POOL_SIZE = 20
BATCHED = Volley().is_possible  # else each send is a call of its own


@pytest.fixture
def crowd() -> Iterator[Callable[[Watched, int], Crowd]]:
    """Clients that are logged in and have each asked before."""
    with ExitStack() as stack:
        yield lambda arm, count: gather(stack, arm, count)


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
@pytest.mark.parametrize(("clients", "limit"), [(1, 3150), (8, 2600)])  # an audit a second with it
def test_a_transaction_takes_few_instructions_of_the_relay(
    nullpg: NullBackend, tmp_path: Path, clients: int, limit: int
) -> None:
    assert instructions_per_transaction(nullpg.address, POOL_SIZE, clients, tmp_path) <= limit
