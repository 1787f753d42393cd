"""Histograms of durations: bucket n counts those from 2^n up to 2^(n+1) microseconds, the first all below 2.

See shm/counters.
"""

from collections.abc import Iterator, Sequence


def upper_bound_us(bucket: int) -> int:
    """What the durations in a bucket are below; the last bucket has no bound but this one."""
    return 1 << (bucket + 1)


def percentile_us(buckets: Sequence[int], share: float) -> int:
    """A duration that at least this share (0 to 1) of all is below; 0 when there is none.

    It is the bound of a bucket, so up to twice as much as the true one, and never less.
    """
    wanted = share * sum(buckets)
    counted = 0
    for bucket, count in enumerate(buckets):
        counted += count
        if count and counted >= wanted:
            return upper_bound_us(bucket)
    return 0


def cumulative(buckets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(bound in microseconds, how many durations are below it), bucket by bucket."""
    counted = 0
    for bucket, count in enumerate(buckets):
        counted += count
        yield upper_bound_us(bucket), counted


def describe(buckets: Sequence[int]) -> str:
    """Bounds and counts of the buckets that hold something, as "<2ms:17 <4ms:3"."""
    return " ".join(
        f"<{_spell(upper_bound_us(bucket))}:{count}" for bucket, count in enumerate(buckets) if count
    )


def _spell(microseconds: int) -> str:
    """Two to the n microseconds in the unit that people read most easily; 1024us are called 1ms."""
    for unit, size in (("s", 1 << 20), ("ms", 1 << 10)):
        if microseconds >= size:
            return f"{microseconds // size}{unit}"
    return f"{microseconds}us"
