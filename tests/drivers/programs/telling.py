"""How a driver's program in Python says what it was told: chapters, results, errors, and where it was.

Its arguments are a host, a port and a number; two programs that run at once give the same names to contents
made of their different numbers. What it says is the same wherever it is connected to, so that it can be
compared; only the last line, how many backends served its first connection, goes to the standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

TARGET: Final[dict[str, Any]] = {
    "host": sys.argv[1],
    "port": int(sys.argv[2]),
    "user": "app",
    "database": "app",
}
N: Final = int(sys.argv[3])
MY_PID: Final = "SELECT pg_backend_pid()"

_pids: set[object] = set()


@contextmanager
def chapter(title: str) -> Iterator[None]:
    """One subject; an error ends it, and is told."""
    print(f"# {title}")
    try:
        yield
    except Exception as error:
        tell_error(error)


def tell(*values: object) -> None:
    """What the driver gave."""
    print(*(repr(value) for value in values))


def tell_error(error: BaseException) -> None:
    """Its class, its SQLSTATE where there is one, and its text."""
    state = getattr(error, "sqlstate", None)
    print(f"{type(error).__name__} {state or ''}: {' / '.join(str(error).splitlines())}")


def seen(pid: object) -> None:
    """A backend that has served the program's first connection, one of two in a row."""
    _pids.add(pid)


def end() -> None:
    """The last line."""
    print(len(_pids), file=sys.stderr)
