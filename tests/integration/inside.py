"""What pgmux's shared memory tells of its inside, read-only: who serves whom, and how much was done."""

from __future__ import annotations

from functools import partial
from typing import Any

import psycopg

from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from pgmux.shm.workers import WorkerState
from tests.servers import Pgmux, wait_until
from tests.wire import Wire

_TRIES = 200  # connections until the kernel has sent one to every worker


class Inside:
    """One running pgmux, seen through its segment. Make a new one after a restart."""

    def __init__(self, pgmux: Pgmux) -> None:
        self._pgmux = pgmux
        self._segment = Segment.attach(f"{pgmux.folder}/run/pgmux.shm")
        self._counters = CounterTable(self._segment)
        self._clients = Clients(self._segment)
        self._pools = Pools(self._segment)

    def counts(self, name: str, pool: int = 0) -> list[int]:
        """One counter of a pool, by worker."""
        return [self._counters.read(worker, pool)[name] for worker in range(self._segment.worker_count)]

    def worker_of(self, client: Wire | psycopg.Connection[Any]) -> int:
        """The number of the worker that serves a client: its record is named by the pid of its cancel key."""
        pid = client.pid if isinstance(client, Wire) else client.info.backend_pid
        record = self._clients.read(pid - 1)
        assert record is not None, f"pgmux knows no client {pid}"
        assert record["worker"] is not None, f"client {pid} is still to come"
        return record["worker"]

    def pid_of(self, worker: int) -> int:
        """The process id of a worker; 0 while its place is vacant."""
        return int(self._pools.workers.read(worker)["pid"])

    def pids(self) -> list[int]:
        """The process ids of the workers that live; another child of the supervisor is none of them."""
        return [pid for worker in range(self._segment.worker_count) if (pid := self.pid_of(worker))]

    def absent(self) -> list[int]:
        """The workers for which others stand in."""
        return self._pools.workers.absent(self._segment.worker_count)

    def wait_until_serves(self, worker: int) -> None:
        """Waits until a worker does."""
        wait_until(
            lambda: self._pools.workers.read(worker)["state"] == WorkerState.SERVING,
            what=f"worker {worker} to serve",
        )

    def wait_until_all_serve(self, beats: int = 3) -> None:
        """Waits until every worker serves, and has looked around so many times since this was asked.

        For a moment after its birth others accept in its place, and after a client has left it takes all comers.
        """
        for _ in range(beats):
            before = [self._pools.workers.read(worker) for worker in range(self._segment.worker_count)]
            for row in before:
                wait_until(partial(self._has_beaten, row), what="all to serve")

    def _has_beaten(self, before: Any) -> bool:
        now = self._pools.workers.read(before["worker"])
        return now["state"] == WorkerState.SERVING and now["heartbeat_us"] > before["heartbeat_us"]

    def clients(self) -> int:
        """How many clients are connected, those included that are logging in."""
        return len(self._clients.snapshot())

    def waiting(self, pool: int = 0) -> int:
        """How many clients of a pool wait for a backend."""
        return int(self._pools.waiters.waiting(pool))

    def wait_for_waiting(self, count: int, pool: int = 0) -> None:
        """Waits until so many wait."""
        wait_until(lambda: self.waiting(pool) == count, what=f"{count} waiting clients")

    def phases(self) -> list[Phase]:
        """The phase of every slot that is not EMPTY."""
        told = [Phase(phase) for phase, *_ in self._pools.leases.snapshot()]
        return [phase for phase in told if phase != Phase.EMPTY]

    def key_lengths(self) -> set[int]:
        """The bytes that the cancel keys of our backends have."""
        slots = self._pools.leases.snapshot()
        return {
            len(self._pools.identity(slot)[1])
            for slot, (phase, *_) in enumerate(slots)
            if phase in (Phase.FREE, Phase.LEASED)
        }

    def a_client_on_each_worker(self, **login: Any) -> dict[int, Wire]:
        """Connects until every worker has got a client, and gives one of each, by worker."""
        found: dict[int, Wire] = {}
        nobody = self._segment.worker_count
        wait_until(lambda: not self._pools.workers.absent(but=nobody), what="every worker to accept clients")
        for _ in range(_TRIES):
            if len(found) == self._segment.worker_count:
                return dict(sorted(found.items()))
            wire = self._pgmux.wire()
            wire.startup(**login)
            if found.setdefault(self.worker_of(wire), wire) is not wire:
                wire.terminate()
        raise AssertionError(f"of {_TRIES} connections none reached a worker other than {sorted(found)}")
