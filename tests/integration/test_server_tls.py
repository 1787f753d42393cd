"""TLS to PostgreSQL: modes and what each checks, and backends that only one worker can use."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres, version_with_openssl
from tests.integration.census import Census
from tests.integration.crowd import Crowd, connect
from tests.integration.lobbies import Lobbies
from tests.servers import PASSWORDS, Pgmux, Postgres, wait_until
from tests.servers.certificates import Authority, Certificate
from tests.wire import frontend

HOW = "SELECT ssl::text || coalesce(' ' || version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
PID = "SELECT pg_backend_pid()"


@pytest.fixture
def make_secure(make_postgres: MakePostgres, authority: Authority) -> Any:
    """Makes servers that speak TLS under a certificate of the authority's."""

    def make(*hba: str, certificate: Certificate | None = None, **settings: str) -> Postgres:
        certificate = certificate or authority.certify()
        return make_postgres(version_with_openssl(), settings, hba, certificate)

    return make


@pytest.fixture
def secure(secure_postgres: Postgres) -> Postgres:
    return secure_postgres


def by_tcp(postgres: Postgres, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"databases": {"*": {"host": host, "port": postgres.port}}, "postgres": postgres}


def how_connected(pgmux: Pgmux) -> str:
    """What PostgreSQL says of a backend's connection: "true TLSv1.3", or "false"."""
    with pgmux.connect(prepare_threshold=None) as connection:
        row = connection.execute(HOW).fetchone()
        assert row is not None
        return str(row[0])


def why_not(pgmux: Pgmux) -> str:
    """Why nobody can be let in: PostgreSQL cannot be used."""
    with pytest.raises(psycopg.OperationalError) as refused:
        pgmux.connect()
    return str(refused.value)


class Eavesdropper:
    """Ends TLS on both sides of a connection to PostgreSQL, and passes everything on."""

    def __init__(self, postgres: Postgres, certificate: Certificate) -> None:
        self._target = (postgres.host, postgres.port)
        self._shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._shown.load_cert_chain(certificate.cert_file, certificate.key_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = ThreadPoolExecutor(8)

    def __enter__(self) -> Self:
        self._threads.submit(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads.shutdown(wait=False)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.submit(self._stand_between, connection)

    def _stand_between(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, socket.create_connection(self._target) as server:
            server.sendall(connection.recv(8))
            connection.sendall(server.recv(1))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            ours = self._shown.wrap_socket(connection, server_side=True)
            theirs = context.wrap_socket(server)
            with ours, theirs:
                back = self._threads.submit(_pass_on, theirs, ours)
                _pass_on(ours, theirs)
                back.result()


def _pass_on(source: ssl.SSLSocket, target: ssl.SSLSocket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


# ---- modes


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_is_spoken_where_it_is_demanded(
    make_pgmux: MakePgmux, secure: Postgres, authority: Authority, mode: str, host: str
) -> None:
    pgmux = make_pgmux(server_tls_sslmode=mode, server_tls_ca_file=authority.ca_file, **by_tcp(secure, host))
    assert how_connected(pgmux) == "true TLSv1.3"


def test_versions_and_ciphers_are_as_configured(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(server_tls_sslmode="require", server_tls_protocols="tlsv1.2", **by_tcp(secure))
    assert how_connected(pgmux) == "true TLSv1.2"


def test_on_this_machine_prefer_goes_without_if_it_may(make_pgmux: MakePgmux, secure: Postgres) -> None:
    assert how_connected(make_pgmux(**by_tcp(secure))) == "false"
    assert how_connected(make_pgmux(server_tls_sslmode="disable", **by_tcp(secure))) == "false"


@pytest.mark.parametrize("mode", ["prefer", "allow"])
def test_and_with_tls_if_postgresql_insists(make_pgmux: MakePgmux, make_secure: Any, mode: str) -> None:
    secure = make_secure("hostssl all all 127.0.0.1/32 trust", "hostnossl all all 127.0.0.1/32 reject")
    assert how_connected(make_pgmux(server_tls_sslmode=mode, **by_tcp(secure))) == "true TLSv1.3"
    pgmux = make_pgmux(server_tls_sslmode="disable", **by_tcp(secure))
    assert "pg_hba.conf rejects connection" in why_not(pgmux)


def test_a_wrong_password_is_not_tried_a_second_way(make_pgmux: MakePgmux, make_secure: Any) -> None:
    secure = make_secure()
    pgmux = make_pgmux(server_tls_sslmode="allow", server_login_retry="60s", **by_tcp(secure))
    with pytest.raises(psycopg.OperationalError):
        pgmux.connect(user="scram")
    secure.wait_for_log("connection received: host=127.0.0.1")
    assert secure.log_file.whole().count("connection received: host=127.0.0.1") == 1


def test_a_server_without_tls_is_refused_where_it_is_demanded(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(server_tls_sslmode="require", **by_tcp(postgres))
    assert 'PostgreSQL has no TLS, and server_tls_sslmode is "require"' in why_not(pgmux)
    assert how_connected(make_pgmux(server_tls_sslmode="prefer", **by_tcp(postgres))) == "false"


def test_on_a_unix_socket_there_is_none(
    make_pgmux: MakePgmux, secure: Postgres, authority: Authority
) -> None:
    pgmux = make_pgmux(
        postgres=secure, server_tls_sslmode="verify-full", server_tls_ca_file=authority.ca_file
    )
    assert how_connected(pgmux) == "false"


def test_a_strangers_certificate_is_refused_by_verify_alone(
    make_pgmux: MakePgmux, make_secure: Any, authority: Authority, stranger: Authority
) -> None:
    secure = make_secure(certificate=stranger.certify())
    for mode in ("verify-ca", "verify-full"):
        pgmux = make_pgmux(server_tls_sslmode=mode, server_tls_ca_file=authority.ca_file, **by_tcp(secure))
        assert "certificate verify failed: unable to get local issuer certificate" in why_not(pgmux)
    assert how_connected(make_pgmux(server_tls_sslmode="require", **by_tcp(secure))) == "true TLSv1.3"


def test_a_certificate_for_another_name_is_refused_by_verify_full_alone(
    make_pgmux: MakePgmux, make_secure: Any, authority: Authority
) -> None:
    secure = make_secure(certificate=authority.certify("db.example.org"))
    options: dict[str, Any] = {"server_tls_ca_file": authority.ca_file}
    pgmux = make_pgmux(server_tls_sslmode="verify-full", **options, **by_tcp(secure))
    assert "certificate verify failed: IP address mismatch" in why_not(pgmux)
    pgmux = make_pgmux(server_tls_sslmode="verify-full", **options, **by_tcp(secure, "localhost"))
    assert "certificate verify failed: hostname mismatch" in why_not(pgmux)
    assert (
        how_connected(make_pgmux(server_tls_sslmode="verify-ca", **options, **by_tcp(secure)))
        == "true TLSv1.3"
    )


def test_the_systems_authorities_do_not_know_ours(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(server_tls_sslmode="verify-full", **by_tcp(secure))
    assert "certificate verify failed" in why_not(pgmux)


@pytest.mark.parametrize("user", ["plain", "hashed", "scram"])
def test_pgmux_logs_in_under_tls_by_every_method(make_pgmux: MakePgmux, secure: Postgres, user: str) -> None:
    options: dict[str, Any] = {"auth_type": "scram-sha-256", "passwords": PASSWORDS}
    pgmux = make_pgmux(server_tls_sslmode="require", **options, **by_tcp(secure))
    with pgmux.connect(user=user, password=PASSWORDS[user], prepare_threshold=None) as connection:
        row = connection.execute(
            "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert row == (user, True)


def test_who_stands_in_between_cannot_pass_a_log_in_by_scram_on(
    make_pgmux: MakePgmux, secure: Postgres, stranger: Authority
) -> None:
    """With "require" it may show any certificate; SCRAM binds itself to the one that PostgreSQL has."""
    with Eavesdropper(secure, stranger.certify()) as between:
        pgmux = make_pgmux(
            databases={"*": {"host": "127.0.0.1", "port": between.port}},
            auth_type="scram-sha-256",
            passwords={"scram": PASSWORDS["scram"], "plain": PASSWORDS["plain"]},
            server_tls_sslmode="require",
        )
        with pgmux.connect(user="plain", password=PASSWORDS["plain"]) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="SCRAM channel binding check failed"):
            pgmux.connect(user="scram", password=PASSWORDS["scram"])


def test_pgmux_shows_a_certificate_of_its_own(
    make_pgmux: MakePgmux, make_secure: Any, authority: Authority
) -> None:
    secure = make_secure("hostssl all all 127.0.0.1/32 cert")
    (secure.data_dir / "ca.crt").write_text(Path(authority.ca_file).read_text())
    secure.sql(f"ALTER SYSTEM SET ssl_ca_file = '{secure.data_dir}/ca.crt'")
    secure.sql("SELECT pg_reload_conf()")
    ours = authority.certify("app@pgmux", common_name="app")
    options: dict[str, Any] = {"server_tls_sslmode": "require"}
    shown: dict[str, Any] = {"server_tls_cert_file": ours.cert_file, "server_tls_key_file": ours.key_file}
    wait_until(lambda: how_connected(make_pgmux(**options, **shown, **by_tcp(secure))) == "true TLSv1.3")
    assert "requires a valid client certificate" in why_not(make_pgmux(**options, **by_tcp(secure)))


def test_direct_tls_to_a_server_that_understands_it(
    make_pgmux: MakePgmux, postgres: Postgres, authority: Authority
) -> None:
    """The server is another pgmux: of PostgreSQLs with OpenSSL only those from 17 on understand it."""
    certificate = authority.certify()
    inner = make_pgmux(
        client_tls_sslmode="verify-full",
        client_tls_cert_file=certificate.cert_file,
        client_tls_key_file=certificate.key_file,
        client_tls_ca_file=authority.ca_file,
    )
    ours = authority.certify("app@pgmux", common_name="app")
    outer = make_pgmux(
        databases={"*": {"host": "localhost", "port": inner.port}},
        server_tls_sslmode="verify-full",
        server_tls_negotiation="direct",
        server_tls_ca_file=authority.ca_file,
        server_tls_cert_file=ours.cert_file,
        server_tls_key_file=ours.key_file,
    )
    with outer.connect(prepare_threshold=None) as connection:
        assert connection.execute("SELECT 41 + 1").fetchone() == (42,)
        assert connection.execute("SELECT length(repeat('x', 10000000))").fetchone() == (10_000_000,)


def test_direct_tls_to_a_server_that_does_not(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(server_tls_sslmode="require", server_tls_negotiation="direct", **by_tcp(secure))
    if int(version_with_openssl()) >= 17:
        assert how_connected(pgmux) == "true TLSv1.3"
    else:
        assert "PostgreSQL closed the connection during the TLS handshake" in why_not(pgmux)


# ---- a backend's life


def test_results_cancels_and_errors_come_through(
    make_pgmux: MakePgmux, secure: Postgres, authority: Authority
) -> None:
    pgmux = make_pgmux(workers=2, server_tls_sslmode="require", **by_tcp(secure))
    with pgmux.connect(prepare_threshold=None) as connection, ThreadPoolExecutor(1) as thread:
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 100000)").fetchall()
        assert len(rows) == 100_000
        asked = thread.submit(connection.execute, "SELECT pg_sleep(60)")
        wait_until(
            lambda: secure.sql(
                "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
            )
        )
        connection.cancel()
        assert isinstance(asked.exception(10), psycopg.errors.QueryCanceled)
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        with connection.transaction():
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_client_that_vanishes_leaves_its_backend_clean(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, server_tls_sslmode="require", **by_tcp(secure))
    first = pgmux.wire()
    first.startup()
    first.query("BEGIN")
    pid = first.query(PID).value
    first.send(frontend.query("SELECT pg_sleep(60)"))
    wait_until(lambda: secure.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    first.close()
    with pgmux.wire() as second:
        second.startup()
        assert second.query(PID).value == pid
        assert second.query("SELECT 1").status == "I"


def test_a_backend_that_is_terminated_is_replaced(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, server_tls_sslmode="require", **by_tcp(secure))
    with pgmux.wire() as wire:
        wire.startup()
        pid = int(wire.query(PID).value or 0)
        secure.kill_backend(pid)
        wait_until(lambda: wire.query(PID).value not in (None, str(pid).encode()))


def test_the_last_word_to_postgresql_is_said_under_tls(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(workers=2, server_tls_sslmode="require", **by_tcp(secure))
    Lobbies(pgmux).a_client_on_each_worker()
    for client in Lobbies(pgmux).a_client_on_each_worker().values():
        assert client.query("SELECT 1").value == b"1"
        client.terminate()
    assert pgmux.stop(signal.SIGTERM) == 0
    wait_until(lambda: secure.backends(application="pgmux") == 0)
    assert not secure.log_contains("SSL error|could not receive data|unexpected EOF|invalid")


# ---- homes


def pids(client: Any, count: int = 20) -> set[bytes]:
    return {client.query(PID).value for _ in range(count)}


def test_each_worker_has_backends_of_its_own_within_one_budget(
    make_pgmux: MakePgmux, secure: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=6, server_tls_sslmode="require", **by_tcp(secure))

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            while True:
                assert wire.query(f"SELECT {number}").value == str(number).encode()
                yield

    with Census(secure) as census, Crowd(40, member) as crowd:
        crowd.wait_for_rounds(100)
    assert census.most <= 6


@pytest.mark.parametrize("pool_size", [1, 2])
def test_nobody_starves_where_there_are_fewer_backends_than_workers(
    make_pgmux: MakePgmux, secure: Postgres, pool_size: int
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=pool_size, server_tls_sslmode="require", **by_tcp(secure))
    clients = Lobbies(pgmux).a_client_on_each_worker()
    assert len(clients) == 4
    with Census(secure) as census:
        for _ in range(3):
            for client in clients.values():
                assert client.query("SELECT 1").value == b"1"
    assert census.most <= pool_size


def test_a_busy_home_gives_one_up_for_clients_elsewhere(make_pgmux: MakePgmux, secure: Postgres) -> None:
    """Each worker's clients ask without a pause; one of the workers would keep the only backend for ever."""
    pgmux = make_pgmux(workers=2, default_pool_size=1, server_tls_sslmode="require", **by_tcp(secure))

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            while True:
                assert wire.query(f"SELECT {number}").value == str(number).encode()
                yield

    with Census(secure) as census, Crowd(12, member) as crowd:
        crowd.wait_for_rounds(30)
    assert census.most == 1
    assert len(census.seen) > 1  # it has moved


def test_an_idle_backend_makes_room_for_another_pool_elsewhere(
    make_pgmux: MakePgmux, secure: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, max_backends=1, server_tls_sslmode="require", **by_tcp(secure))
    clients = Lobbies(pgmux).a_client_on_each_worker()
    with Census(secure) as census:
        for _ in range(3):
            for client in clients.values():
                assert client.query("SELECT 1").value == b"1"
        with pgmux.wire() as other:
            other.startup(database="postgres")
            assert other.query("SELECT current_database()").value == b"postgres"
    assert census.most == 1


def test_a_killed_home_takes_its_backends_along_and_the_budget_holds(
    make_pgmux: MakePgmux, secure: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=3, server_tls_sslmode="require", **by_tcp(secure))

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as wire:
            while True:
                assert wire.query(f"SELECT {number}").value == str(number).encode()
                yield

    with Census(secure) as census:
        with Crowd(10, member, may_fail=(Exception,)) as crowd:
            crowd.wait_for_rounds(50)
            victim = pgmux.kill_worker()
            pgmux.wait_for_log(f"worker . .pid {victim}. died")
        with Crowd(10, member) as crowd:
            crowd.wait_for_rounds(50)
    assert census.most <= 3


def test_a_paused_pgmux_keeps_them_for_later(make_pgmux: MakePgmux, secure: Postgres) -> None:
    pgmux = make_pgmux(workers=2, server_tls_sslmode="require", **by_tcp(secure))
    lobbies = Lobbies(pgmux)
    clients = list(lobbies.a_client_on_each_worker().values())
    for client in clients:
        assert client.query("SELECT 1").value == b"1"
    pgmux.signal(signal.SIGUSR1)
    wait_until(lobbies.is_paused)
    for client in clients:
        client.send(frontend.query("SELECT 2"))
    lobbies.wait_for_parked(2)
    pgmux.signal(signal.SIGUSR2)
    for client in clients:
        assert client.read_until(b"Z").value == b"2"


def test_a_mode_changed_by_a_reload_has_every_backend_replaced(
    make_pgmux: MakePgmux, secure: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, server_tls_sslmode="disable", **by_tcp(secure))
    assert how_connected(pgmux) == "false"
    pgmux.write_configuration(server_tls_sslmode="require")
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("supervisor: reloaded")
    wait_until(lambda: how_connected(pgmux) == "true TLSv1.3")
