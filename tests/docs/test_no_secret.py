"""The manual's way to keep no secret on the database host (docs/security.md), done as it stands there."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.servers import toml

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_members_get_in_by_their_proof_and_pgmux_by_its_account(
    make_postgres: MakePostgres, make_pgmux: MakePgmux
) -> None:
    _, _, section = PAGE.read_text().partition("## No secret on the database host\n")
    (_, roles), (_, files), (_, configuration) = BLOCK.findall(section)[:3]
    ident, _, hba = files.partition("# pg_hba.conf")
    _, _, rule = hba.partition("\n")
    account = pwd.getpwuid(os.geteuid()).pw_name
    postgres = make_postgres(hba=[rule.strip(), "local all carol reject"])
    with (postgres.data_dir / "pg_ident.conf").open("a") as maps:
        maps.write(re.sub(r"^(pgmux +)pgmux ", rf"\1{account} ", ident, flags=re.MULTILINE))
    postgres.sql("SELECT pg_reload_conf()")
    for name in ("alice", "bob", "carol"):
        postgres.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}''s'")
    for statement in re.sub(r"--.*", "", roles).split(";"):
        if statement.strip():
            postgres.sql(statement)
    options = dict(re.findall(r'^(auth_\w+) = "(.*?)"', configuration, re.MULTILINE))
    assert set(options) == {"auth_type", "auth_user"}
    there: toml.Table = {"host": str(postgres.socket_dir), "port": postgres.port}
    pgmux = make_pgmux(postgres=postgres, databases={"*": there}, **options)
    for name in ("alice", "bob"):
        with pgmux.connect(user=name, password=f"{name}'s") as client:
            assert client.execute("SELECT current_user").fetchall() == [(name,)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            pgmux.connect(user=name, password="another's")
    with pytest.raises(psycopg.OperationalError):
        pgmux.connect(user="carol", password="carol's")  # no member of pooled
