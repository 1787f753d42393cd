"""Who is in PostgreSQL: its backends counted again and again, for as long as a with statement lasts.

    with Census(postgres) as census:
        ...
    assert census.most == 5

Every client backend counts, whoever opened it and however far its log-in is, except observers like this one.
With `may_restart` it comes back when PostgreSQL does; else that ends it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psycopg

from pgmux.demo.embedded import OBSERVER
from tests.servers import Postgres, wait_until

_PAUSE_S = 0.003
_QUERY = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
    f"AND application_name <> '{OBSERVER}'"
)


class Census:
    """The count so far. Ask PostgreSQL nothing else meanwhile: a newcomer has no name yet and would count."""

    def __init__(self, postgres: Postgres, *, may_restart: bool = False) -> None:
        self.most = 0
        self.samples = 0
        self.seen: set[int] = set()  # every process id that ever was there
        self.now: set[int] = set()
        self._postgres = postgres
        self._may_restart = may_restart
        self._connection = self._connect()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="census")

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.samples, what="the first sample")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._connection.close()

    def wait_for(self, count: int, timeout: float = 10.0) -> set[int]:
        """Waits until there are exactly so many, and gives their process ids."""
        wait_until(lambda: len(self.now) == count, timeout, f"{count} backends in PostgreSQL")
        return self.now

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self._postgres.connect("postgres", "postgres", application_name=OBSERVER)

    def _count(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            try:
                self.now = {pid for (pid,) in self._connection.execute(_QUERY, prepare=True)}
            except psycopg.OperationalError:
                if not self._may_restart:
                    raise
                self.now = set()
                with suppress(psycopg.OperationalError):
                    self._connection.close()
                    self._connection = self._connect()
                continue
            self.seen |= self.now
            self.most = max(self.most, len(self.now))
            self.samples += 1
