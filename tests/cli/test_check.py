"""`pgmux check`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgmux.cli.main import main
from pgmux.config.sample import render_sample
from tests.servers.certificates import Authority

CONFIGURATION = """\
[pgmux]
workers = 3
listen = ["127.0.0.1:6432", "[::1]:6432"]
unix_socket_dir = "{directory}"
auth_type = "trust"
max_backends = 40
default_pool_size = 12

[databases.app]
host = "::1"
dbname = "app_production"
user = "service"
pool_size = 5

[databases."*"]
host = "/run/pg"

[users.alice]
pool_size = 4
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PGMUX_"):
            monkeypatch.delenv(name)


def _write(directory: Path, text: str) -> str:
    file = directory / "pgmux.toml"
    file.write_text(text)
    return str(file)


def test_a_good_configuration_is_summarised(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, CONFIGURATION.format(directory=tmp_path))
    assert main(["check", "-c", file]) == 0
    said, complained = capfd.readouterr()
    assert complained == ""
    assert said.splitlines() == [
        f"{file}: ok",
        "  workers     3",
        f"  listens on  127.0.0.1:6432, [::1]:6432, {tmp_path}/.s.PGSQL.6432",
        "  log-in      trust",
        "  clients     at most 10000",
        "  pools       transaction mode, 12 backends each, at most 40 in all",
        "  databases   app = app_production at [::1]:5432 as service, pool_size 5",
        "              * = the same name at /run/pg/.s.PGSQL.5432",
        "  users       alice, pool_size 4",
    ]


def test_the_file_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path, CONFIGURATION.format(directory=tmp_path))
    monkeypatch.setenv("PGMUX_CONFIG", file)
    monkeypatch.setenv("PGMUX_WORKERS", "9")
    assert main(["check"]) == 0
    assert capfd.readouterr().out.splitlines()[:2] == [f"{file}: ok", "  workers     9"]


def test_a_doubtful_configuration_is_ok_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _write(tmp_path, "[pgmux]\nauth_type = 'trust'\nlisten = [':6432']\n[databases.app]\n")
    assert main(["check", "-c", file]) == 0
    said, complained = capfd.readouterr()
    assert said.startswith(f"{file}: ok\n")
    assert complained.startswith(f"warning: {file}:2: auth_type: ")
    assert complained.count("\n") == 1


def test_the_users_of_the_auth_file_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    users = tmp_path / "users.txt"
    users.write_text('"alice" "secret"\n')
    users.chmod(0o600)
    file = _write(tmp_path, "[pgmux]\nauth_file = 'users.txt'\n[databases.app]\n")
    assert main(["check", "-c", file]) == 0
    assert f"log-in      scram-sha-256, 1 user in {users}" in capfd.readouterr().out


def test_a_broken_auth_file_is_refused_with_its_own_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users.txt"
    users.write_text('"alice" "secret"\n"bob\n')
    file = _write(tmp_path, "[pgmux]\nauth_file = 'users.txt'\n[databases.app]\n")
    assert main(["check", "-c", file]) == 2
    said, complained = capfd.readouterr()
    assert said == ""
    assert complained.startswith(f"{users}:2: ")


def test_a_long_list_of_databases_is_cut(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    databases = "".join(f"[databases.d{number}]\n" for number in range(25))
    assert main(["check", "-c", _write(tmp_path, f"[pgmux]\nauth_type = 'trust'\n{databases}")]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sum(" at /var/run/postgresql/" in line for line in lines) == 20
    assert lines[-1].strip() == "and 5 more"


def test_the_options_are_printed_as_a_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--options"]) == 0
    assert capfd.readouterr() == (render_sample(), "")


@pytest.mark.parametrize("arguments", [["check", "--options"], ["version"]])
def test_a_reader_that_leaves_early_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pgmux", *arguments]
    with open(writing, "wb") as pipe:
        process = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60)
    assert process.returncode == 0
    assert process.stderr == ""


def test_nothing_is_coloured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["check", "-c", _write(tmp_path, "[pgmux]\nworkrs = 1\n")])
    main(["check", "-c", _write(tmp_path, "")])
    said, complained = capfd.readouterr()
    assert "\x1b" not in said + complained
    assert "ok" in said
    assert "workrs" in complained


def test_openssl_is_asked_about_certificates_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], authority: Authority
) -> None:
    one, other = authority.certify(), authority.certify()
    text = (
        f"[pgmux]\nauth_type = 'trust'\nclient_tls_sslmode = 'require'\n"
        f"client_tls_cert_file = '{one.cert_file}'\nclient_tls_key_file = '{{key}}'\n[databases.app]\n"
    )
    assert main(["check", "-c", _write(tmp_path, text.format(key=one.key_file))]) == 0
    assert "  TLS         require, versions 1.2 and 1.3\n" in capfd.readouterr().out
    file = _write(tmp_path, text.format(key=other.key_file))
    assert main(["check", "-c", file]) == 2
    complained = capfd.readouterr().err
    assert f"{file}: TLS for clients: cannot use the private key in {other.key_file}" in complained
    assert "key values mismatch" in complained


@pytest.mark.parametrize(
    "line",
    ["client_tls_ciphers = 'ROT13'", "client_tls13_ciphers = 'ROT13'", "client_tls_ecdhcurve = 'circle'"],
)
def test_a_cipher_or_curve_that_openssl_does_not_know_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], authority: Authority, line: str
) -> None:
    one = authority.certify()
    text = (
        f"[pgmux]\nauth_type = 'trust'\nclient_tls_sslmode = 'require'\n{line}\n"
        f"client_tls_cert_file = '{one.cert_file}'\nclient_tls_key_file = '{one.key_file}'\n[databases.app]\n"
    )
    assert main(["check", "-c", _write(tmp_path, text)]) == 2
    assert line.split("'")[1] in capfd.readouterr().err


def test_rules_and_who_is_asked_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hba.conf").write_text("local all all peer map=m\nhost all +staff all scram-sha-256\n")
    (tmp_path / "ident.conf").write_text("m root postgres\n")
    settings = "auth_type = 'hba'\nauth_hba_file = 'hba.conf'\nauth_ident_file = 'ident.conf'"
    file = _write(tmp_path, f"[pgmux]\n{settings}\nauth_user = 'asker'\n[databases.app]\n")
    assert main(["check", "-c", file]) == 0
    told = f"log-in      hba, 2 rules in {tmp_path}/hba.conf, PostgreSQL is asked by asker"
    assert told in capfd.readouterr().out


def test_a_rule_that_is_not_supported_is_refused_with_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "hba.conf"
    rules.write_text("local all all peer\nhost all all all ldap\nhost all +staff all trust\n")
    file = _write(tmp_path, "[pgmux]\nauth_type = 'hba'\nauth_hba_file = 'hba.conf'\n[databases.app]\n")
    assert main(["check", "-c", file]) == 2
    ldap, staff = capfd.readouterr().err.splitlines()
    assert ldap.startswith(f"{rules}:2: auth_hba_file: ")
    assert staff.startswith(f"{rules}:3: auth_hba_file: ")
