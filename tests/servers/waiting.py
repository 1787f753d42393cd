"""To wait for a condition: the only place in the tests where time passes unused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_EVERY_S = 0.01


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Asks again and again, and gives the first answer that is true.

    Raises AssertionError with `what` was waited for, and the last answer, after `timeout` seconds. What the
    predicate itself raises is not caught.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            wanted = what or getattr(predicate, "__name__", "a condition")
            raise AssertionError(
                f"waited {timeout:g} s in vain for: {wanted}; the last answer was {answer!r}"
            )
        time.sleep(_EVERY_S)
