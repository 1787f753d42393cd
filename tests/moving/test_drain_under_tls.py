"""A worker is replaced while TLS is spoken: the cipher's state cannot move, so those under it stay to their end."""

from __future__ import annotations

from tests.fix_pgmux import MakePgmux
from tests.integration.inside import Inside
from tests.moving.test_drain import drain, start_draining
from tests.servers import Postgres, wait_until
from tests.servers.certificates import Authority


def test_a_client_under_tls_is_served_where_it_is_until_it_leaves(
    make_pgmux: MakePgmux, authority: Authority
) -> None:
    certificate = authority.certify()
    pgmux = make_pgmux(
        workers=2,
        client_tls_sslmode="prefer",
        client_tls_cert_file=certificate.cert_file,
        client_tls_key_file=certificate.key_file,
    )
    inside = Inside(pgmux)
    with pgmux.connect(sslmode="require", prepare_threshold=None, autocommit=True) as client:
        home = inside.worker_of(client)
        pid = start_draining(pgmux, home)
        for number in range(20):
            assert client.execute("SELECT %s::int", [number]).fetchone() == (number,)
        assert (inside.worker_of(client), inside.pid_of(home)) == (home, pid)
    wait_until(lambda: inside.pid_of(home) not in (0, pid), what="a successor")


def test_a_client_goes_on_where_the_backends_of_its_worker_end(
    make_pgmux: MakePgmux, secure_postgres: Postgres
) -> None:
    """Backends under TLS end with their home, and the budget holds; clients that are not under TLS move."""
    databases: dict[str, dict[str, str | int]] = {"*": {"host": "127.0.0.1", "port": secure_postgres.port}}
    pgmux = make_pgmux(
        postgres=secure_postgres,
        databases=databases,
        workers=2,
        default_pool_size=2,
        server_tls_sslmode="require",
    )
    inside = Inside(pgmux)
    clients = inside.a_client_on_each_worker()
    for client in clients.values():
        assert client.query("SELECT 1").value == b"1"
    drain(pgmux, 0)
    assert [inside.worker_of(client) for client in clients.values()] == [1, 1]
    for client in clients.values():
        assert client.query("SELECT 2").value == b"2"
        client.terminate()
