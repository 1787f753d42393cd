"""TLS to clients: drivers, modes, what goes wrong in the middle, and all workers as one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from pgmux.demo.account import environment
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, approach
from tests.integration.test_login import JARS
from tests.servers import Pgmux, Postgres, wait_until
from tests.servers.certificates import Authority, Certificate
from tests.wire import LoginRefusedError, Wire, WireClosedError, frontend

GIGABYTE = 1 << 30


def has_pgjdbc() -> bool:
    return bool(shutil.which("javac")) and all(jar.exists() for jar in JARS)


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.certify()


def tls_options(certificate: Certificate, mode: str = "require", **more: Any) -> dict[str, Any]:
    return {
        "client_tls_sslmode": mode,
        "client_tls_cert_file": certificate.cert_file,
        "client_tls_key_file": certificate.key_file,
        **more,
    }


def wire_under_tls(pgmux: Pgmux, context: ssl.SSLContext) -> Wire:
    """A connection under TLS, not logged in."""
    wire = pgmux.wire()
    wire.start_tls(context)
    return wire


# ---- drivers


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_psycopg_speaks_tls(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate, sslmode: str, protocol: str
) -> None:
    pgmux = make_pgmux(**tls_options(certificate))
    with pgmux.connect(
        sslmode=sslmode,
        sslrootcert=authority.ca_file,
        ssl_max_protocol_version=protocol,
        prepare_threshold=None,
    ) as connection:
        assert connection.pgconn.ssl_in_use
        for _ in range(50):
            assert connection.execute("SELECT %s::int + 1", [41]).fetchone() == (42,)


def test_psql_speaks_tls_and_says_so(
    make_pgmux: MakePgmux, postgres: Postgres, authority: Authority, certificate: Certificate
) -> None:
    system = Path("/usr/bin/psql")
    if not system.exists():
        pytest.skip("the wheel's psql has no TLS, and the system has none")
    pgmux = make_pgmux(**tls_options(certificate))
    said = subprocess.run(
        [system, "-X", pgmux.connect_dsn(), "-c", "SELECT 42 AS answer", "-c", "\\conninfo"],
        env={**environment(), "PGSSLMODE": "verify-full", "PGSSLROOTCERT": authority.ca_file},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "42" in said
    assert "TLSv1.3" in said


@pytest.mark.parametrize("direct_tls", [False, True])
def test_asyncpg_speaks_tls_also_without_asking_first(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate, direct_tls: bool
) -> None:
    pgmux = make_pgmux(**tls_options(certificate))

    async def run() -> list[int]:
        connection = await asyncpg.connect(
            pgmux.connect_url(),
            ssl=authority.trusting(direct=direct_tls),
            direct_tls=direct_tls,
            statement_cache_size=0,
        )
        try:
            async with connection.transaction():
                return [await connection.fetchval("SELECT $1::int + 1", number) for number in range(50)]
        finally:
            await connection.close()

    assert asyncio.run(run()) == list(range(1, 51))


def test_libpq_speaks_direct_tls(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    if psycopg.pq.version() < 170000:
        pytest.skip("libpq knows sslnegotiation from 17 on")
    pgmux = make_pgmux(**tls_options(certificate))
    with pgmux.connect(
        sslmode="verify-full", sslrootcert=authority.ca_file, sslnegotiation="direct"
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(not has_pgjdbc(), reason="needs a JDK, libpostgresql-jdbc-java and libscram-java")
@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_pgjdbc_speaks_tls(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate, sslmode: str
) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords={"app": "secret"}, **tls_options(certificate))
    program = Path(__file__).parent.parent / "drivers" / "LogIn.java"
    url = f"jdbc:postgresql://localhost:{pgmux.port}/app?sslmode={sslmode}&sslrootcert={authority.ca_file}"
    command = ["java", "-cp", ":".join(map(str, JARS)), str(program), url, "app", "secret"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "app\n"


def test_passwords_and_binding_work_under_tls(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(auth_type="scram-sha-256", passwords={"app": "secret"}, **tls_options(certificate))
    with pgmux.connect(password="secret", sslmode="require", channel_binding="require") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        pgmux.connect(password="wrong", sslmode="require")


# ---- modes


def test_disable_offers_none(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux()
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        pgmux.connect(sslmode="require")
    with pgmux.connect(sslmode="prefer") as connection:
        assert not connection.pgconn.ssl_in_use


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_allow_and_prefer_let_the_client_choose(
    make_pgmux: MakePgmux, certificate: Certificate, mode: str
) -> None:
    pgmux = make_pgmux(**tls_options(certificate, mode))
    for sslmode, is_encrypted in (("disable", False), ("prefer", True), ("require", True)):
        with pgmux.connect(sslmode=sslmode) as connection:
            assert bool(connection.pgconn.ssl_in_use) == is_encrypted


def test_require_refuses_plain_clients_but_those_on_the_unix_socket(
    make_pgmux: MakePgmux, certificate: Certificate
) -> None:
    pgmux = make_pgmux(**tls_options(certificate))
    with pytest.raises(LoginRefusedError) as refused:
        pgmux.wire().startup()
    assert refused.value.sqlstate == "28000"
    assert 'client_tls_sslmode is "require"' in refused.value.fields["M"]
    with pgmux.wire(unix=True) as local:
        local.startup()
        assert local.query("SELECT 1").value == b"1"
    with pgmux.wire(unix=True) as local:
        local.send(frontend.ssl_request())
        assert local.read_byte() == b"N"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_verify_lets_in_who_shows_a_good_certificate(
    make_pgmux: MakePgmux, authority: Authority, stranger: Authority, certificate: Certificate, mode: str
) -> None:
    pgmux = make_pgmux(**tls_options(certificate, mode, client_tls_ca_file=authority.ca_file))
    good, bad = (
        authority.certify("app@here", common_name="app"),
        stranger.certify("app@here", common_name="app"),
    )
    with pgmux.connect(sslmode="require", sslcert=good.cert_file, sslkey=good.key_file) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        pgmux.connect(sslmode="require", sslcert=bad.cert_file, sslkey=bad.key_file)
    pgmux.wait_for_log('reason="TLS handshake: certificate verify failed: unable to get local issuer')
    with pytest.raises(psycopg.OperationalError):
        pgmux.connect(sslmode="require", sslcert="/nowhere", sslkey="/nowhere")
    pgmux.wait_for_log('reason="TLS handshake: peer did not return a certificate')


def test_a_version_that_is_not_offered_is_refused(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(**tls_options(certificate, client_tls_protocols="tlsv1.3"))
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        wire_under_tls(pgmux, context)
    pgmux.wait_for_log('reason="TLS handshake: unsupported protocol')


def test_ciphers_are_as_configured(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(
        **tls_options(
            certificate, client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256", client_tls_ecdhcurve="P-256"
        )
    )
    wire = wire_under_tls(pgmux, authority.trusting())
    assert isinstance(wire.socket, ssl.SSLSocket)
    cipher = wire.socket.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_CHACHA20_POLY1305_SHA256"


# ---- much, and slowly


def test_a_gigabyte_passes_and_is_not_piled_up(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    wire = wire_under_tls(pgmux, authority.trusting())
    wire.startup()
    before = pgmux.uss_bytes()
    row = 1 << 16
    wire.send(
        frontend.query(
            f"COPY (SELECT repeat('x', {row - 1}) FROM generate_series(1, {GIGABYTE // row})) TO STDOUT"
        )
    )
    wire.read_until(b"d")
    received = most = 0
    tail = b""
    while not tail.endswith(frontend.message(b"Z", b"I")):
        data = wire.socket.recv(1 << 20)
        assert data
        received += len(data)
        tail = (tail + data)[-16:]
        if received % (64 << 20) < len(data):
            most = max(most, pgmux.uss_bytes() - before)
    assert received > GIGABYTE - (2 << 20)
    assert most < 8 << 20


def test_much_goes_in_and_is_not_piled_up(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    wire = wire_under_tls(pgmux, authority.trusting())
    wire.startup()
    wire.query("CREATE UNLOGGED TABLE IF NOT EXISTS swallowed (line text)")
    before = pgmux.uss_bytes()
    wire.send(frontend.query("COPY swallowed FROM STDIN WHERE line IS NULL"))
    wire.read_until(b"G")
    chunk = frontend.message(b"d", b"x" * 65_000 + b"\n") * 16
    most = 0
    for number in range(GIGABYTE // 4 // len(chunk)):
        wire.socket.sendall(chunk)
        if number % 32 == 0:
            most = max(most, pgmux.uss_bytes() - before)
    assert wire.ask(frontend.message(b"c")).types == b"CZ"
    assert most < 8 << 20
    wire.query("DROP TABLE swallowed")


def test_a_client_that_does_not_read_holds_up_nobody_else(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2, **tls_options(certificate))
    sluggard, other = (wire_under_tls(pgmux, authority.trusting()) for _ in range(2))
    sluggard.startup()
    sluggard.send(frontend.query("SELECT repeat('x', 1000000) FROM generate_series(1, 100)"))
    other.startup()
    for _ in range(100):
        assert other.query("SELECT 1").value == b"1"
    replies = sluggard.read_until(b"Z")
    assert len(replies) == 103


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_a_client_may_dribble(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate, piece: int
) -> None:
    """Its ciphertext comes in small pieces, in the handshake and after it."""
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting(direct=True).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((pgmux.host, pgmux.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def attempt(action: Any) -> Any:
            while True:
                try:
                    result = action()
                except ssl.SSLWantReadError:
                    dribble()
                    data = connection.recv(65536)
                    assert data
                    incoming.write(data)
                else:
                    dribble()
                    return result

        def dribble() -> None:
            data = outgoing.read()
            for at in range(0, len(data), piece):
                connection.sendall(data[at : at + piece])

        attempt(client.do_handshake)
        attempt(lambda: client.write(frontend.startup({"user": "app", "database": "app"})))
        received = b""
        while not received.endswith(frontend.message(b"Z", b"I")):
            received += attempt(lambda: client.read(65536))
        attempt(lambda: client.write(frontend.query("SELECT 'dribbled'")))
        received = b""
        while not received.endswith(frontend.message(b"Z", b"I")):
            received += attempt(lambda: client.read(65536))
    assert b"dribbled" in received


# ---- what goes wrong


def test_a_handshake_half_sent_ends_with_the_time_for_log_ins(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, client_login_timeout="500ms", **tls_options(certificate))
    hello = client_hello(authority)
    halves = [hello[:5], hello[: len(hello) // 2], hello]
    connections = [socket.create_connection((pgmux.host, pgmux.port), 10) for _ in halves]
    try:
        for connection, half in zip(connections, halves, strict=True):
            connection.sendall(half)
        with wire_under_tls(pgmux, authority.trusting()) as other:
            other.startup()
            assert other.query("SELECT 1").value == b"1"
        for connection in connections:
            while connection.recv(65536):
                pass
    finally:
        for connection in connections:
            connection.close()
    pgmux.wait_for_log("the log-in took longer than client_login_timeout")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x00\x05junk!", b"\x15\x03\x03\x00\x02\x02\x28", b"\0" * 100])
def test_junk_in_place_of_a_handshake_is_logged_and_closed(
    make_pgmux: MakePgmux, certificate: Certificate, junk: bytes
) -> None:
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    with pgmux.wire() as wire:
        wire.send(frontend.ssl_request())
        assert wire.read_byte() == b"S"
        wire.socket.sendall(junk)
        while wire.socket.recv(4096):
            pass
    pgmux.wait_for_log('log-in refused: .*reason="TLS handshake: ')


def test_plaintext_smuggled_in_behind_the_request_is_refused(
    make_pgmux: MakePgmux, certificate: Certificate
) -> None:
    pgmux = make_pgmux(**tls_options(certificate))
    with pgmux.wire() as wire:
        wire.send(frontend.ssl_request() + frontend.startup({"user": "app", "database": "app"}))
        [error] = wire.read_to_the_end()
        assert error.fields["M"] == "received unencrypted data after a request for encryption"


def test_a_client_that_hangs_up_in_the_handshake_is_forgotten(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, max_client_conn=5, **tls_options(certificate))
    hello = client_hello(authority)
    for length in range(0, len(hello), 40):
        with socket.create_connection((pgmux.host, pgmux.port), 10) as connection:
            connection.sendall(hello[:length])

    def is_let_in() -> bool:
        with wire_under_tls(pgmux, authority.trusting()) as wire:
            try:
                wire.startup()
            except LoginRefusedError:
                return False
            return wire.query("SELECT 1").value == b"1"

    wait_until(is_let_in)
    assert not pgmux.log_contains("TLS handshake")


def test_last_words_come_whole_and_with_a_goodbye(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    wire = wire_under_tls(pgmux, authority.trusting())
    wire.startup()
    pgmux.signal(signal.SIGTERM)
    [error] = wire.read_to_the_end()  # an end without close_notify would be an ssl.SSLError
    assert error.fields["C"] == "57P01"
    wire.close()
    assert pgmux.wait_until_stopped() == 0


def test_a_malformed_message_under_tls_closes_that_client_alone(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, **tls_options(certificate))
    bad, good = (wire_under_tls(pgmux, authority.trusting()) for _ in range(2))
    for wire in (bad, good):
        wire.startup()
    bad.socket.sendall(b"?\0\0\0\4")
    assert [reply.fields["C"] for reply in bad.read_to_the_end()] == ["08P01"]
    assert good.query("SELECT 1").value == b"1"


def test_a_queued_client_is_told_under_tls(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, query_wait_timeout="300ms", **tls_options(certificate))
    holder, waiter = (wire_under_tls(pgmux, authority.trusting()) for _ in range(2))
    for wire in (holder, waiter):
        wire.startup()
    holder.query("BEGIN")
    assert waiter.query("SELECT 1").sqlstate == "53300"
    holder.query("COMMIT")
    assert waiter.query("SELECT 1").value == b"1"


# ---- all workers


def test_a_query_is_cancelled_from_under_tls_and_without_it(
    make_pgmux: MakePgmux, postgres: Postgres, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=4, **tls_options(certificate))
    with (
        pgmux.connect(sslmode="require", prepare_threshold=None) as connection,
        ThreadPoolExecutor(1) as thread,
    ):
        for cancel in (connection.cancel_safe, connection.cancel):  # the second sends its request in clear
            asked = thread.submit(connection.execute, "SELECT pg_sleep(60)")
            wait_until(
                lambda: postgres.sql(
                    "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
                )
            )
            cancel()
            assert isinstance(asked.exception(10), psycopg.errors.QueryCanceled)
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_whichever_worker_it_meets(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    pgmux = make_pgmux(workers=4, **tls_options(certificate))
    context = authority.trusting()
    context.maximum_version = version
    session = None
    for number in range(20):  # the kernel chooses the worker
        with pgmux.wire() as wire:
            wire.send(frontend.ssl_request())
            assert wire.read_byte() == b"S"
            wire.socket = encrypted = context.wrap_socket(
                wire.socket, server_hostname="127.0.0.1", session=session
            )
            wire.startup()
            assert wire.query("SELECT 1").value == b"1"
            assert bool(encrypted.session_reused) == (number > 0)
            session = encrypted.session
            wire.terminate()


def test_certificates_are_renewed_by_a_reload_and_nobody_is_disconnected(
    make_pgmux: MakePgmux, authority: Authority, tmp_path: Path
) -> None:
    files = Certificate(str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    install(authority.certify(), files)
    pgmux = make_pgmux(workers=4, **tls_options(files))
    old = wire_under_tls(pgmux, authority.trusting())
    old.startup()
    renewed = authority.certify("localhost", "127.0.0.1", "renewed.example.org")
    install(renewed, files)
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("supervisor: reloaded")
    wait_until(lambda: all("renewed.example.org" in names_shown(pgmux, authority) for _ in range(20)))
    assert old.query("SELECT 1").value == b"1"


def test_a_bad_certificate_is_not_taken_up(
    make_pgmux: MakePgmux, authority: Authority, tmp_path: Path
) -> None:
    files = Certificate(str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    install(authority.certify(), files)
    pgmux = make_pgmux(workers=2, **tls_options(files))
    Path(files.key_file).write_bytes(Path(authority.certify().key_file).read_bytes())
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("not reloaded, nothing has changed: .*key values mismatch")
    with wire_under_tls(pgmux, authority.trusting()) as wire:
        wire.startup()
        assert wire.query("SELECT 1").value == b"1"


def test_tls_is_switched_on_and_off_by_a_reload(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=2)
    pgmux.write_configuration(**tls_options(certificate))
    pgmux.signal(signal.SIGHUP)
    wait_until(lambda: all(offers_tls(pgmux) for _ in range(10)))
    early = pgmux.wire()  # accepted while TLS is offered, and asks for it when it is not any more
    early.send(frontend.gssenc_request())
    assert early.read_byte() == b"N"
    pgmux.write_configuration(client_tls_sslmode="disable")
    pgmux.signal(signal.SIGHUP)
    wait_until(lambda: not any(offers_tls(pgmux) for _ in range(10)))
    early.start_tls(authority.trusting())
    early.startup()
    assert early.query("SELECT 1").value == b"1"


def test_a_storm_of_handshakes_leaves_the_others_served(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=5, **tls_options(certificate))
    context = authority.trusting()

    def newcomer(number: int) -> Iterator[None]:
        while True:
            wire = approach(pgmux)
            try:
                wire.start_tls(context)
                wire.startup()
                assert wire.query(f"SELECT {number}").value == str(number).encode()
                wire.terminate()
            finally:
                wire.close()
            yield

    with wire_under_tls(pgmux, context) as resident:
        resident.startup()
        with Crowd(40, newcomer) as crowd:
            for number in range(300):
                assert resident.query(f"SELECT {number}").value == str(number).encode()
            crowd.wait_for_rounds(3)
    assert not pgmux.log_contains("TLS handshake")


def test_killed_worker_takes_only_its_own_clients_along(
    make_pgmux: MakePgmux, authority: Authority, certificate: Certificate
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=4, **tls_options(certificate))
    context = authority.trusting()
    wires = [wire_under_tls(pgmux, context) for _ in range(12)]
    for wire in wires:
        wire.startup()
    pgmux.kill_worker()
    outcomes = []
    for wire in wires:
        try:
            outcomes.append(wire.query("SELECT 1").value == b"1")
        except (WireClosedError, ssl.SSLError, OSError):
            outcomes.append(False)
    assert any(outcomes)
    for _ in range(10):
        with wire_under_tls(pgmux, context) as again:
            again.startup()
            assert again.query("SELECT 1").value == b"1"


# ---- what the tests above share


def client_hello(authority: Authority) -> bytes:
    """The first message of a direct TLS connection."""
    outgoing = ssl.MemoryBIO()
    client = authority.trusting(direct=True).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def install(certificate: Certificate, files: Certificate) -> None:
    """Put a certificate where pgmux looks for it, as a renewal does: each file at once."""
    for source, target in ((certificate.key_file, files.key_file), (certificate.cert_file, files.cert_file)):
        fresh = Path(f"{target}.new")
        fresh.touch(0o600)
        fresh.write_bytes(Path(source).read_bytes())
        os.replace(fresh, target)


def names_shown(pgmux: Pgmux, authority: Authority) -> set[str]:
    """The host names in the certificate that some worker shows."""
    with wire_under_tls(pgmux, authority.trusting()) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        shown: dict[str, Any] = wire.socket.getpeercert() or {}
        return {value for _, value in shown["subjectAltName"]}


def offers_tls(pgmux: Pgmux) -> bool:
    with pgmux.wire() as wire:
        wire.send(frontend.ssl_request())
        return wire.read_byte() == b"S"


def test_the_console_is_under_tls_too_and_shows_who_is(
    make_pgmux: MakePgmux, certificate: Certificate
) -> None:
    pgmux = make_pgmux(**tls_options(certificate, "prefer"), admin_users=["app"], auth_type="trust")
    with pgmux.connect(dbname="pgmux", sslmode="require", autocommit=True) as console:
        assert console.pgconn.ssl_in_use
        with (
            pgmux.connect(sslmode="disable", application_name="open"),
            pgmux.connect(sslmode="require", ssl_max_protocol_version="TLSv1.2", application_name="old"),
        ):
            cursor = console.execute("SHOW CLIENTS")
            assert cursor.description is not None
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    shown = {row["application_name"]: row["tls"] for row in rows}
    assert shown["open"] == ""
    assert shown["old"].startswith("TLSv1.2/ECDHE-")
    assert any(tls.startswith("TLSv1.3/TLS_") for tls in shown.values())
