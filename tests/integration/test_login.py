"""Log-ins both ways, of clients to pgmux and of pgmux to PostgreSQL, by every method; and the refusals."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from pgmux import __version__
from pgmux.demo.account import environment
from pgmux.supervisor.listeners import DEFER_SECONDS
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, approach, connect
from tests.integration.inside import Inside
from tests.integration.routes import by_socket, by_tcp
from tests.servers import PASSWORDS, Pgmux, Postgres, wait_until
from tests.wire import LoginRefusedError, Wire, WireClosedError, frontend

OWN_PARAMETERS = ("pgmux.version", "pgmux.pool_mode", "pgmux.max_prepared_statements")
LOGIN_TIMEOUT_S = 1.0
REFUSALS = {"08P01", "0A000", "28000", "28P01", "42601", "57014"}


# Clients come in


def by_psycopg(pgmux: Pgmux, postgres: Postgres, user: str, password: str | None) -> str:
    with pgmux.connect(user=user, password=password) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row is not None
        return str(row[0])


def by_asyncpg(pgmux: Pgmux, postgres: Postgres, user: str, password: str | None) -> str:
    async def ask() -> str:
        connection = await asyncpg.connect(pgmux.connect_url(user=user, password=password))
        try:
            return str((await connection.fetch("SELECT current_user"))[0][0])
        finally:
            await connection.close()

    return asyncio.run(ask())


def by_psql(pgmux: Pgmux, postgres: Postgres, user: str, password: str | None) -> str:
    command = [str(postgres.bin("psql")), "-XAtw", "-c", "SELECT current_user", pgmux.connect_dsn(user=user)]
    environ = {**environment(), "PGPASSWORD": password or ""}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()


DRIVERS: dict[str, Callable[[Pgmux, Postgres, str, str | None], str]] = {
    "psycopg": by_psycopg,
    "asyncpg": by_asyncpg,
    "psql": by_psql,
}

# auth_type, and the names in PASSWORDS that can log in by it: their secrets are kept in different forms
METHODS = {
    "trust": ["plain", "hashed", "scram"],
    "password": ["plain", "hashed", "scram"],
    "md5": ["plain", "hashed", "scram"],
    "scram-sha-256": ["plain", "scram"],
}


def secrets(postgres: Postgres) -> dict[str, str]:
    """Of `plain` the password itself, of the others what PostgreSQL keeps: an MD5 hash, a SCRAM verifier."""
    kept = dict(
        postgres.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolname IN ('hashed', 'scram')")
    )
    return {"plain": PASSWORDS["plain"], **kept}


@pytest.mark.parametrize("method", METHODS)
def test_every_driver_logs_in_by_every_method(make_pgmux: MakePgmux, postgres: Postgres, method: str) -> None:
    pgmux = make_pgmux(
        auth_type=method, passwords=secrets(postgres), databases={"*": by_socket(postgres, user="app")}
    )
    for user in METHODS[method]:
        for name, log_in in DRIVERS.items():
            password = None if method == "trust" else PASSWORDS[user]
            assert log_in(pgmux, postgres, user, password) == "app", (name, user)


JARS = [Path(f"/usr/share/java/{name}.jar") for name in ("postgresql", "scram-client", "scram-common")]
JARS += [Path(f"/usr/share/java/{name}.jar") for name in ("saslprep", "stringprep")]  # what SCRAM there needs


@pytest.mark.skipif(
    not shutil.which("javac") or not all(jar.exists() for jar in JARS),
    reason="needs a JDK, libpostgresql-jdbc-java and libscram-java",
)
@pytest.mark.parametrize(
    ("method", "user"),
    [("trust", "plain"), ("password", "plain"), ("md5", "hashed"), ("scram-sha-256", "scram")],
)
def test_pgjdbc_logs_in_by_every_method(
    make_pgmux: MakePgmux, postgres: Postgres, method: str, user: str
) -> None:
    pgmux = make_pgmux(
        auth_type=method, passwords=secrets(postgres), databases={"*": by_socket(postgres, user="app")}
    )
    program = Path(__file__).parent.parent / "drivers" / "LogIn.java"
    java = ["java", "-cp", ":".join(map(str, JARS)), str(program)]
    login = [f"jdbc:postgresql://{pgmux.host}:{pgmux.port}/app", user]

    def told(password: str) -> str:
        return subprocess.run([*java, *login, password], capture_output=True, text=True, check=True).stdout

    assert told(PASSWORDS[user]) == "app\n"
    if method == "scram-sha-256":
        assert told("guessed") == "28P01\n"


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    make_pgmux: MakePgmux, postgres: Postgres, method: str
) -> None:
    pgmux = make_pgmux(auth_type=method, passwords=secrets(postgres))

    def refusal(user: str, password: str) -> tuple[bytes, list[str], dict[str, str]]:
        with pgmux.wire() as wire:
            with pytest.raises(LoginRefusedError) as refused:
                wire.startup(user=user, password=password)
            with pytest.raises(WireClosedError):
                wire.read_message()
            told = {letter: text.replace(user, "NAME") for letter, text in refused.value.fields.items()}
            return told.pop("C").encode(), [line.split("←")[-1][:20] for line in said(wire)], told

    wrong = refusal("plain", "guessed")
    assert wrong[0] == b"28P01"
    assert refusal("nobody", "guessed") == wrong
    assert refusal("nobody", PASSWORDS["plain"]) == wrong
    assert refusal("plain", "") == wrong
    assert pgmux.log_contains("no such user")  # the log may tell them apart


def said(wire: Wire) -> list[str]:
    return [line for line in str(wire.transcript).splitlines() if "←" in line]


def test_an_unknown_database_is_told_once_it_is_clear_who_asks(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256", passwords=secrets(postgres), databases={"app": by_socket(postgres)}
    )
    with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(user="plain", password=PASSWORDS["plain"], database="nowhere")
    assert refused.value.sqlstate == "3D000"
    assert 'database "nowhere" does not exist' in refused.value.fields["M"]
    with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(user="plain", password="guessed", database="nowhere")
    assert refused.value.sqlstate == "28P01"


def test_a_database_that_only_postgresql_does_not_know(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux()
    with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(database="nowhere")
    assert refused.value.sqlstate == "3D000"
    assert refused.value.fields["M"] == 'database "nowhere" does not exist'
    assert "PostgreSQL's answer" in refused.value.fields["H"]


def test_encryption_is_declined_and_the_log_in_goes_on(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux()
    for requests in (
        [frontend.ssl_request()],
        [frontend.gssenc_request()],
        [frontend.gssenc_request(), frontend.ssl_request()],
    ):
        for is_unix in (False, True):
            with pgmux.wire(unix=is_unix) as wire:
                for request in requests:
                    wire.send(request)
                    assert wire.read_byte() == b"N"
                wire.startup()
                assert wire.query("SELECT 1").value == b"1"
    with pgmux.wire() as wire:
        wire.send(frontend.ssl_request())
        wire.read_byte()
        wire.send(frontend.ssl_request())
        assert wire.read_to_the_end().sqlstate == "08P01"


def test_the_greeting_is_postgresqls_own(make_pgmux: MakePgmux, any_postgres: Postgres) -> None:
    pgmux = make_pgmux(postgres=any_postgres)
    for wishes in ({}, {"application_name": "tester"}):
        with connect(any_postgres, **wishes) as direct, connect(pgmux, **wishes) as pooled:
            own = {name: pooled.parameters.pop(name) for name in OWN_PARAMETERS}
            assert own == {
                "pgmux.version": __version__,
                "pgmux.pool_mode": "transaction",
                "pgmux.max_prepared_statements": "200",
            }
            assert pooled.parameters == direct.parameters
            assert (pooled.pid > 0, len(pooled.key)) == (True, 4)


def test_a_newer_protocol_is_negotiated(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux()
    told = []
    for server in (postgres, pgmux):
        with approach(server) as wire:
            told.append(wire.startup(version=(3, 99), **{"_pq_.wish": "1"}).of(b"v"))
            assert wire.query("SELECT 1").value == b"1"
    assert told[0] == told[1] != []
    for version in ((3, 0), (3, 2)):
        with pgmux.wire() as wire:
            assert not wire.startup(version=version).of(b"v")
    with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(version=(2, 0))
    assert refused.value.sqlstate == "0A000"


def test_a_query_may_be_sent_with_the_log_in(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux()
    for _ in range(2):  # before the first backend is there, and after
        with pgmux.wire() as wire:
            wire.socket.sendall(
                frontend.startup({"user": "app", "database": "app"}) + frontend.query("SELECT 'early'")
            )
            wire.read_until(b"Z")
            assert wire.read_until(b"Z").value == b"early"


# pgmux goes in


@pytest.mark.parametrize("way", [by_socket, by_tcp])
@pytest.mark.parametrize("role", ["app", *PASSWORDS])
def test_pgmux_logs_in_by_every_method(
    make_pgmux: MakePgmux, any_postgres: Postgres, role: str, way: Callable[..., dict[str, str]]
) -> None:
    login = {"user": role, "password": PASSWORDS.get(role, "")}
    pgmux = make_pgmux(postgres=any_postgres, workers=1, databases={"app": way(any_postgres, **login)})
    with connect(pgmux, user="whoever") as client:
        assert client.query("SELECT current_user").value == role.encode()


def test_pgmux_logs_in_with_the_passwords_of_its_auth_file(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords=PASSWORDS)
    for role, password in PASSWORDS.items():
        with connect(pgmux, user=role, password=password) as client:
            assert client.query("SELECT current_user").value == role.encode()


# Limits


def test_one_client_too_many_is_told_so(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=4, max_client_conn=5)
    inside = Inside(pgmux)
    wait_until(lambda: inside.clients() == 0, what="the end of the first")
    clients = [connect(pgmux) for _ in range(5)]
    for _ in range(8):
        with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
            wire.startup()
        assert refused.value.sqlstate == "53300"
        assert "max_client_conn is 5" in refused.value.fields["M"]
    clients.pop().terminate()
    wait_until(lambda: inside.clients() == 4, what="the end of those refused")
    clients.append(connect(pgmux))
    for client in clients:
        assert client.query("SELECT 1").value == b"1"
        client.close()


def test_an_oversized_start_up_packet_is_refused_before_it_is_read(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux()
    with pgmux.wire() as wire:
        wire.startup(application_name="x" * 9_900)
    for size in (10_001, 1_000_000, 2**31 - 1, -1, 0, 7):
        with pgmux.wire() as wire:
            wire.send(frontend.untyped(b"\0\3\0\0", length=size))
            assert wire.read_to_the_end().sqlstate == "08P01", size


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\0",
        frontend.startup({"user": "plain"})[:-1],
        frontend.startup({"user": "plain"}),
        frontend.startup({"user": "plain"})
        + frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc")[:-1],
    ],
    ids=["nothing", "a byte", "half a start-up", "no password", "half a password"],
)
def test_a_log_in_that_stands_still_is_ended(
    make_pgmux: MakePgmux, postgres: Postgres, before: bytes
) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256", passwords=secrets(postgres), client_login_timeout=LOGIN_TIMEOUT_S
    )
    began = time.monotonic()
    with pgmux.wire() as wire:
        wire.socket.sendall(before)
        last = wire.read_to_the_end()[-1]
    assert last["C"] == "57014"
    assert "client_login_timeout (1s)" in last["M"]
    # Who says nothing at all is accepted a second late.
    assert LOGIN_TIMEOUT_S <= time.monotonic() - began < LOGIN_TIMEOUT_S + DEFER_SECONDS + 1


def test_garbage_is_answered_by_an_error_or_by_silence(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(
        auth_type="scram-sha-256", passwords=secrets(postgres), client_login_timeout=LOGIN_TIMEOUT_S
    )
    chance = random.Random(7)
    wires = []
    for _ in range(100):
        wires.append(approach(pgmux))
        wires[-1].socket.sendall(garbage(chance))
    for wire in wires:
        with wire:
            assert wire.read_to_the_end()[-1]["C"] in REFUSALS
    with connect(pgmux, user="plain", password=PASSWORDS["plain"]) as client:
        assert client.query("SELECT 1").value == b"1"


def garbage(chance: random.Random) -> bytes:
    """Noise, noise of a plausible length, or a start-up packet with some bytes changed."""
    noise = chance.randbytes(chance.randint(1, 300))
    good = bytearray(frontend.startup({"user": "app", "database": "app", "options": "-c a=b"}))
    for _ in range(3):
        good[chance.randrange(len(good))] = chance.randrange(256)
    return chance.choice([noise, frontend.untyped(noise), b"GET / HTTP/1.1\r\n\r\n", bytes(good)])


def test_a_flood_of_malformed_clients_hurts_nobody_else(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, client_login_timeout=LOGIN_TIMEOUT_S, log_level="info")

    def rude(number: int) -> Iterator[None]:
        chance = random.Random(number)
        while True:
            with approach(pgmux) as wire:
                wire.socket.sendall(garbage(chance))
                if chance.randrange(2):
                    wire.socket.settimeout(0.05)
                    wire.is_silent(0.01)
            yield

    with connect(pgmux) as polite, Crowd(20, rude, may_fail=(OSError, WireClosedError)) as crowd:
        slowest = 0.0
        for n in range(300):
            began = time.monotonic()
            assert polite.query(f"SELECT {n}").value == b"%d" % n
            with connect(pgmux) as newcomer:
                assert newcomer.query("SELECT 'new'").value == b"new"
            slowest = max(slowest, time.monotonic() - began)
        assert sum(crowd.rounds) > 300
    assert slowest < 2
    assert len(pgmux.log_file.lines("log-in refused")) < 20 * 2 * 60


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("name", [b"\xff", "ä".encode() * 40], ids=["no UTF-8", "too long"])
def test_a_strange_name_hurts_nobody_else(
    make_pgmux: MakePgmux, postgres: Postgres, name: bytes, log_format: str
) -> None:
    pgmux = make_pgmux(workers=2, log_format=log_format)
    inside = Inside(pgmux)
    clients = inside.a_client_on_each_worker()
    with pgmux.wire() as strange:
        strange.socket.sendall(frontend.untyped(b"\0\3\0\0user\0app\0database\0" + name + b"\0\0"))
        assert strange.read_to_the_end().sqlstate == "3D000"
    victim = pgmux.kill_worker(inside.pid_of(0))
    wait_until(lambda: inside.pid_of(0) not in (0, victim), what="the successor of a worker that was killed")
    for n in range(100):
        assert clients[1].query(f"SELECT {n}").value == b"%d" % n
    with connect(pgmux) as newcomer:
        assert newcomer.query("SELECT 1").value == b"1"
    for client in clients.values():
        client.close()
    assert not pgmux.log_contains("Traceback")


def test_strangers_cannot_use_up_the_pools(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, max_pools=5)
    for n in range(10):
        with approach(pgmux) as stranger, pytest.raises(LoginRefusedError):
            stranger.startup(user=f"stranger-{n}")
    with connect(pgmux) as client:
        assert client.query("SELECT 1").value == b"1"


def test_clients_that_never_log_in_do_not_keep_others_out_for_long(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, client_login_timeout=LOGIN_TIMEOUT_S, max_client_conn=20)
    idlers = [approach(pgmux) for _ in range(200)]
    for idler in idlers:
        idler.socket.setblocking(False)

    def gets_in() -> bool:
        try:
            with connect(pgmux) as client:
                return client.query("SELECT 1").value == b"1"
        except (LoginRefusedError, WireClosedError):
            return False

    wait_until(gets_in, 10, "a client to get in once the idlers are out")
    for idler in idlers:
        idler.close()


def test_psycopg_tells_the_reason_of_a_refusal(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords=secrets(postgres))
    with pytest.raises(psycopg.OperationalError, match='password authentication failed for user "plain"'):
        pgmux.connect(user="plain", password="guessed")
