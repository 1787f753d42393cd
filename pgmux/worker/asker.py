"""Who asks on a connection: what they may do, and whether they are still there."""

import select
import time
from collections.abc import Callable
from typing import Protocol

import gevent

from pgmux.control.commands import Right
from pgmux.control.request import RequestError
from pgmux.worker.workload import Workload

_LOOK_EVERY_SECONDS = 0.02
_TELL_EVERY_SECONDS = 1.0


class HasDescriptor(Protocol):
    """A connection, of whatever kind."""

    def fileno(self) -> int:
        """Its descriptor."""


class AskerGoneError(Exception):
    """Who asked has closed the connection."""


class Asker:
    """One connection's asker, as the clerk knows it."""

    def __init__(
        self,
        right: Right,
        name: str,
        connection: HasDescriptor,
        workload: Workload,
        *,
        tell: Callable[[str], None] | None = None,
        leaves_by: int = select.POLLHUP,
    ) -> None:
        """`tell(words)`: what a command waits for, once a second. `leaves_by`: the poll(2) events that mean
        the asker has gone; where a connection half closed is as good as closed, POLLRDHUP too.
        """
        self.right = right
        self.name = name  # for the log
        self.is_cancelled = False  # a CancelRequest has come
        self._workload = workload
        self._tell = tell
        self._leaves_by = leaves_by | select.POLLHUP | select.POLLERR
        self._poll = select.poll()
        self._poll.register(connection.fileno(), leaves_by)

    def give_way(self) -> None:
        """Let the worker serve its clients. **Switches.**"""
        self._workload.give_way()

    def wait_until(
        self, is_done: Callable[[], bool], what: Callable[[], str], within_seconds: float | None = None
    ) -> bool:
        """Whether `is_done` came true in time. **May switch.**

        Raises AskerGoneError when the connection is closed meanwhile, RequestError when it is cancelled.
        """
        began = told = time.monotonic()
        self.is_cancelled = False
        while not is_done():
            now = time.monotonic()
            if self.is_cancelled:
                raise RequestError("57014", "canceling statement due to user request", f"It was {what()}.")
            if any(events & self._leaves_by for _, events in self._poll.poll(0)):
                raise AskerGoneError
            if within_seconds is not None and now - began > within_seconds:
                return False
            if self._tell is not None and now - told >= _TELL_EVERY_SECONDS:
                self._tell(what())
                told = now
            gevent.sleep(_LOOK_EVERY_SECONDS)
        return True
