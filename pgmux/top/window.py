"""Rates and waits of the last seconds, from counters that only grow.

Keeps the counters as they were at each look, and compares the newest with the oldest that is still within the
window. Nothing is asked of the workers: they count, and we subtract.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SECONDS = 5.0

Totals = Mapping[str, Any]  # of one pool, as CounterTable.total gives them


class Traffic(NamedTuple):
    """What went through one pool within the window."""

    transactions: float = 0.0  # a second
    queries: float = 0.0
    bytes: float = 0.0  # both ways
    wait_p50_us: int = 0  # of all transactions, those included that need not wait
    wait_p99_us: int = 0
    transaction_p99_us: int = 0


class Window:
    """The counters of all pools over the last seconds."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._looks: deque[tuple[float, dict[int, Totals]]] = deque()

    def add(self, now: float, totals: dict[int, Totals]) -> None:
        """The counters of each pool, by its number, at a moment in seconds."""
        self._looks.append((now, totals))
        while len(self._looks) > 2 and now - self._looks[1][0] >= self._seconds:
            self._looks.popleft()

    def traffic(self, pool: int) -> Traffic:
        """What went through a pool; all zeros before there are two looks."""
        (since, first), (now, last) = self._looks[0], self._looks[-1]
        seconds = now - since
        if seconds <= 0 or pool not in last:
            return Traffic()
        begun = first.get(pool)  # None: the pool is younger than the window

        def grown(name: str) -> int:
            return int(last[pool][name] - (begun[name] if begun else 0))

        def counted(name: str) -> list[int]:
            before = begun[name] if begun else [0] * len(last[pool][name])
            return [new - old for new, old in zip(last[pool][name], before, strict=True)]

        waits = counted("wait")
        at_once = max(0, grown("leases") - sum(waits))
        return Traffic(
            transactions=grown("transactions") / seconds,
            queries=grown("queries") / seconds,
            bytes=(grown("bytes_received") + grown("bytes_sent")) / seconds,
            wait_p50_us=percentile_us(waits, 0.50, at_once),
            wait_p99_us=percentile_us(waits, 0.99, at_once),
            transaction_p99_us=percentile_us(counted("transaction"), 0.99),
        )


def percentile_us(buckets: Sequence[int], share: float, zeros: int = 0) -> int:
    """A duration that this share (0 to 1) of all is below, `zeros` more than the buckets hold took no time.

    It is the upper bound of a bucket, [2^n, 2^(n+1)) microseconds: up to twice the true one, and never less.
    """
    wanted = share * (sum(buckets) + zeros)
    counted = zeros
    if not wanted or counted >= wanted:
        return 0
    for bucket, count in enumerate(buckets):
        counted += count
        if counted >= wanted:
            return 1 << (bucket + 1)
    return 0
