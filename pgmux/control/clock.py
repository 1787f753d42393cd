"""One moment, by which the segment's CLOCK_MONOTONIC microseconds become durations and times of day."""

import time


class Clock:
    """One moment: now."""

    def __init__(self) -> None:
        self.now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._epoch_us = time.time_ns() // 1000 - self.now_us

    def since(self, moment_us: int) -> int:
        """Microseconds from then to now; 0 for never, and for what has happened meanwhile."""
        return max(self.now_us - moment_us, 0) if moment_us else 0

    def time_of_day(self, moment_us: int) -> str | None:
        """Date and time in the time zone of this process, to the second; None for never."""
        if not moment_us:
            return None
        seconds = (moment_us + self._epoch_us) / 1_000_000
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))

    def seconds(self, moment_us: int) -> float:
        """Seconds since 1970 (UTC)."""
        return (moment_us + self._epoch_us) / 1_000_000
