"""Which pool would do, and why: from how many backends were in a transaction at once.

Theory. A backend is needed from BEGIN to COMMIT and is idle otherwise, so a pool has to be as large as the
number of transactions that are open at once, and a burst over what was seen: half as much again. It need
not be smaller than the number of cores, since as many can really work at once. Between what is beyond,
PostgreSQL only switches: transactions wait for cores in place of clients waiting for backends.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pgmux.doctor.facts import Advice, Backend, PoolUse, Server
from pgmux.doctor.words import many

BURST = 1.5  # of the most that was seen
SMALLEST_POOL = 2


class Sample(NamedTuple):
    """One (database, user) at one instant."""

    database: str
    user: str
    backends: int
    active: int  # running a query
    held: int  # in a transaction, but waiting for its client


def advise(
    server: Server,
    backends: Sequence[Backend],
    samples: Sequence[Sequence[Sample]],
    watched_s: float,
    average: float | None,
) -> Advice:
    """`samples`: all of them, at instants within `watched_s` seconds; `average`: of busy ones, or None."""
    busy = max((sum(one.active + one.held for one in instant) for instant in samples), default=0)
    active = max((sum(one.active for one in instant) for instant in samples), default=0)
    highest = max(busy, math.ceil(average or 0))  # what was seen may be a calm moment
    cores = server.cores or 0
    size = max(math.ceil(BURST * highest), cores, SMALLEST_POOL)
    size = max(min(size, server.for_clients), SMALLEST_POOL)
    spare = [backend for backend in backends if backend.state == "idle" and not backend.is_pgmuxs]
    saved = min(max(0, len(backends) - size), len(spare))
    return Advice(
        busy_at_most=busy,
        busy_on_average=average,
        samples=len(samples),
        watched_s=watched_s,
        max_backends=size,
        why=_explain(size, highest, active, cores, watched_s, average),
        saved_backends=saved,
        saved_bytes=_memory_of(spare, saved),
        pools=tuple(_pools(samples)),
    )


def _explain(
    size: int, highest: int, active: int, cores: int, watched_s: float, average: float | None
) -> str:
    were = "was" if highest == 1 else "were"
    seen = f"at most {many(highest, 'transaction')} {were} open at once within {watched_s:.0f} s"
    if average is not None:
        seen += f" ({average:.1f} on average since the statistics began)"
    if size == math.ceil(BURST * highest):
        why = f"{seen}; half as much again, for bursts, is {size}"
    elif size == cores:
        why = f"{seen}, and {cores} CPU cores can work at once"
    else:
        why = seen
    if cores and active > 2 * cores:
        why += (
            f". {active} queries ran at once on {cores} cores: fewer backends would make each of them faster"
        )
    return why


def _memory_of(spare: Sequence[Backend], count: int) -> int | None:
    """What `count` idle backends have for themselves, by their average."""
    known = [backend.private for backend in spare if backend.private is not None]
    return round(sum(known) / len(known) * count) if known else (None if count else 0)


def _pools(samples: Iterable[Sequence[Sample]]) -> Iterable[PoolUse]:
    most: dict[tuple[str, str], tuple[int, int]] = {}
    for instant in samples:
        for one in instant:
            backends, busy = most.get((one.database, one.user), (0, 0))
            place = (one.database, one.user)
            most[place] = max(backends, one.backends), max(busy, one.active + one.held)
    for (database, user), (backends, busy) in sorted(most.items(), key=lambda item: -item[1][0]):
        yield PoolUse(database, user, backends, busy, max(math.ceil(BURST * busy), SMALLEST_POOL))
