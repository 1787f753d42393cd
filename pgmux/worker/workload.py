"""What a worker's greenlets do for people, and how they let the relay serve clients meanwhile.

An answer to the operator is made in Python, in the same thread as everybody's queries. So it is made in small
pieces, and between two of them the hub has a turn, which begins with the relay's.
"""

from types import TracebackType

import gevent

_PAUSE_SECONDS = 0.0005  # enough for the hub to have a turn; a pause of 0 would not be


class Workload:
    """How much there is to do. `with workload:` around what is to be done soon."""

    def __init__(self) -> None:
        self._count = 0

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1

    @property
    def is_at_work(self) -> bool:
        """Whether some greenlet has something to do, and must not wait long for the hub."""
        return self._count > 0

    def give_way(self) -> None:
        """Let the relay serve whoever has something to be served. **Switches.**"""
        gevent.sleep(_PAUSE_SECONDS)
