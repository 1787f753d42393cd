"""Real processes on the lease table, or on the model of the ProcArray: so many writers, so many readers."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.snapshots.compiled import race
from pgmux.errors import PgmuxError
from pgmux.shm.leases import Verb
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment

PLACES = 128
TAKEN = 100  # of them all the time, besides the writers' own
WORK_NS = 1000  # what everybody does between two operations
_START_S = 0.1


@dataclass(frozen=True)
class Raced:
    """What all processes together did."""

    writers: int
    readers: int
    changes_per_s: float  # a change is a take and a release
    snapshots_per_s: float
    p50_ns: float
    p99_ns: float
    p999_ns: float
    longest_ns: float


def race_leases(writers: int, readers: int, seconds: float) -> Raced:
    """On pgmux's lease table, in a segment of its own."""
    module = race()
    with tempfile.TemporaryDirectory(prefix="pgmux-race-") as folder:
        segment = Segment.create(
            Path(folder) / "segment", workers=max(1, writers) + 1, backends=PLACES, pools=1, clients=1
        )
        pools = Pools(segment)
        pool = pools.register(b"race", b"race", PLACES)
        holder = max(1, writers)
        slots = [pools.open(pool, holder) for _ in range(PLACES)]
        for slot in slots:
            pools.leases.try_move(slot, Verb.ADOPT, holder)
        for slot in slots[TAKEN:]:
            module.give_up(pools, slot, holder)
        return _run(
            writers,
            readers,
            seconds,
            lambda number, until: module.churn_leases(pools, pool, number, until, WORK_NS),
            lambda number, until: module.read_leases(pools, until, WORK_NS),
        )


def race_model(writers: int, readers: int, seconds: float) -> Raced:
    """On the model of the ProcArray."""
    module = race()
    memory = mmap.mmap(-1, module.MODEL_BYTES)
    model = module.Model(memory)
    model.prepare(TAKEN)
    return _run(
        writers,
        readers,
        seconds,
        lambda number, until: model.churn(number, TAKEN + number, until, WORK_NS),
        lambda number, until: model.read(writers + number, until, WORK_NS),
    )


def _run(
    writers: int,
    readers: int,
    seconds: float,
    write: Callable[[int, int], int],
    read: Callable[[int, int], tuple[int, list[int], int]],
) -> Raced:
    until = time.monotonic_ns() + round((seconds + _START_S) * 1e9)
    children = [_fork(lambda number=number: write(number, until)) for number in range(writers)]  # type: ignore[misc]
    children += [_fork(lambda number=number: read(number, until)) for number in range(readers)]  # type: ignore[misc]
    told = [_collect(*child) for child in children]
    counts = [sum(each) for each in zip(*(histogram for _, histogram, _ in told[writers:]), strict=True)]
    length = seconds + _START_S
    return Raced(
        writers,
        readers,
        changes_per_s=sum(told[:writers]) / length,
        snapshots_per_s=sum(done for done, _, _ in told[writers:]) / length,
        p50_ns=_percentile(counts, 50),
        p99_ns=_percentile(counts, 99),
        p999_ns=_percentile(counts, 99.9),
        longest_ns=max((longest for _, _, longest in told[writers:]), default=0),
    )


def _fork(work: Callable[[], Any]) -> tuple[int, int]:
    """A child that does the work and writes down what it gives; (its id, where to read that)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        with open(writing, "wb") as output:
            pickle.dump(work(), output)
    finally:
        os._exit(0)


def _collect(pid: int, reading: int) -> Any:
    with open(reading, "rb") as told:
        data = told.read()
    os.waitpid(pid, 0)
    if not data:
        raise PgmuxError("a process of the race died")
    return pickle.loads(data)  # our own child wrote it


def _percentile(counts: list[int], percent: float) -> float:
    wanted, below = sum(counts) * percent / 100, 0
    for bucket, count in enumerate(counts):
        below += count
        if below > wanted:
            return float(_value_of(bucket))
    return 0.0


def _value_of(bucket: int) -> float:
    """The middle of a bucket of race.pyx."""
    if bucket < 16:
        return bucket
    shift = bucket // 8 - 1
    return (bucket - shift * 8 + 0.5) * (1 << shift)
