"""The same pgbouncer.ini in a real PgBouncer and, imported, in a real pgmux: clients get the same answers."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgmux.cli.main import main
from tests.fix_pgmux import MakePgmux
from tests.pgbouncer.bouncer import Bouncer
from tests.servers import Postgres
from tests.servers.postgres import PASSWORDS

ASKED = "SELECT current_user, current_database(), inet_server_port() IS NOT NULL"


def ini(postgres: Postgres, folder: Path, port: int) -> str:
    place = f"host=127.0.0.1 port={postgres.port}"
    return (
        f"[databases]\n; by another name, as a user of its own\n"
        f"shop = {place} dbname=app user=scram password={PASSWORDS['scram']} pool_size=2\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {folder}\n"
        f"auth_type = scram-sha-256\nauth_file = {folder}/userlist.txt\npool_mode = transaction\n"
    )


def test_an_imported_configuration_serves_clients_as_pgbouncer_did(
    make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path
) -> None:
    environ = {"PGMUX_WORKERS": "2", "PGMUX_RUNTIME_DIR": str(tmp_path / "run")}
    pgmux = make_pgmux(environ=environ, is_started=False)
    (tmp_path / "userlist.txt").write_text('"clerk" "open sesame"\n')
    (tmp_path / "pgbouncer.ini").write_text(ini(postgres, tmp_path, pgmux.port))
    pgmux.config_path.unlink()
    assert main(["import-pgbouncer", str(tmp_path / "pgbouncer.ini"), "-o", str(pgmux.config_path)]) == 0
    pgmux.start()
    with pgmux.connect("shop", "clerk", "open sesame") as client:
        answer = client.execute(ASKED).fetchone()
    assert answer == ("scram", "app", True)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        pgmux.connect("shop", "clerk", "wrong")
    with Bouncer(ini(postgres, tmp_path, pgmux.port)) as bouncer:
        place = {"host": "127.0.0.1", "port": bouncer.port, "user": "oracle", "dbname": "shop"}
        with psycopg.connect(**place, autocommit=True) as client:  # type: ignore[arg-type]
            assert client.execute(ASKED).fetchone() == answer
