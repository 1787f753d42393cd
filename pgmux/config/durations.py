"""Durations as people write them: 5, 0.5, "250ms", "5s", "10m", "1h", "2d".

A number without a unit is seconds. Inside pgmux a duration is always a float of seconds,
and 0 means "off" or "for ever", as the option says.
"""

import math
import re

UNITS = {  # seconds = number * multiplier / divisor: both whole, so that no rounding creeps in
    "us": (1, 1_000_000),
    "ms": (1, 1_000),
    "s": (1, 1),
    "m": (60, 1),
    "min": (60, 1),
    "h": (3_600, 1),
    "d": (86_400, 1),
}
LONGEST = 3_650 * 86_400.0  # ten years, seconds: more is a slip, and would overflow timers
EXPECTED = 'a duration: seconds, or "250ms", "5s", "10m", "1h", "2d"'

_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*")


def parse_duration(value: object) -> float:
    """The seconds that `value`, a number or a text, stands for.

    Raises ValueError, with a message for the user, for anything that is not a duration from
    0 to ten years.
    """
    seconds = _read(value)
    if not 0 <= seconds <= LONGEST:  # also refuses nan
        raise ValueError(f"must be between 0 and {format_duration(LONGEST)}, got {value!r}")
    return seconds


def _read(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) <= LONGEST else math.inf
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected {EXPECTED}; got {value!r}")
    number, unit = match.groups()
    if unit and unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}: expected one of {', '.join(UNITS)}")
    multiplier, divisor = UNITS[unit or "s"]
    return float(number) * multiplier / divisor


def format_duration(seconds: float) -> str | float:
    """The shortest spelling that `parse_duration` reads back as exactly `seconds`."""
    if seconds == 0:
        return 0
    for unit in ("d", "h", "m", "s", "ms", "us"):
        multiplier, divisor = UNITS[unit]
        count = round(seconds * divisor / multiplier)
        if count >= 1 and count * multiplier / divisor == seconds:
            return f"{count}{unit}"
    return seconds
