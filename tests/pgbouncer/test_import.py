"""`pgmux import-pgbouncer`, as a user of PgBouncer would try it."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pgmux.cli.main import main
from pgmux.pgbouncer.options import DATABASE, GLOBAL, OPTIONS, USER, Fate

INIS = Path(__file__).parent / "inis"
DEBIANS = Path("/etc/pgbouncer/pgbouncer.ini")


class Imported(NamedTuple):
    """What came of it."""

    code: int
    text: str  # the pgmux.toml
    told: list[str]  # on standard error

    @property
    def toml(self) -> dict[str, Any]:
        return tomllib.loads(self.text)

    def said_of(self, key: str) -> list[str]:
        return [line for line in self.told if re.search(rf":\d+: {re.escape(key)}: ", line)]


@pytest.fixture
def imported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Imports an ini, given as its text, and gives what came of it."""

    def do(text: str, *, users: str = '"alice" "secret"\n') -> Imported:
        (tmp_path / "userlist.txt").write_text(users)
        (tmp_path / "userlist.txt").chmod(0o600)
        (tmp_path / "pgbouncer.ini").write_text(text)
        code = main(["import-pgbouncer", str(tmp_path / "pgbouncer.ini")])
        said, told = capfd.readouterr()
        return Imported(code, said, told.splitlines())

    return do


def accepted(imported: Imported, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What `pgmux check` says about the result; fails when it refuses it."""
    (tmp_path / "pgmux.toml").write_text(imported.text)
    code = main(["check", "-c", str(tmp_path / "pgmux.toml")])
    said, complained = capfd.readouterr()
    assert code == 0, complained
    return said


def test_debians_sample_is_carried_with_its_comments(imported: Any, tmp_path: Path, capfd: Any) -> None:
    if not DEBIANS.exists():
        pytest.skip("Debian's package pgbouncer is not installed here")
    sample = DEBIANS.read_text().replace("/etc/pgbouncer/", "")
    result = imported(sample)
    assert result.code == 0
    assert "md5, 1 user" in accepted(result, tmp_path, capfd)
    assert result.toml["pgmux"]["listen"] == ["localhost:6432"]
    assert "# Total number of clients that can connect\n#max_client_conn = 100\n" in result.text
    assert '#[databases."*"]\n#host = "testserver"\n' in result.text
    prose = [line.lstrip(";") for line in sample.splitlines() if line.startswith(";;")]
    assert [line for line in prose if line.strip() and line.strip() not in result.text] == []


def test_a_large_realistic_ini_is_carried(imported: Any, tmp_path: Path, capfd: Any) -> None:
    result = imported((INIS / "shop.ini").read_text())
    assert result.code == 0
    accepted(result, tmp_path, capfd)
    toml = result.toml
    shop = toml["databases"]["shop"]
    assert shop["password"] == "it's a secret"
    assert (shop["pool_size"], shop["min_pool_size"], shop["max_backends"]) == (40, 5, 60)
    assert toml["databases"]["reports"]["max_backends"] == 100  # from [pgbouncer]
    assert toml["databases"]["nodefaults"] == {"host": "/var/run/postgresql", "max_backends": 100}
    assert toml["databases"]["legacy.erp-2"]["port"] == 5433
    assert toml["users"]["shop_app"]["pool_size"] == 45
    settings = toml["pgmux"]
    assert settings["listen"] == ["10.20.0.11:6433", "[::1]:6433"]
    assert settings["auth_file"] == str(tmp_path / "userlist.txt")
    assert (settings["server_lifetime"], settings["query_wait_timeout"]) == ("30m", "30s")
    assert settings["log_level"] == "debug"
    assert "# the shop itself: API and workers share one PostgreSQL user\n[databases.shop]\n" in result.text
    assert "#[databases.old_shop]\n" in result.text


def test_every_line_that_is_not_carried_is_told_with_its_number_and_reason(
    imported: Any, tmp_path: Path
) -> None:
    text = (INIS / "shop.ini").read_text()
    result = imported(text)
    for number, line in enumerate(text.splitlines(), start=1):
        for key in ("peer_id", "unix_socket_mode", "max_client_connn", "logfile"):
            if line.startswith(f"{key} ="):
                [said] = result.said_of(key)
                assert said.startswith(f"{tmp_path}/pgbouncer.ini:{number}: {key}: not ")
                assert f"# {line} (not " in result.text
    [said] = result.said_of("reports: connect_query")
    assert "ALTER DATABASE" in said


VALUES = {  # for options that do not take "1"
    "auth_file": "userlist.txt",
    "auth_hba_file": "",
    "auth_ident_file": "",
    "auth_type": "md5",
    "client_tls13_ciphers": "TLS_AES_256_GCM_SHA384",
    "client_tls_ca_file": "userlist.txt",
    "client_tls_cert_file": "userlist.txt",
    "client_tls_ciphers": "fast",
    "client_tls_ecdhcurve": "auto",
    "client_tls_key_file": "userlist.txt",
    "client_tls_protocols": "secure",
    "client_tls_sslmode": "disable",
    "listen_addr": "::1",
    "pool_mode": "transaction",
    "port": "5432",
    "server_tls13_ciphers": "TLS_AES_256_GCM_SHA384",
    "server_tls_ca_file": "userlist.txt",
    "server_tls_cert_file": "userlist.txt",
    "server_tls_ciphers": "secure",
    "server_tls_key_file": "userlist.txt",
    "server_tls_protocols": "tlsv1.3",
    "server_tls_sslmode": "disable",
    "unix_socket_dir": "/tmp",
}


def test_every_option_that_there_is_can_be_given_at_once(imported: Any, tmp_path: Path, capfd: Any) -> None:
    given = {
        section: [(row.name, VALUES.get(row.name, "1")) for row in OPTIONS if row.section == section]
        for section in (GLOBAL, DATABASE, USER)
    }
    pairs = {section: " ".join(map("=".join, options)) for section, options in given.items()}
    options = "\n".join(map("=".join, given[GLOBAL]))
    result = imported(
        f"[databases]\nd = {pairs[DATABASE]}\n[users]\nu = {pairs[USER]}\n[pgbouncer]\n{options}\n"
    )
    assert result.code == 0
    accepted(result, tmp_path, capfd)
    for row in OPTIONS:
        if row.becomes() in (Fate.NOT_NEEDED, Fate.NOT_CARRIED) and row.section == GLOBAL:
            [said] = result.said_of(row.name)
            assert row.why in said


def test_defaults_that_differ_are_written_down(imported: Any) -> None:
    result = imported("[databases]\napp = host=h\n[pgbouncer]\nauth_file = userlist.txt\n")
    settings = result.toml["pgmux"]
    assert settings["max_client_conn"] == 100
    assert settings["auth_type"] == "md5"
    assert settings["listen"] == []
    assert settings["unix_socket_dir"] == "/tmp"
    assert "pool_mode" in result.text  # carried, or told that this version cannot
    assert settings["max_backends"] == 20


def test_an_ini_without_a_section_pgbouncer_runs_on_its_defaults(imported: Any) -> None:
    result = imported("[databases]\napp = host=h\n")
    assert result.toml["pgmux"]["max_client_conn"] == 100
    assert result.toml["databases"]["app"]["host"] == "h"
    assert result.code == 1  # md5 without a file of passwords: nobody could log in, and pgmux says so
    assert any("needs the users' passwords" in line for line in result.told)


@pytest.mark.parametrize(
    ("given", "carried"),
    [("trust", "trust"), ("plain", "password"), ("MD5", "md5"), ("scram-sha-256", "scram-sha-256")],
)
def test_a_way_to_log_in_is_translated(imported: Any, given: str, carried: str) -> None:
    result = imported(f"[databases]\na = host=h\n[pgbouncer]\nauth_type={given}\nauth_file=userlist.txt\n")
    assert result.toml["pgmux"]["auth_type"] == carried


@pytest.mark.parametrize("given", ["any", "pam", "ldap"])
def test_a_way_to_log_in_that_pgmux_lacks_is_never_made_a_weaker_one(imported: Any, given: str) -> None:
    result = imported(f"[databases]\na = host=h\n[pgbouncer]\nauth_type={given}\nauth_file=userlist.txt\n")
    assert "auth_type" not in result.toml["pgmux"]  # scram-sha-256, then
    [said] = result.said_of("auth_type")
    assert "not carried" in said


def test_what_guards_a_door_is_left_for_a_person_to_decide(imported: Any, monkeypatch: Any) -> None:
    from pgmux.config.not_yet import NotYet

    refused = NotYet("client_tls_sslmode", lambda value: value == "require", "not here")
    monkeypatch.setattr("pgmux.config.not_yet.NOT_YET", (refused,))
    result = imported(
        "[databases]\na=host=h\n[pgbouncer]\nauth_file=userlist.txt\nclient_tls_sslmode=require\n"
    )
    assert result.toml["pgmux"]["client_tls_sslmode"] == "require"
    assert result.code == 1
    assert any("client_tls_sslmode: not here" in line for line in result.told)


def test_a_database_whose_host_pgmux_refuses_does_not_become_another_one(imported: Any) -> None:
    result = imported(
        "[databases]\na = host=http://x pool_size=3\nb = host=h\n[pgbouncer]\nauth_file=userlist.txt\n"
    )
    assert list(result.toml["databases"]) == ["b"]
    assert "# [databases.a]" in result.text
    [said] = result.said_of("a: host")
    assert "is a URL" in said


def test_a_lifetime_of_zero_means_something_else_in_pgmux(imported: Any) -> None:
    result = imported("[pgbouncer]\nserver_lifetime = 0\nauth_file=userlist.txt\n")
    assert "server_lifetime" not in result.toml["pgmux"]
    assert "first use" in result.said_of("server_lifetime")[0]


def test_a_password_without_user_is_not_given_to_everybody(imported: Any) -> None:
    result = imported("[databases]\na = host=h password=hush\n[pgbouncer]\nauth_file=userlist.txt\n")
    assert "password" not in result.toml["databases"]["a"]
    assert "hush" not in result.text + "".join(result.told)


def test_lines_that_a_later_one_overrides_are_told(imported: Any) -> None:
    result = imported("[pgbouncer]\nmax_client_conn = 1\n[pgbouncer]\nmin_pool_size=1\nmin_pool_size=2\n")
    assert "begins anew" in result.said_of("max_client_conn")[0]
    assert "line 5 gives it again" in result.said_of("min_pool_size")[0]
    assert result.toml["pgmux"]["min_pool_size"] == 2


def test_a_broken_userlist_is_told_with_its_lines(imported: Any, tmp_path: Path) -> None:
    result = imported(
        "[databases]\na=host=h\n[pgbouncer]\nauth_file=userlist.txt\n", users='"a" "b"\nnonsense\n'
    )
    assert result.code == 1
    assert any(line.startswith(f"  {tmp_path}/userlist.txt:2: ") for line in result.told)


def test_users_and_databases_decide_how_many_backends_there_may_be(imported: Any) -> None:
    users = "".join(f'"u{number}" "p"\n' for number in range(3))
    databases = "a = host=h\nb = host=h user=x pool_size=7\nc = host=h max_db_connections=10\n"
    result = imported(f"[databases]\n{databases}[pgbouncer]\nauth_file=userlist.txt\n", users=users)
    assert result.toml["pgmux"]["max_backends"] == 3 * 20 + 7 + 10


def test_the_result_can_be_written_but_replaces_nothing(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "pgbouncer.ini").write_text("[databases]\na = host=h user=u password=p\n")
    arguments = ["import-pgbouncer", str(tmp_path / "pgbouncer.ini"), "-o", str(tmp_path / "pgmux.toml")]
    main(arguments)
    assert capfd.readouterr().out == ""
    assert stat.S_IMODE((tmp_path / "pgmux.toml").stat().st_mode) & 0o007 == 0
    assert main(arguments) == 1
    assert "exists already" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["[pgbouncer]\nnonsense\n", "\0"])
def test_what_pgbouncer_would_refuse_is_exit_code_2(imported: Any, text: str) -> None:
    result = imported(text)
    assert result.code == 2
    assert result.text == ""
    assert result.told[0].startswith("/")


def test_an_ini_that_is_not_utf_8_is_no_traceback(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "pgbouncer.ini").write_bytes(
        b'; gr\xfc\xdfe\n[databases]\nd = host=h dbname=\xe4\n"\xe4" = host=h\n'
    )
    assert main(["import-pgbouncer", str(tmp_path / "pgbouncer.ini")]) == 0
    said, told = capfd.readouterr()
    assert "databases" not in tomllib.loads(said)
    assert told.count("TOML is UTF-8") == 2
    assert ": 0 options carried, " in told
