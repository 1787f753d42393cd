"""Kills a worker and takes the time, in a process of its own: its figures must not be those of a busy interpreter.

    with Stopwatch(pgmux) as stopwatch:
        told = stopwatch.kill(pid)

The clock starts with kill -9. `served_s`: until every one of NEWCOMERS, who connect at that instant and whom the
kernel spreads over the accept queues of the living and the dead, has logged in and had a transaction; `usual_s`: the
same a moment before, when nobody died. `recovered_s`: until every backend that the dead worker had leased is fenced,
ended by PostgreSQL, and its slot free for another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from tests.servers import Pgmux, wait_until
from tests.wire import Wire, WireClosedError

NEWCOMERS = 4
_LIMIT_S = 30.0
_GLANCE_S = 0.0005
_HELD = (Phase.OPENING, Phase.LEASED, Phase.CLOSING)


class Told(NamedTuple):
    """One death."""

    served_s: float
    recovered_s: float
    leased: int  # backends that the worker had when it died
    usual_s: float


class Stopwatch:
    """The process, while the with statement lasts."""

    def __init__(self, pgmux: Pgmux) -> None:
        self._command = [sys.executable, "-m", "tests.chaos.stopwatch", pgmux.host, str(pgmux.port)]
        self._command.append(f"{pgmux.folder}/run/pgmux.shm")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def kill(self, worker: int) -> Told:
        """Kills a worker, by its number, once it is born; gives how long it took to get over it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{worker}\n")
        line = self._process.stdout.readline()
        assert line, "the stopwatch has failed"
        return Told(*json.loads(line))


def main() -> None:
    host, port, path = sys.argv[1:]
    pools = Pools(Segment.attach(path))
    for line in sys.stdin:
        print(json.dumps(_time_death(pools, host, int(port), int(line))), flush=True)


def _time_death(pools: Pools, host: str, port: int, number: int) -> Told:
    with Newcomers(host, port) as usual:
        pass
    with Newcomers(host, port) as newcomers:
        pid = wait_until(lambda: pools.workers.read(number)["pid"], what="a worker")
        os.kill(pid, signal.SIGKILL)
        held = dict(_held_by(pools, number))  # it may be dead already: nobody fences before it is reaped
        recovered_s = 0.0
        while any(_is_still_lost(pools, slot, generation) for slot, generation in held.items()):
            recovered_s = time.perf_counter() - newcomers.begin
            assert recovered_s < _LIMIT_S, f"of {held} some are lost: {pools.leases.snapshot()}"
            time.sleep(_GLANCE_S)
    return Told(newcomers.took_s(), recovered_s, len(held), usual.took_s())


class Newcomers:
    """They come when the with statement begins, and have been served when it ends."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._gate = threading.Event()
        self._served: list[float] = []

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._come) for _ in range(NEWCOMERS)]
        for each in self._threads:
            each.start()
        self.begin = time.perf_counter()
        self._gate.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._threads:
            each.join()

    def took_s(self) -> float:
        """Until the last of them was served."""
        assert len(self._served) == NEWCOMERS, f"of {NEWCOMERS} newcomers {len(self._served)} were served"
        return max(self._served) - self.begin

    def _come(self) -> None:
        self._gate.wait()
        while time.perf_counter() < self.begin + _LIMIT_S:
            try:
                with Wire(*self._address, timeout_s=_LIMIT_S) as client:
                    client.startup()
                    if client.query("SELECT 1").value == b"1":
                        self._served.append(time.perf_counter())
                        return
            except (OSError, WireClosedError):
                continue  # accepted by the dying one: it comes again


def _held_by(pools: Pools, worker: int) -> Iterator[tuple[int, int]]:
    """(slot, generation) of what a worker has leased."""
    for slot, (phase, owner, _, generation) in enumerate(pools.leases.snapshot()):
        if owner == worker and phase in _HELD:
            yield slot, generation


def _is_still_lost(pools: Pools, slot: int, generation: int) -> bool:
    """Whether a slot is as it was at its worker's death, or being closed since."""
    phase, _, _, now = pools.leases.read(slot)
    return (now == generation and phase in _HELD) or phase == Phase.CLOSING


if __name__ == "__main__":
    main()
