"""Many clients at once, each in a thread of its own, and what went wrong with any of them.

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            while True:
                assert wire.query(...)
                yield                                  # a round is done

    with Crowd(100, member) as crowd:
        crowd.wait_for_rounds(10)

A member ends by itself, or is closed after its present round when the with statement ends. What it raised is
then raised there, unless it was expected of that member.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from types import TracebackType
from typing import Any, Self

from tests.servers import Pgmux, Postgres, Proxy, wait_until
from tests.wire import Wire, wire

Member = Callable[[int], Iterator[None]]

END_TIMEOUT_S = 30.0


def approach(server: Pgmux | Postgres | Proxy) -> Wire:
    """A connection of one of many: its conversation is told by what it complains of, not by every failure."""
    client = Wire(server.host, server.port, timeout_s=END_TIMEOUT_S)
    wire.OPENED.remove(client)
    return client


def connect(server: Pgmux | Postgres, **login: Any) -> Wire:
    """Such a connection, logged in. Close it."""
    client = approach(server)
    try:
        client.startup(**login)
    except BaseException:
        client.close()
        raise
    return client


def in_transactions(server: Pgmux | Postgres) -> Member:
    """A member that asks outside a transaction and within one, in turn, and must be told its own."""

    def member(number: int) -> Iterator[None]:
        with connect(server, application_name=f"member {number}") as client:
            for turn in count():
                mine = f"{number}/{turn}".encode()
                assert client.query(f"SELECT '{number}/{turn}'").value == mine
                assert client.query("BEGIN").status == "T"
                assert client.query(f"SELECT '{number}/{turn}'").value == mine
                assert client.query("COMMIT").status == "I"
                yield

    return member


class Crowd:
    """So many members; `member(number)` gives the life of each."""

    def __init__(self, members: int, member: Member, *, may_fail: tuple[type[Exception], ...] = ()) -> None:
        """`may_fail`: what ends a member without being a failure of the test; see `lost`."""
        self.rounds = [0] * members
        self.lost: dict[int, Exception] = {}  # members that ended by what they may
        self._failures: dict[int, BaseException] = {}
        self._member = member
        self._may_fail = may_fail
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(number,), name=f"member {number}")
            for number in range(members)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(END_TIMEOUT_S)
        if kind is None:
            self.raise_failures()
            stuck = [thread.name for thread in self._threads if thread.is_alive()]
            assert not stuck, f"did not end within {END_TIMEOUT_S:g} s: {', '.join(stuck)}"

    def last(self, seconds: float) -> None:
        """Lets the crowd go on for so long; a failure ends it at once."""
        self._is_over.wait(seconds)
        self.raise_failures()

    def wait_for_rounds(self, count: int, timeout: float = 30.0) -> None:
        """Waits until every member that still lives has done so many more rounds."""
        goal = [done + count for done in self.rounds]

        def all_did() -> bool:
            self.raise_failures()
            return all(self.rounds[number] >= goal[number] for number in self.living())

        wait_until(all_did, timeout, f"{count} more rounds of each of {len(self.rounds)} clients")

    def living(self) -> list[int]:
        """The members that go on."""
        return [number for number, thread in enumerate(self._threads) if thread.is_alive()]

    def raise_failures(self) -> None:
        """Raises AssertionError if some member failed."""
        for number, error in sorted(self._failures.items()):
            raise AssertionError(
                f"member {number} of {len(self._failures)} that failed: {error!r}"
            ) from error

    def _live(self, number: int) -> None:
        life = self._member(number)
        try:
            for _ in life:
                self.rounds[number] += 1
                if self._is_over.is_set():
                    break
        except self._may_fail as error:
            self.lost[number] = error
        except BaseException as error:
            self._failures[number] = error
            self._is_over.set()
        finally:
            life.close()  # type: ignore[attr-defined]  # members are generators
