"""The console beside PgBouncer's own: what both show has the same names, order and types.

Debian's PgBouncer is older than the version that ours is like, so it has fewer columns; those it has, it must
find here in its order.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from loadtest.debian import find_pgbouncer
from pgmux.demo.ports import free_port, give_back
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, WireClosedError, frontend

SHOWS = (
    "stats",
    "stats_totals",
    "stats_averages",
    "totals",
    "pools",
    "databases",
    "users",
    "clients",
    "servers",
)
WHOLE = ("lists", "config", "mem", "version")
FORMER = {  # what PgBouncer has renamed since Debian's version: what it is called here
    "databases": {"reserve_pool": "reserve_pool_size"},
    "pools": {"cl_cancel_req": "cl_active_cancel_req"},
}
NOBODY = 65534


class PgBouncer:
    """Debian's, in front of a PostgreSQL."""

    host = "127.0.0.1"

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        found = find_pgbouncer()
        if found is None:
            pytest.skip("PgBouncer is not installed here")
        self.port = free_port()
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\napp = host={postgres.socket_dir} port={postgres.port} user=app\n"
            f"[pgbouncer]\nlisten_addr = {self.host}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "auth_type = any\nadmin_users = boss\n"
        )
        folder.chmod(0o755)
        who = {"user": NOBODY} if os.getuid() == 0 else {}
        self._process = subprocess.Popen(
            [str(found.program), "-q", str(configuration)],
            env={**os.environ, **found.variables},
            cwd="/",
            stderr=subprocess.DEVNULL,
            **who,  # type: ignore[call-overload]
        )
        wait_until(self._answers, what="PgBouncer")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "PgBouncer does not run"
        try:
            with Wire(self.host, self.port, timeout_s=1) as wire:
                wire.send(frontend.ssl_request())
                wire.read_byte()
        except (OSError, WireClosedError):
            return False
        return True

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        give_back(self.port)


@pytest.fixture
def bouncer(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    folder = Path("/tmp") / f"pgmux-pgbouncer-{os.getpid()}"
    folder.mkdir()
    started = PgBouncer(postgres, folder)
    yield started
    started.close()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def columns(server: Pgmux | PgBouncer, what: str) -> dict[str, int]:
    """Names and types, in order."""
    with psycopg.connect(
        host=server.host, port=server.port, user="boss", dbname="pgbouncer", autocommit=True
    ) as console:
        description = console.execute(f"SHOW {what}".encode()).description
        assert description is not None
        return {column.name: column.type_code for column in description}


def test_what_both_show_is_called_the_same_and_has_the_same_type(
    make_pgmux: MakePgmux, bouncer: PgBouncer
) -> None:
    pgmux = make_pgmux(workers=2, admin_users=["boss"])
    for what in SHOWS + WHOLE:
        theirs, ours = columns(bouncer, what), columns(pgmux, what)
        renamed = FORMER.get(what, {})
        expected = {renamed.get(name, name): kind for name, kind in theirs.items()}
        assert {name: ours.get(name) for name in expected} == expected, what
        assert [name for name in ours if name in expected] == list(expected), what
        if what in WHOLE:
            assert list(ours) == list(theirs)


def test_rows_that_tools_look_for_are_in_both(make_pgmux: MakePgmux, bouncer: PgBouncer) -> None:
    pgmux = make_pgmux(workers=2, admin_users=["boss"])
    found: list[dict[str, list[str]]] = []
    for server in (bouncer, pgmux):
        with connect(pgmux) as client:
            client.query("SELECT 1")
        told = {}
        with psycopg.connect(
            host=server.host, port=server.port, user="boss", dbname="pgbouncer", autocommit=True
        ) as console:
            for what in ("lists", "totals", "config", "stats", "pools", "databases"):
                told[what] = [row[0] for row in console.execute(f"SHOW {what}".encode()).fetchall()]
        found.append(told)
    theirs, ours = found
    assert [name for name in ours["lists"] if name in theirs["lists"]] == theirs["lists"]
    for what in ("stats", "pools", "databases"):
        assert "pgbouncer" in theirs[what]
        assert ours[what][-1] == "pgbouncer"
    shared = set(theirs["config"]) & set(ours["config"])
    assert shared >= {"max_client_conn", "default_pool_size", "query_wait_timeout", "server_lifetime"}
