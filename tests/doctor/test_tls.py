"""The doctor's own TLS to PostgreSQL: the modes of libpq's sslmode. Needs a PostgreSQL built with OpenSSL."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pgmux.demo.account import server_account
from pgmux.doctor.connection import Connection, ServerError
from pgmux.doctor.target import Target
from tests.fix_postgres import MakePostgres
from tests.servers import Postgres
from tests.servers.postgres import PASSWORDS

HBA = ("hostssl all all 127.0.0.1/32 scram-sha-256", "local all all trust", "hostnossl all all all reject")


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself; its key is beside it, as server.key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed here")
    folder = tmp_path_factory.mktemp("tls")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    made = [folder / "server.crt", folder / "server.key"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    made[1].chmod(0o600)
    server_account().own(*made)
    return made[0]


@pytest.fixture
def tls_postgres(make_postgres: MakePostgres, certificate: Path) -> Postgres:
    """A PostgreSQL that takes TCP connections under TLS alone."""
    files = {"ssl_cert_file": str(certificate), "ssl_key_file": str(certificate.with_suffix(".key"))}
    return make_postgres("15", {"ssl": True, **files}, HBA)


def target(postgres: Postgres, sslmode: str, root: str = "") -> Target:
    return Target("localhost", postgres.port, "scram", "app", PASSWORDS["scram"], sslmode, root)


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-ca", "verify-full"])
def test_a_server_with_tls_is_reached(tls_postgres: Postgres, certificate: Path, sslmode: str) -> None:
    with Connection(target(tls_postgres, sslmode, str(certificate))) as connection:
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
