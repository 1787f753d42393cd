"""The null backend: nullpg.c started, and asked for its peak."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from loadtest.build import build
from loadtest.client import Address, log_in
from loadtest.program import Program


class Backend(Protocol):
    """What stands behind the poolers: nullpg or a PostgreSQL."""

    @property
    def version(self) -> str:
        """What it is, for people."""

    @property
    def pid(self) -> int:
        """Its first process."""

    @property
    def address(self) -> Address:
        """Where poolers find it."""

    def check(self) -> None:
        """Raises PgmuxError if it is not running any more."""

    def take_peak(self) -> int:
        """The most backends at any instant since this was last asked."""


class NullBackend:
    """One nullpg, from the with statement's begin to its end."""

    def __init__(self, folder: Path, over_unix: bool = False) -> None:
        self._folder = folder
        self._over_unix = over_unix

    def __enter__(self) -> Self:
        command: list[str | Path] = [build("nullpg"), "-k", self._folder]
        self._program = Program("nullpg", command, self._folder)
        try:
            self._port = int(self._program.first_line())
            self._control = log_in(self.address)
        except BaseException:
            self._program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        self._program.stop()

    @property
    def version(self) -> str:
        """What it is, for people."""
        return "nullpg"

    @property
    def pid(self) -> int:
        """Its only process."""
        return self._program.pid

    @property
    def address(self) -> Address:
        """Where poolers find it: TCP, or its Unix socket if that was wanted."""
        return Address(str(self._folder) if self._over_unix else "127.0.0.1", self._port)

    def check(self) -> None:
        """Raises PgmuxError if it is not running any more."""
        self._program.check()

    def take_peak(self) -> int:
        """The most backends that were logged in at any instant since this was last asked.

        nullpg itself counts, at every log-in, so none is missed between two looks.
        """
        return int(self._control.query("SHOW peak_backends") or 0) - 1  # the one that asks is always there
