"""The fixture that makes pgmux. It is stopped after the test, which fails if pgmux does not end cleanly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.fix_evidence import Evidence
from tests.servers import toml
from tests.servers.pgmux import PGMUX, Pgmux, Tables
from tests.servers.postgres import Postgres


class MakePgmux:
    """Makes running pgmuxes, in front of the test's `postgres` unless it is told otherwise."""

    def __init__(self, postgres: Postgres, stack: ExitStack, evidence: Evidence) -> None:
        self._postgres = postgres
        self._stack = stack
        self._evidence = evidence

    def __call__(
        self,
        *,
        postgres: Postgres | None = None,
        databases: Tables | None = None,
        users: Tables | None = None,
        passwords: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = PGMUX,
        is_started: bool = True,
        **settings: toml.Value,
    ) -> Pgmux:
        """A pgmux with these options in its [pgmux] table, ready for clients unless `is_started` is False."""
        pgmux = Pgmux(
            postgres or self._postgres,
            databases=databases,
            users=users,
            passwords=passwords,
            environ=environ,
            command=command,
            **settings,
        )
        self._evidence("log of pgmux", pgmux.log_file.tail)
        self._stack.callback(pgmux.close)
        if is_started:
            pgmux.start()
        return pgmux


@pytest.fixture
def make_pgmux(postgres: Postgres, evidence: Evidence) -> Iterator[MakePgmux]:
    """Makes running pgmuxes for this test."""
    with ExitStack() as stack:
        yield MakePgmux(postgres, stack, evidence)
