"""Does anything grow? So many connections and transactions, and after each part of them what pgmux holds.

`python -m loadtest.soak --connections 1000000 --transactions 10000000` (`make soak`) is bounded by count, not by
time. Between two parts all clients have left; what is there then should be what was there before. pgbench makes
the load, nullpg answers. Exits with 1 when something has grown from the first half to the last part.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from loadtest.arms import Pgmux, Place
from loadtest.client import DATABASE, USER
from loadtest.cpu import family
from loadtest.memory import read_memory
from loadtest.nullpg import NullBackend
from loadtest.pgbench import find_pgbench
from pgmux.demo.account import environment
from pgmux.demo.leash import leashed
from pgmux.errors import PgmuxError
from pgmux.shm.clients import Clients
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment

POOL_SIZE, CLIENTS, WORKERS = 20, 64, 2
TOLERANCE = 0.03  # of memory: the allocator's own ups and downs
_SELECT = Path(__file__).parent / "scripts" / "select.sql"
_PEACE_S = 30.0


class Holdings(NamedTuple):
    """What pgmux has when nobody is connected."""

    connections: int  # so far
    transactions: int
    memory: int  # bytes: all processes and the segment, each page once
    descriptors: int  # of all processes
    backends: int  # slots that are not EMPTY
    records: int  # client records in use


class Grown(NamedTuple):
    """What has become more."""

    what: str
    before: int
    now: int


def growth(parts: list[Holdings]) -> Iterator[Grown]:
    """What the last part has more of than any of the first half; not the very first: it fills caches, and opens
    backends. Memory goes up and down by itself, so one part alone says little."""
    settled = parts[1 : max(2, (len(parts) + 1) // 2)] or parts[:1]
    memory = max(part.memory for part in settled)
    if parts[-1].memory > memory * (1 + TOLERANCE):
        yield Grown("memory", memory, parts[-1].memory)
    for what in ("descriptors", "backends", "records"):
        before, now = max(getattr(part, what) for part in settled), getattr(parts[-1], what)
        if now > before:
            yield Grown(what, before, now)


class Soak:
    """One pgmux under load, part after part."""

    def __init__(self, arm: Pgmux) -> None:
        self._arm = arm
        assert arm.segment is not None
        segment = Segment.attach(str(arm.segment))
        self._clients, self._pools = Clients(segment), Pools(segment)
        self._pgbench = find_pgbench()
        self._done = [0, 0]

    def do(self, connections: int, transactions: int) -> Holdings:
        """One part: connections of one transaction each, then the transactions. Raises PgmuxError."""
        for count, *options in ((connections, "-C"), (transactions,)):
            if count:
                self._run(count, options)
        self._done[0] += connections + (CLIENTS if transactions else 0)
        self._done[1] += connections + transactions
        self._wait_for_peace()
        descriptors = sum(process.num_fds() for process in family(self._arm.pid))
        phases = [phase for phase, *_ in self._pools.leases.snapshot()]
        return Holdings(
            self._done[0],
            self._done[1],
            read_memory(self._arm.pid, self._arm.segment).total,
            descriptors,
            sum(phase != Phase.EMPTY for phase in phases),
            len(self._clients.snapshot()),
        )

    def _run(self, count: int, options: list[str]) -> None:
        where = ["-h", self._arm.address.host, "-p", str(self._arm.address.port), "-U", USER]
        what = ["-n", "-f", str(_SELECT), "-c", str(CLIENTS), "-j", "2", "-t", str(-(-count // CLIENTS))]
        command = leashed([str(self._pgbench.program), *where, *what, *options, DATABASE])
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise PgmuxError(f"pgbench failed: {done.stderr.strip()[-400:]}")
        self._arm.check()

    def _wait_for_peace(self) -> None:
        """Until all clients have left and no backend is leased."""
        end = time.monotonic() + _PEACE_S
        while self._clients.snapshot() or any(
            phase == Phase.LEASED for phase, *_ in self._pools.leases.snapshot()
        ):
            if time.monotonic() > end:
                raise PgmuxError(f"{len(self._clients.snapshot())} clients are still there: a record is lost")
            time.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.soak", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--transactions", type=int, default=10_000_000)
    parser.add_argument("--parts", type=int, default=10, help="after each of them it is looked (default: 10)")
    chosen = parser.parse_args(arguments)
    parts: list[Holdings] = []
    with tempfile.TemporaryDirectory(prefix="pgmux-soak-") as name:
        folder = Path(name)
        with NullBackend(folder) as backend, Pgmux(Place(backend.address, POOL_SIZE, folder), WORKERS) as arm:
            soak = Soak(arm)
            print("| connections | transactions | memory | descriptors | backends | client records |")
            print("|---:|---:|---:|---:|---:|---:|")
            for _ in range(chosen.parts):
                part = soak.do(chosen.connections // chosen.parts, chosen.transactions // chosen.parts)
                parts.append(part)
                told = [f"{part.connections:,}", f"{part.transactions:,}", f"{part.memory / 2**20:.1f} MiB"]
                print("|", " | ".join([*told, *map(str, part[3:])]), "|", flush=True)
    grown = list(growth(parts))
    for each in grown:
        print(f"{each.what} has grown from {each.before:,} to {each.now:,}")
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
