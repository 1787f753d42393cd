"""Who gets in by which door: rules, peers, maps, limits before the log-in, and what they leave in the log."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGHUP
from typing import Any

import psutil
import psycopg
import pytest

from pgmux.demo.account import environment
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.crowd import Crowd, approach, connect
from tests.integration.routes import by_socket
from tests.servers import PASSWORDS, Pgmux, Postgres, wait_until
from tests.servers.pgmux import PGMUX
from tests.wire import LoginRefusedError, Wire, WireClosedError, WireTimeoutError, frontend

ME = pwd.getpwuid(os.getuid()).pw_name
NOBODY = 65534
AS_NOBODY = (
    shutil.which("setpriv") or "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
)
as_root = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")


def write(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def refusal(pgmux: Pgmux, *, unix: bool = False, **who: Any) -> dict[str, str]:
    with pgmux.wire(unix=unix) as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(**who)
    return refused.value.fields


def gets_in(pgmux: Pgmux, *, unix: bool = False, **who: Any) -> bool:
    with pgmux.wire(unix=unix) as wire:
        wire.startup(**who)
        return wire.query("SELECT 1").value == b"1"


def test_the_first_rule_that_matches_decides(
    make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path
) -> None:
    rules = write(
        tmp_path,
        "hba.conf",
        "# who may come, from where, and how",
        "local   all   app                       trust",
        "host    app   hashed   127.0.0.1/32     md5",
        "host    all   all      192.0.2.0/24     trust",
        "host    all   banned   all              reject",
        "hostssl all   plain    all              trust",
        "host    all   plain    samehost         password",
        "host    app   scram    127.0.0.0 255.0.0.0  scram-sha-256",
    )
    kept = dict(
        postgres.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolname IN ('hashed', 'scram')")
    )
    pgmux = make_pgmux(
        auth_type="hba",
        auth_hba_file=rules,
        passwords={"plain": PASSWORDS["plain"], **kept},
        databases={"app": by_socket(postgres, user="app"), "postgres": by_socket(postgres, user="app")},
    )
    for user, password in PASSWORDS.items():
        assert gets_in(pgmux, user=user, password=password)
        assert refusal(pgmux, user=user, password="guessed")["C"] == "28P01"
    assert gets_in(pgmux, unix=True, user="app")
    for user, database in (("app", "app"), ("banned", "app"), ("scram", "postgres")):
        told = refusal(pgmux, user=user, database=database)
        assert told["C"] == "28000"
        assert told["M"].startswith(f'no rule lets user "{user}" into database "{database}"')
        assert told["M"].endswith("from 127.0.0.1, not encrypted")
    assert refusal(pgmux, unix=True, user="plain")["M"].endswith("from the Unix socket, not encrypted")
    assert pgmux.log_contains(
        r'user=banned database=app reason="the rule rejects \(line 5 of auth_hba_file\)"'
    )
    assert pgmux.log_contains('user=app database=app reason="no rule matches')


@pytest.mark.parametrize("password", [None, "anything"])
def test_a_peer_is_known_by_its_account(
    make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path, password: str | None
) -> None:
    pgmux = make_pgmux(
        auth_type="hba",
        auth_hba_file=write(tmp_path, "hba.conf", "local all all peer map=people", "host all all all reject"),
        auth_ident_file=write(tmp_path, "ident.conf", f"people {ME} app", "people somebody plain"),
    )
    assert gets_in(pgmux, unix=True, user="app", password=password)
    told = refusal(pgmux, unix=True, user="plain", password=password)
    assert (told["C"], told["M"]) == ("28000", 'peer authentication failed for user "plain"')
    assert pgmux.log_contains(
        rf'reason="the client\'s process belongs to \\"{ME}\\", which map \\"people\\" bars'
    )


@as_root
def test_another_account_is_another_peer(make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path) -> None:
    pgmux = make_pgmux(
        auth_type="hba",
        auth_hba_file=write(tmp_path, "hba.conf", "local all all peer map=people"),
        auth_ident_file=write(tmp_path, "ident.conf", "people nobody app", f"people {ME} plain"),
        databases={"app": by_socket(postgres, user="app")},
    )
    pgmux.folder.chmod(0o755)
    dsn = f"host={pgmux.folder} port={pgmux.port} dbname=app"
    for user, expected in {"app": "1", "plain": ""}.items():
        command = [*AS_NOBODY, "psql", "-XAtw", "-c", "SELECT 1", f"{dsn} user={user}"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.stdout.strip() == expected
    assert 'peer authentication failed for user "plain"' in done.stderr


def test_a_rule_may_be_for_the_members_of_a_role(
    make_pgmux: MakePgmux, any_postgres: Postgres, tmp_path: Path
) -> None:
    """Also for those of roles that are members of it, as in PostgreSQL; a superuser is none by being one."""
    any_postgres.sql("CREATE ROLE staff; CREATE ROLE team IN ROLE staff; GRANT team TO scram")
    try:
        pgmux = make_pgmux(
            postgres=any_postgres,
            auth_type="hba",
            auth_hba_file=write(tmp_path, "hba.conf", "host all +staff all scram-sha-256"),
            auth_user="postgres",
            databases={"app": by_socket(any_postgres, user="app")},
        )
        assert gets_in(pgmux, user="scram", password=PASSWORDS["scram"])
        assert refusal(pgmux, user="scram", password="guessed")["C"] == "28P01"
        for stranger in ("plain", "postgres", "nobody"):
            assert refusal(pgmux, user=stranger, password=PASSWORDS["plain"])["C"] == "28000"
    finally:
        any_postgres.sql("DROP ROLE team; DROP ROLE staff")


def test_a_reload_brings_new_rules_and_bad_ones_change_nothing(
    make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path
) -> None:
    rules = write(tmp_path, "hba.conf", "host all all all reject")
    pgmux = make_pgmux(auth_type="hba", auth_hba_file=rules)
    assert refusal(pgmux)["C"] == "28000"
    write(tmp_path, "hba.conf", "host all all all trust", "host all all all ldap")
    pgmux.signal(SIGHUP)
    pgmux.wait_for_log('not reloaded, nothing has changed: .*hba.conf:2: auth_hba_file: method "ldap"')
    assert refusal(pgmux)["C"] == "28000"
    write(tmp_path, "hba.conf", "host all all all trust")
    pgmux.signal(SIGHUP)

    def is_open() -> bool:
        try:
            return gets_in(pgmux)
        except LoginRefusedError:
            return False

    wait_until(is_open, what="the new rules")


def test_on_the_database_host_no_secret_is_needed_at_all(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    """As docs/security.md has it: pgmux is a peer of PostgreSQL, clients prove what PostgreSQL keeps."""
    postgres = make_postgres()
    (postgres.data_dir / "pg_hba.conf").write_text("local all all peer map=pgmux\n")
    (postgres.data_dir / "pg_ident.conf").write_text(f"pgmux {ME} all\n")
    postgres.restart()
    pgmux = make_pgmux(postgres=postgres, auth_type="scram-sha-256", auth_user="postgres")
    settings = pgmux.config_path.read_text()
    assert "password" not in settings
    assert "auth_file" not in settings
    for user in ("scram", "plain"):
        with connect(pgmux, user=user, password=PASSWORDS[user]) as client:
            assert client.query("SELECT current_user").value == user.encode()
    assert refusal(pgmux, user="scram", password="guessed")["C"] == "28P01"


# Before the log-in


def test_who_is_silent_makes_room_when_too_many_are_logging_in(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, max_login_conn=4)
    idlers = [approach(pgmux) for _ in range(40)]
    with connect(pgmux) as client:
        assert client.query("SELECT 1").value == b"1"
    told = [last_words(idler) for idler in idlers]
    assert "53300" in told
    assert pgmux.log_contains('reason="too many clients are logging in: max_login_conn is 4')


def last_words(wire: Wire) -> str:
    """The SQLSTATE of what it was told; "" if it was told nothing so far."""
    wire.socket.settimeout(0.05)
    with wire, suppress(WireClosedError, WireTimeoutError, OSError):
        return wire.read_to_the_end().sqlstate
    return ""


def test_many_that_log_in_at_once_all_get_in(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """More than max_login_conn: the others wait to be accepted."""
    pgmux = make_pgmux(workers=2, max_login_conn=2, auth_type="md5", passwords=PASSWORDS)

    def log_in(number: int) -> Iterator[None]:
        for _ in range(5):
            with connect(pgmux, user="hashed", password=PASSWORDS["hashed"]) as client:
                assert client.query("SELECT 1").value == b"1"
            yield

    with Crowd(40, log_in) as crowd:
        wait_until(lambda: sum(crowd.rounds) == 200, 30, "200 log-ins")


def test_who_waits_for_postgresql_keeps_nobody_from_logging_in(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    """The database that does not answer has more clients waiting than may log in at once."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        pgmux = make_pgmux(
            workers=1,
            max_login_conn=3,
            databases={
                "app": by_socket(postgres),
                "deaf": {"host": "127.0.0.1", "port": deaf.getsockname()[1]},
            },
        )
        waiting = [approach(pgmux) for _ in range(10)]
        for wire in waiting:
            wire.send_startup(database="deaf")
        with connect(pgmux) as client:
            assert client.query("SELECT 1").value == b"1"
        for wire in waiting:
            wire.close()


# What is left of it


def test_no_secret_is_ever_logged_and_none_lies_open(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(
        auth_type="password",
        passwords=PASSWORDS,
        databases={"app": {**by_socket(postgres), "password": "database-secret"}},
    )
    for user, password in PASSWORDS.items():
        with suppress(LoginRefusedError):
            connect(pgmux, user=user, password=password).close()
        refusal(pgmux, user=user, password="guessed-secret")
    log, segment = pgmux.log_file.path.read_text(), pgmux.folder / "run/pgmux.shm"
    assert segment.stat().st_mode & 0o777 == 0o600
    shared = segment.read_bytes()
    for secret in (*PASSWORDS.values(), "database-secret", "guessed-secret"):
        assert secret not in log
        assert secret.encode() not in shared


def test_a_flood_of_failures_is_counted_and_not_all_logged(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=1, auth_type="md5", passwords=PASSWORDS)
    for _ in range(100):
        refusal(pgmux, user="hashed", password="guessed")
    line = pgmux.wait_for_log("log-in refused")
    assert "address=127.0.0.1:" in line
    assert 'user=hashed database=app reason="wrong password"' in line

    def all_told() -> bool:
        refusal(pgmux, user="hashed", password="guessed")
        return pgmux.log_contains("log-in refused: [0-9]+ more")

    wait_until(all_told, 20, "the count of those that were not logged")
    assert len(pgmux.log_file.lines("log-in refused")) < 100


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv")
def test_it_serves_without_any_privilege(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    command = PGMUX if os.getuid() else (*AS_NOBODY, "--bounding-set=-all", "--no-new-privs", *PGMUX)
    if subprocess.run([*command, "--version"], capture_output=True, check=False, cwd="/").returncode:
        pytest.skip(f"{sys.executable} cannot be run by others here")
    pgmux = make_pgmux(
        command=command,
        is_started=False,
        auth_type="scram-sha-256",
        auth_user="app",
        auth_query="SELECT rolname, 'public-secret' FROM pg_roles WHERE rolname = $1",
        databases={"app": {"host": postgres.host, "port": postgres.port}},
    )
    if not os.getuid():
        for path in [pgmux.folder, *pgmux.folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    pgmux.start()
    with connect(pgmux, user="app", password="public-secret") as client:
        assert client.query("SELECT current_user").value == b"app"
    for pid in pgmux.worker_pids():
        status = Path(f"/proc/{pid}/status").read_text()
        assert psutil.Process(pid).uids().effective != 0
        assert "CapEff:\t0000000000000000" in status


def test_psycopg_tells_which_door_was_closed(
    make_pgmux: MakePgmux, postgres: Postgres, tmp_path: Path
) -> None:
    pgmux = make_pgmux(auth_type="hba", auth_hba_file=write(tmp_path, "hba.conf", "host all all all reject"))
    with pytest.raises(psycopg.OperationalError, match='no rule lets user "app" into database "app"'):
        pgmux.connect(user="app", password="x")


def test_a_second_start_up_packet_is_no_second_chance(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """CVE-2026-107350 of another pooler, over the wire."""
    pgmux = make_pgmux(auth_type="scram-sha-256", auth_user="postgres")
    with pgmux.wire() as wire:
        wire.send_startup(user="scram", database="nowhere")
        wire.read_message()
        wire.socket.sendall(frontend.startup({"user": "postgres", "database": "app"}))
        assert wire.read_to_the_end().sqlstate == "08P01"
