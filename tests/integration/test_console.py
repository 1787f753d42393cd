"""The console, as psql, drivers and agents see it; figures are of all workers, whichever answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path

import asyncpg
import psycopg
import pytest

from pgmux.demo.ports import free_port, give_back
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.shm.family import Family
from tests.wire import LoginRefusedError, frontend

NAMES = pytest.mark.parametrize("name", ["pgmux", "pgbouncer"])
PASSWORDS = {"boss": "secret", "watcher": "eyes", "app": "app"}
EXPORTER = Path("/usr/bin/prometheus-pgbouncer-exporter")


@pytest.fixture
def pgmux(make_pgmux: MakePgmux) -> Pgmux:
    """Two workers, an administrator and one who may look."""
    return make_pgmux(workers=2, admin_users=["boss"], stats_users=["watcher"])


def psql(
    pgmux: Pgmux, *commands: str, name: str = "pgmux", user: str = "boss", more: tuple[str, ...] = ()
) -> str:
    """What psql prints for the commands. Raises AssertionError with its complaint."""
    words = [word for command in commands for word in ("-c", command)]
    found = shutil.which("psql")
    if found is None:
        pytest.skip("psql is not installed here")
    done = subprocess.run(
        [found, "-X", "-h", pgmux.host, "-p", str(pgmux.port), "-U", user, name, *more, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@NAMES
def test_psql_finds_its_way_under_both_names(pgmux: Pgmux, name: str) -> None:
    with connect(pgmux) as client:
        client.query("SELECT 1")
        out = psql(pgmux, "SHOW POOLS;", name=name, more=("-A", "-F", "|", "-t"))
    rows = [line.split("|") for line in out.splitlines()]
    assert [row[:3] for row in rows] == [["app", "app", "1"], ["pgbouncer", "pgbouncer", "1"]]


@NAMES
def test_a_script_of_psql_runs_to_its_end(pgmux: Pgmux, name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(
        "\\set ON_ERROR_STOP on\n-- what a DBA keeps in a file\nSHOW VERSION;\nSHOW STATS; SHOW LISTS;\n"
        "PAUSE app;\nSHOW DATABASES;\nRESUME app;\nSET log_level = 'debug';\nSHOW CONFIG;\n"
        "RECONNECT;\nWAIT_CLOSE;\n"
    )
    with connect(pgmux) as client:
        client.query("SELECT 1")
    out = psql(pgmux, name=name, more=("-f", str(script)))
    assert [
        line for line in out.splitlines() if (line.isupper() and "_" not in line) or line == "WAIT_CLOSE"
    ] == [
        "PAUSE",
        "RESUME",
        "SET",
        "RECONNECT",
        "WAIT_CLOSE",
    ]


@NAMES
def test_psycopg_reads_numbers_as_numbers(pgmux: Pgmux, name: str) -> None:
    with connect(pgmux) as client, pgmux.connect(name, "watcher") as console:
        client.query("SELECT 1")
        cursor = console.execute("SHOW POOLS")
        assert cursor.description is not None
        assert [column.name for column in cursor.description][:4] == [
            "database",
            "user",
            "cl_active",
            "cl_waiting",
        ]
        assert cursor.fetchall()[0][:4] == ("app", "app", 1, 0)
        binary = console.execute("SHOW STATS", binary=True).fetchall()
        assert binary[0][0] == "app"
        assert binary[0][2] == 1
    with pgmux.connect(name, "watcher", autocommit=False) as console:  # it says BEGIN first
        assert console.execute("SHOW STATE").fetchall()[1] == ("paused", "no")


@NAMES
def test_asyncpg_which_speaks_the_extended_protocol_only(pgmux: Pgmux, name: str) -> None:
    async def look() -> None:
        pool = await asyncpg.create_pool(pgmux.connect_url(name, "boss"), min_size=1, max_size=2)
        async with pool.acquire() as connection:
            rows = await connection.fetch("SHOW DATABASES")
            assert rows[-1]["name"] == "pgbouncer"
            assert await connection.fetchval("SHOW VERSION") is not None
            stats = await connection.fetch("SHOW STATS_TOTALS")
            assert stats[-1]["xact_count"] == 0
            with pytest.raises(asyncpg.PostgresSyntaxError, match="POOLZ"):
                await connection.fetch("SHOW POOLZ")
            assert await connection.execute("PAUSE app") == "PAUSE"
            assert await connection.execute("RESUME app") == "RESUME"
            async with connection.transaction():
                async for row in connection.cursor("SHOW CONFIG", prefetch=7):
                    assert row["key"]
        async with pool.acquire() as connection:
            assert len(await connection.fetch("SHOW CLIENTS")) == 1
        await pool.close()

    with connect(pgmux) as client:
        client.query("SELECT 1")
    asyncio.run(look())


@NAMES
def test_the_version_is_one_that_clients_understand(pgmux: Pgmux, name: str) -> None:
    with pgmux.connect(name, "watcher") as console:
        assert console.info.server_version >= 0
        told = console.info.parameter_status("server_version")
        assert told is not None
        assert told.endswith("/bouncer" if name == "pgbouncer" else "/pgmux")


# --- who may


def test_rights_come_with_the_user_and_the_password_is_asked_for(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(
        workers=2,
        auth_type="scram-sha-256",
        passwords=PASSWORDS,
        admin_users=["boss"],
        stats_users=["watcher"],
    )
    for user, password, sqlstate in (
        ("boss", "wrong", "28P01"),
        ("watcher", "wrong", "28P01"),
        ("nobody", "secret", "28P01"),
        ("app", "app", "42501"),
    ):
        with pgmux.wire() as wire:
            with pytest.raises(LoginRefusedError) as refused:
                wire.startup(user=user, database="pgmux", password=password)
            assert refused.value.sqlstate == sqlstate
    with pgmux.connect("pgmux", "watcher", "eyes") as console:
        console.execute("SHOW CLIENTS")
        for command in ("PAUSE", "RELOAD", "KILL app", "SET log_level = debug", "SHUTDOWN", "DISABLE app"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                console.execute(command.encode())
    with pgmux.connect("pgmux", "boss", "secret") as console:
        assert console.execute("RELOAD").statusmessage == "RELOAD"
    assert "name the user in admin_users" not in pgmux.log_file.text()
    assert pgmux.log_contains("log-in refused: client=.* user=app database=pgmux .*may not use the console")


def test_its_owner_needs_no_password_on_the_unix_socket(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, auth_type="scram-sha-256", passwords=PASSWORDS)
    for name in ("pgmux", "pgbouncer"):
        with pgmux.wire(unix=True) as wire:
            wire.startup(user=name, database="pgmux")
            assert wire.query("RELOAD").tags == ["RELOAD"]
        with pgmux.wire() as wire, pytest.raises(LoginRefusedError):  # TCP tells nothing of who is there
            wire.startup(user=name, database="pgmux", password="guess")
    with pgmux.wire(unix=True) as wire, pytest.raises(LoginRefusedError):
        wire.startup(user="boss", database="pgmux", password="guess")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_of_the_machine_is_not_its_owner(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, auth_type="scram-sha-256", passwords=PASSWORDS)
    os.chmod(pgmux.folder, 0o755)

    def knock() -> None:
        os.setuid(65534)
        with pgmux.wire(unix=True) as wire, pytest.raises(LoginRefusedError, match="28P01"):
            wire.startup(user="pgmux", database="pgmux", password="guess")

    with Family() as family:
        family.fork(knock)
        family.end_well()


def test_the_operator_gets_in_when_all_clients_are_in(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, max_client_conn=3, admin_users=["boss"])
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(pgmux))
        with pytest.raises(LoginRefusedError, match="53300"):
            connect(pgmux)
        console = stack.enter_context(connect(pgmux, user="boss", database="pgmux"))
        rows = {row[0]: row[1] for row in console.query("SHOW LISTS").rows}
        assert rows[b"used_clients"] == b"4"


# --- all workers


def test_every_worker_tells_the_figures_of_all(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=3, admin_users=["boss"])
    lobbies = Lobbies(pgmux)
    clients = lobbies.a_client_on_each_worker()
    for client in clients.values():
        client.query("BEGIN")
    consoles = lobbies.a_client_on_each_worker(user="boss", database="pgmux")
    told = {worker: console.query("SHOW POOLS").rows[0][:7] for worker, console in consoles.items()}
    assert list(told.values()) == [[b"app", b"app", b"3", b"0", b"0", b"0", b"3"]] * 3
    for console in consoles.values():
        rows = console.query("SHOW CLIENTS").rows
        served = [row for row in rows if row[2] == b"app"]
        assert {row[21] for row in served} == {b"0", b"1", b"2"}
        assert all(row[4] == b"active" and row[15] for row in served)
        links = {row[14]: row[15] for row in console.query("SHOW SERVERS").rows}
        assert all(links[row[15]] == row[14] for row in served)
        assert sum(row[2] == b"pgmux" for row in rows) >= 3


def test_a_console_answers_while_postgresql_is_down(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, admin_users=["boss"], server_login_retry="100ms")
    with connect(pgmux) as client, connect(pgmux, user="boss", database="pgmux") as console:
        client.query("SELECT 1")
        postgres.stop("immediate")
        assert client.query("SELECT 1").errors
        with connect(pgmux, user="boss", database="pgbouncer") as another:
            assert another.query("SHOW POOLS").rows[0][0] == b"app"
        assert console.query("SHOW VERSION").rows


# --- cancelling, killing, leaving


def test_a_pause_that_waits_can_be_cancelled_and_is_undone(pgmux: Pgmux) -> None:
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as client, connect(pgmux, user="boss", database="pgmux") as console:
        client.query("BEGIN")
        console.send(frontend.query("PAUSE"))
        wait_until(lobbies.is_paused, what="the pause")
        assert console.is_silent(for_s=0.3)
        console.cancel()
        replies = console.read_until(b"Z")
        assert replies.sqlstate == "57014"
        assert "waiting for 1 backend" in replies.error["H"]
        assert not lobbies.is_paused()
        assert console.query("SHOW STATE").rows[1][1] == b"no"


def test_a_pause_whose_operator_leaves_is_undone(pgmux: Pgmux) -> None:
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as client, connect(pgmux, user="boss", database="pgmux") as console:
        client.query("BEGIN")
        console.send(frontend.query("PAUSE"))
        wait_until(lobbies.is_paused, what="the pause")
        console.close()
        wait_until(lambda: not lobbies.is_paused(), what="the end of the pause")
        assert client.query("COMMIT").status == "I"


def test_a_console_s_client_can_be_killed_as_any_other(pgmux: Pgmux) -> None:
    with (
        connect(pgmux, user="boss", database="pgmux") as console,
        connect(pgmux, user="watcher", database="pgmux") as victim,
    ):
        (row,) = [row for row in console.query("SHOW CLIENTS").rows if row[1] == b"watcher"]
        assert row[20] is not None
        assert console.query(f"KILL_CLIENT {row[20].decode()}").tags == ["KILL_CLIENT"]
        assert victim.read_to_the_end().sqlstate == "57P01"
        assert len(console.query("SHOW CLIENTS").rows) == 1


def test_consoles_are_told_when_pgmux_stops(pgmux: Pgmux) -> None:
    with connect(pgmux, user="boss", database="pgmux") as console:
        console.query("SHOW VERSION")
        pgmux.signal(signal.SIGTERM)
        assert console.read_to_the_end().sqlstate == "57P01"
        assert pgmux.wait_until_stopped() == 0


def test_records_of_consoles_are_given_back(pgmux: Pgmux) -> None:
    lobbies = Lobbies(pgmux)
    for number in range(30):
        with connect(pgmux, user="boss", database="pgmux") as console:
            if number % 3:
                console.query("SHOW CLIENTS")
            if number % 2:
                console.terminate()
    wait_until(lambda: lobbies.clients() == 0, what="the end of all consoles")


def test_a_large_answer_is_no_burden_to_who_is_served(make_pgmux: MakePgmux) -> None:
    """Rows come in slices: a client of the same worker is served between them."""
    pgmux = make_pgmux(workers=1, admin_users=["boss"], max_client_conn=700)
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(connect(pgmux))
        console = stack.enter_context(connect(pgmux, user="boss", database="pgmux"))
        client = stack.enter_context(connect(pgmux))
        queries = 0
        is_over = threading.Event()

        def look() -> None:
            assert len(console.query("SHOW CLIENTS").rows) == 602
            is_over.set()

        looking = threading.Thread(target=look)
        looking.start()
        while not is_over.is_set():
            assert client.query(f"SELECT {queries}").value == b"%d" % queries
            queries += 1
        looking.join()
        assert queries > 5


# --- real consumers


@pytest.mark.skipif(not EXPORTER.exists(), reason="prometheus-pgbouncer-exporter is not installed here")
def test_debian_s_exporter_exports(make_pgmux: MakePgmux) -> None:
    """It asks for columns by the names that they had in PgBouncer 1.7, which 1.8 and later do not have."""
    pgmux, port = make_pgmux(workers=2, stats_users=["watcher"]), free_port()
    with connect(pgmux) as client:
        client.query("SELECT 1")
        exporter = subprocess.Popen(
            [
                *(str(EXPORTER), "--host", "127.0.0.1", "--port", str(port)),
                *("--pgbouncer-host", pgmux.host, "--pgbouncer-port", str(pgmux.port)),
                *("--pgbouncer-user", "watcher"),
            ],
            stderr=subprocess.PIPE,
        )
        try:

            def read() -> str:
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page,
                ):
                    return str(page.read().decode())
                return ""

            text = wait_until(read, 20, "the exporter's page")
            assert 'pgbouncer_requests_total{database="app"} 1.0' in text
            assert 'pgbouncer_active_clients{database="app",user="app"} 1.0' in text
            assert 'pgbouncer_pool_size{database="pgbouncer"}' in text
            assert "pgbouncer_used_clients 2.0" in text
        finally:
            exporter.kill()
            exporter.communicate()
            give_back(port)
