"""Durations as people write them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.config.durations import LONGEST, UNITS, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        ("0", 0.0),
        ("7", 7.0),
        ("250ms", 0.25),
        ("15us", 0.000015),
        ("5s", 5.0),
        ("1.5s", 1.5),
        (" 10 m ", 600.0),
        ("10min", 600.0),
        ("1h", 3_600.0),
        ("2d", 172_800.0),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "s", "5 s s", "-5s", "5S", "1h30m", "0x10", "5e3", "٥s", True, None, [], {}, "5\n6"],
)
def test_what_is_no_duration_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"250ms|unknown unit"):
        parse_duration(written)


def test_an_unknown_unit_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown unit 'sec': expected one of us, ms, s, m, min, h, d"):
        parse_duration("5sec")


@pytest.mark.parametrize("written", [-1, -0.5, math.inf, -math.inf, math.nan, 10**400, "3651d", LONGEST + 1])
def test_a_duration_outside_ten_years_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 3650d"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, 0),
        (0.25, "250ms"),
        (1.0, "1s"),
        (90.0, "90s"),
        (120.0, "2m"),
        (3_600.0, "1h"),
        (172_800.0, "2d"),
    ],
)
def test_a_duration_is_written_in_the_largest_fitting_unit(seconds: float, written: object) -> None:
    assert format_duration(seconds) == written


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=LONGEST))
def test_any_duration_survives_being_written_and_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=3_650), st.sampled_from(sorted(UNITS)))
def test_a_whole_number_of_any_unit_survives_being_read_and_written(count: int, unit: str) -> None:
    seconds = parse_duration(f"{count}{unit}")
    multiplier, divisor = UNITS[unit]
    assert seconds == count * multiplier / divisor
    assert parse_duration(format_duration(seconds)) == seconds
