"""Rates and waits from counters that only grow."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.shm.counters import HISTOGRAMS, NAMES
from pgmux.top.window import Traffic, Window, percentile_us

BUCKETS = 32


def totals(**changed: Any) -> dict[str, Any]:
    """Counters of one pool, all zero but these; a histogram is given as {bucket: count}."""
    row: dict[str, Any] = dict.fromkeys(NAMES, 0)
    row |= {name: [0] * BUCKETS for name in HISTOGRAMS}
    for name, value in changed.items():
        if name in HISTOGRAMS:
            for bucket, count in value.items():
                row[name][bucket] = count
        else:
            row[name] = value
    return row


def test_one_look_tells_no_rate() -> None:
    window = Window()
    window.add(1.0, {0: totals(transactions=100)})
    assert window.traffic(0) == Traffic()


def test_rates_are_of_the_time_between_the_looks() -> None:
    window = Window()
    window.add(10.0, {0: totals(transactions=100, queries=300, bytes_sent=1_000)})
    window.add(12.0, {0: totals(transactions=150, queries=500, bytes_sent=1_000, bytes_received=4_000)})
    traffic = window.traffic(0)
    assert (traffic.transactions, traffic.queries, traffic.bytes) == (25.0, 100.0, 2_000.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window(seconds=5.0)
    for second in range(20):
        window.add(float(second), {0: totals(transactions=1_000 if second else 0)})
    assert window.traffic(0).transactions == 0.0


def test_a_pool_that_is_younger_than_the_window_counts_from_zero() -> None:
    window = Window()
    window.add(1.0, {})
    window.add(2.0, {3: totals(transactions=7)})
    assert window.traffic(3).transactions == 7.0
    assert window.traffic(4) == Traffic()


def test_waits_are_of_all_transactions_also_those_that_need_not_wait() -> None:
    window = Window()
    window.add(1.0, {0: totals()})
    window.add(2.0, {0: totals(leases=100, wait={10: 40})})
    traffic = window.traffic(0)
    assert traffic.wait_p50_us == 0
    assert traffic.wait_p99_us == 2_048


@pytest.mark.parametrize(
    ("buckets", "share", "zeros", "expected"),
    [
        ([], 0.5, 0, 0),
        ([0, 0, 0], 0.99, 0, 0),
        ([1], 0.5, 0, 2),
        ([0, 0, 5, 0, 5], 0.5, 0, 8),
        ([0, 0, 5, 0, 5], 0.51, 0, 32),
        ([0, 0, 1], 0.99, 99, 0),
        ([0, 0, 2], 0.99, 98, 8),
    ],
)
def test_a_percentile_is_the_bound_of_its_bucket(
    buckets: list[int], share: float, zeros: int, expected: int
) -> None:
    assert percentile_us(buckets, share, zeros) == expected
