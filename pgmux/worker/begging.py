"""Begging: a pool that has no backend gets one, though all there may be are busy and clients wait for each.

Without it a pool whose queue is never empty would keep its backends for ever, for none of them is ever FREE. So a pool
that has none, and whose clients have waited for a while, has one of the richest pool's retired: it is closed at the
end of its transaction, as one that has grown old, and who has the fewest backends opens the next.

Where every pool is poor the oldest goes, so that they take turns. One is asked for at a time, and none that has only
just come: a log-in must pay.
"""

from collections import Counter
from typing import Final

from pgmux.control.clock import Clock
from pgmux.shm.leases import Phase, Private
from pgmux.shm.pools import ALL_FULL, DATABASE_FULL, Pools

BEG_AFTER_SECONDS: Final = 0.1  # without a backend
_STAY_US: Final = 200_000  # a backend is left alone for so long after its log-in
_GIVEN_UP_AFTER_US: Final = 1_000_000  # one that was asked for, and is in a transaction that does not end


def beg(pools: Pools, pool: int, limit: int) -> int | None:
    """Have a backend of another pool retired. `limit`: the one that was reached, as Pools.open tells it.

    Gives its slot; None when there is none to be had, or one is on its way.
    """
    if limit not in (ALL_FULL, DATABASE_FULL):
        return None
    return pools.segment.locked(lambda: _choose(pools, pool, limit))


def _choose(pools: Pools, pool: int, limit: int) -> int | None:
    now_us, database = Clock().now_us, pools.database_record(pool)
    owned: Counter[int] = Counter()
    candidates = []
    for slot, (phase, _, other, _) in enumerate(pools.leases.snapshot()):
        if phase == Phase.EMPTY or (limit == DATABASE_FULL and pools.database_record(other) != database):
            continue
        if phase in (Phase.OPENING, Phase.CLOSING):
            return None  # there will be room in a moment, or somebody has just had it
        backend = pools.describe_slot(slot)
        age_us, busy_us = now_us - backend["opened_at_us"], now_us - backend["leased_at_us"]
        if backend["expires_s"] == 1 and busy_us < _GIVEN_UP_AFTER_US:
            return None
        owned[other] += 1
        if not backend["pins"] and backend["private"] is Private.NOT_PRIVATE and age_us > _STAY_US:
            candidates.append((other, busy_us > _GIVEN_UP_AFTER_US, backend["opened_at_us"], slot))
    if not candidates:
        return None
    *_, slot = min(candidates, key=lambda one: (one[1], -owned[one[0]], one[2]))
    pools.renewal.retire_next(slot)
    return slot
