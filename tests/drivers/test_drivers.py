"""Drivers with their defaults, in transaction mode with another backend for every transaction: none notices.

Each driver's program is run twice at once, with the same names and different contents, by PostgreSQL itself and
then through pgmux; what the two were told must be the same.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.driver import DRIVERS, PATIENCE_S, MissingError
from tests.fix_pgmux import MakePgmux
from tests.servers import Pgmux, Postgres

NUMBERS = (1, 2)
ROAMING: dict[str, Any] = {
    "workers": 2,
    "roam": True,
    "default_pool_size": 6,
    "min_pool_size": 6,
    "last_value_reserve": "20s",  # a driver on a busy machine has time to ask
}
MODES: dict[str, dict[str, Any]] = {
    "always another backend": ROAMING,
    "always another backend, BEGIN put off, three statements each": ROAMING
    | {"deferred_begin": True, "max_prepared_statements": 3},
}
Told = list[tuple[list[str], int]]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drivers")


@pytest.fixture(scope="session")
def by_postgres() -> dict[str, Told]:
    """What PostgreSQL itself told each driver, once it was asked."""
    return {}


def told(driver: str, server: Pgmux | Postgres, scratch: Path) -> Told:
    """Of each of the programs that run at once: its lines, and how many backends it saw."""
    programs = []
    try:
        for number in NUMBERS:
            programs.append(DRIVERS[driver].start(scratch, server.host, server.port, number))
        said = [program.communicate(timeout=PATIENCE_S) for program in programs]
    except MissingError as missing:
        pytest.skip(str(missing))
    finally:
        for program in programs:
            program.kill()
            program.wait()
    for program, (_, complaints) in zip(programs, said, strict=True):
        assert program.returncode == 0, complaints
    return [(output.splitlines(), int(complaints.split()[-1])) for output, complaints in said]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_is_told_the_same(
    make_pgmux: MakePgmux,
    postgres: Postgres,
    scratch: Path,
    by_postgres: dict[str, Told],
    driver: str,
    mode: str,
) -> None:
    if driver not in by_postgres:
        by_postgres[driver] = told(driver, postgres, scratch)
    pooled = told(driver, make_pgmux(**MODES[mode]), scratch)
    for (expected, stayed), (lines, moved) in zip(by_postgres[driver], pooled, strict=True):
        assert "\n".join(unified_diff(expected, lines, "PostgreSQL", "pgmux", lineterm="", n=20)) == ""
        assert stayed == 1
        assert moved > 1
