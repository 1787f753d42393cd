"""The doctor's own TLS to PostgreSQL: the modes of libpq's sslmode. Needs a PostgreSQL built with OpenSSL."""

from __future__ import annotations

import pytest

from pgmux.doctor.connection import Connection, ServerError
from pgmux.doctor.target import Target
from tests.fix_postgres import MakePostgres, version_with_openssl
from tests.servers import Postgres
from tests.servers.certificates import Authority
from tests.servers.postgres import PASSWORDS

HBA = ("hostssl all all 127.0.0.1/32 scram-sha-256", "local all all trust", "hostnossl all all all reject")


@pytest.fixture
def tls_postgres(make_postgres: MakePostgres, authority: Authority) -> Postgres:
    """A PostgreSQL that takes TCP connections under TLS alone."""
    return make_postgres(version_with_openssl(), {}, HBA, authority.certify())


def target(postgres: Postgres, sslmode: str, root: str = "") -> Target:
    return Target("localhost", postgres.port, "scram", "app", PASSWORDS["scram"], sslmode, root)


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-ca", "verify-full"])
def test_a_server_with_tls_is_reached(tls_postgres: Postgres, authority: Authority, sslmode: str) -> None:
    with Connection(target(tls_postgres, sslmode, authority.ca_file)) as connection:
        [row] = connection.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert row == {"ssl": "t"}


@pytest.mark.parametrize(
    ("sslmode", "root", "said"),
    [
        ("verify-full", "", "TLS failed: CERTIFICATE_VERIFY_FAILED"),
        ("verify-full", "/nowhere.crt", "sslrootcert /nowhere.crt cannot be used"),
        ("disable", "", "pg_hba.conf"),
    ],
)
def test_what_is_not_to_be_trusted_is_refused(
    tls_postgres: Postgres, sslmode: str, root: str, said: str
) -> None:
    with pytest.raises(ServerError, match=said):
        Connection(target(tls_postgres, sslmode, root))


def test_a_server_without_tls_is_refused_when_tls_is_required(postgres: Postgres) -> None:
    with pytest.raises(ServerError, match="does not speak TLS, and sslmode is require"):
        Connection(target(postgres, "require"))
