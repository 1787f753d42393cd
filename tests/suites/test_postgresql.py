"""PostgreSQL's regression tests give the same through pgmux as directly.

PGMUX_REGRESS names src/test/regress of a source of PostgreSQL 15, and Debian's postgresql-server-dev-15 has
the program that runs it:

    PGMUX_REGRESS=postgresql-15.x/src/test/regress .venv/bin/python -m pytest -v tests/suites
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fix_pgmux import MakePgmux
from tests.servers import Postgres
from tests.suites.regression import Regression, Results

_SOURCE = os.environ.get("PGMUX_REGRESS", "")
_LIBRARIES = Path("/usr/lib/postgresql/15")
_LEAST = 200  # tests; fewer means that they have not run

# Tests that expect a PostgreSQL process that has done nothing before, which no pooler has.
_FRESH = {
    "guc": "a library is not loaded yet",
    "temp": "no temporary table has ever been made",
    "stats": "each log-in is a new session in the statistics",
}
# Tests that look at the names of statements on the backend. Those are pgmux's.
_NAMED = {
    "prepare": "pg_prepared_statements",
    "plancache": "pg_prepared_statements",
    "partition_prune": "EXECUTE of a client's statement by a function",
    "sysviews": "pg_prepared_statements has no rows",
}
MAY_DIFFER = {"session": _FRESH, "transaction": _FRESH | _NAMED}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not _SOURCE, reason="PGMUX_REGRESS names no src/test/regress of PostgreSQL 15"),
]


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Regression:
    work = tmp_path_factory.mktemp("regression")
    for folder in (work, *work.parents[:2]):
        folder.chmod(0o755)
    tests = Regression(Path(_SOURCE).resolve(), _LIBRARIES, work)
    tests.build()
    return tests


@pytest.fixture(scope="module")
def expected(regression: Regression) -> Results:
    """What PostgreSQL itself gives here: a test may fail for what this machine has or lacks."""
    with Postgres("15", {"fsync": False, "max_prepared_transactions": 2}) as postgres:
        regression.prepare(postgres)
        return regression.run("direct", postgres)


@pytest.mark.parametrize("mode", MAY_DIFFER)
def test_they_give_the_same_as_directly(
    regression: Regression, expected: Results, make_pgmux: MakePgmux, mode: str
) -> None:
    with Postgres("15", {"fsync": False, "max_prepared_transactions": 2}) as postgres:
        regression.prepare(postgres)
        pgmux = make_pgmux(
            postgres=postgres, pool_mode=mode, workers=2, deferred_begin=True, log_level="info"
        )
        given = regression.run(mode, pgmux)
        pgmux.close()
    assert len(expected) >= _LEAST
    assert set(expected.differing(given)) <= set(MAY_DIFFER[mode])
