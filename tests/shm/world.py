"""The shared memory of a small pgmux without the pgmux: segment, pools, and backends made of nothing."""

from __future__ import annotations

import os
from pathlib import Path

from pgmux.shm.clients import Clients
from pgmux.shm.leases import Phase, Verb
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from pgmux.shm.workers import make_bells


class World:
    """A segment in a folder of the test's, with bells for all its workers. Leave it by `close`."""

    def __init__(
        self, folder: Path, *, workers: int = 4, backends: int = 8, pools: int = 4, clients: int = 20
    ) -> None:
        self.path = folder / "pgmux.shm"
        self.segment = Segment.create(
            self.path, workers=workers, backends=backends, pools=pools, clients=clients
        )
        self.bells = make_bells(workers)
        self.pools = Pools(self.segment, self.bells)
        self.leases = self.pools.leases
        self.waiters = self.pools.waiters
        self.workers = self.pools.workers
        self.clients = Clients(self.segment)

    def close(self) -> None:
        """Closes the bells."""
        while self.bells:
            os.close(self.bells.pop())

    def pool(self, size: int, name: str = "app", database_limit: int = 0, *, backends: int = 0) -> int:
        """A pool of that size, with so many backends FREE in it. Gives its index."""
        pool = self.pools.register(name.encode(), b"app", size, database_limit)
        for _ in range(backends):
            slot = self.open(pool, 0)
            assert slot is not None
            assert self.pools.try_release(slot, 0)
        return pool

    def open(self, pool: int, worker: int) -> int | None:
        """A new backend, LEASED to the worker; None at a limit."""
        slot = self.pools.open(pool, worker)
        if slot < 0:
            return None
        self.pools.introduce(slot, 1000 + slot, b"key%d" % slot)
        assert self.pools.try_adopt(slot, worker)
        return slot

    def take(self, pool: int, worker: int, favourite: int = -1) -> int:
        """A slot leased to the worker; there must be one."""
        slot = self.pools.try_take(pool, worker, favourite)
        assert slot is not None
        return slot

    def take_unpaused(self, slot: int, worker: int) -> None:
        """Leases a free backend although its pool may be paused, as who is to close it does."""
        assert self.leases.try_move(slot, Verb.TAKE, worker, phase=Phase.FREE)

    def park(self, pool: int, worker: int, now: int = 0) -> int:
        """A ticket; the ring must have room."""
        ticket = self.waiters.try_park(pool, worker, now)
        assert ticket is not None
        return ticket

    def phase(self, slot: int) -> Phase:
        """A slot's phase."""
        return self.leases.read(slot)[0]

    def owner(self, slot: int) -> int:
        """A slot's owner."""
        return self.leases.read(slot)[1]

    def has_rung(self, worker: int) -> bool:
        """Whether the worker's bell was rung since the last time this was asked."""
        try:
            os.eventfd_read(self.bells[worker])
        except BlockingIOError:
            return False
        return True
