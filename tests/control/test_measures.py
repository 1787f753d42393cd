"""Histograms, reasons for waiting, and traffic: small pure things."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.control.histogram import cumulative, describe, percentile_us
from pgmux.control.reasons import REASONS, why
from pgmux.control.traffic import describe_traffic
from tests.control.bureau import Bureau


def buckets(**counts: int) -> list[int]:
    found = [0] * 32
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


def test_a_percentile_is_never_less_than_the_true_one() -> None:
    durations = sorted([3] * 50 + [100] * 40 + [5000] * 9 + [70_000])
    histogram = buckets(b1=50, b6=40, b12=9, b16=1)
    for share in (0.1, 0.5, 0.51, 0.9, 0.99, 1.0):
        true = durations[max(round(share * len(durations)) - 1, 0)]
        assert true < percentile_us(histogram, share) <= 2 * true
    assert percentile_us([0] * 32, 0.5) == 0


def test_bounds_are_told_in_units_that_people_read() -> None:
    assert describe(buckets(b0=1, b8=2, b9=3, b19=4, b31=5)) == "<2us:1 <512us:2 <1ms:3 <1s:4 <4096s:5"
    assert describe([0] * 32) == ""


def test_counts_add_up_from_bucket_to_bucket() -> None:
    assert list(cumulative([1, 0, 2])) == [(2, 1), (4, 1), (8, 3)]


QUIET: dict[str, Any] = {
    "is_paused": False,
    "trouble": "",
    "usable": 2,
    "opening": 0,
    "backends": 2,
    "pool_size": 5,
    "in_database": 2,
    "database_limit": 0,
    "in_all": 2,
    "max_backends": 80,
}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, "turn"),
        ({"opening": 1}, "opening"),
        ({"in_all": 80, "opening": 1}, "max_backends"),
        ({"in_database": 7, "database_limit": 7, "in_all": 80}, "database"),
        ({"backends": 5, "in_database": 7, "database_limit": 7}, "pool_size"),
        ({"trouble": "08001: refused", "usable": 0}, "postgresql"),
        ({"trouble": "08001: refused"}, "postgresql"),
        ({"trouble": "08001: refused", "backends": 5}, "pool_size"),
        ({"is_paused": True, "trouble": "x", "usable": 0, "backends": 5}, "paused"),
    ],
)
def test_the_reason_is_the_one_that_has_to_go_first(found: dict[str, Any], reason: str) -> None:
    word, sentence = why(**{**QUIET, **found})
    assert word == reason
    assert sentence
    assert "{" not in sentence


def test_every_reason_has_a_sentence() -> None:
    assert all(sentence[0].isupper() for sentence in REASONS.values())


def test_what_was_done_is_told_in_a_line_and_nothing_when_nothing_was(bureau: Bureau) -> None:
    pool, periods = bureau.world.pool(1), bureau.figures.periods
    assert describe_traffic(bureau.world.pools, periods) == ""
    bureau.counters.add(1, pool, "transactions", 4)
    bureau.counters.add(1, pool, "transaction_us", 100)
    told = describe_traffic(bureau.world.pools, periods)
    assert "transactions/s" in told
    assert "transaction 25us" in told
    periods.take()
    assert describe_traffic(bureau.world.pools, periods) == ""
