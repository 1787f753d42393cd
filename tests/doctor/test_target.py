"""Where the doctor connects to: as psql would, or as pgmux's configuration has it."""

from __future__ import annotations

import getpass
import os
import pwd
from pathlib import Path

import pytest

from pgmux.config import Config, read_config
from pgmux.doctor import target
from pgmux.doctor.target import Target, UsageError, choose_targets

ME = getpass.getuser()
CONFIG = """\
[pgmux]
auth_type = "trust"
[databases.app]
host = "10.0.0.1"
port = 5433
[databases.same_server]
host = "10.0.0.1"
port = 5433
[databases.forced]
host = "10.0.0.2"
dbname = "real"
user = "service"
password = "hush"
[databases."*"]
host = "/run/pg"
"""


@pytest.fixture
def config() -> Config:
    return read_config(CONFIG, {})


def place(target: Target) -> tuple[str, int, str, str, str | None]:
    return target.host, target.port, target.user, target.dbname, target.password


def test_options_go_before_variables(tmp_path: Path) -> None:
    environ = {"PGHOST": "b", "PGPORT": "1", "PGUSER": "u", "PGDATABASE": "d", "PGPASSWORD": "p"}
    [target] = choose_targets({"host": "a", "port": "2"}, None, environ)
    assert place(target) == ("a", 2, "u", "d", "p")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40@h:77/d?sslmode=require",
        "host=h port=77 user=u password='p@' dbname=d sslmode=require",
        r"host = h port= 77 user =u password = p\@ dbname=d sslmode=require",
    ],
)
def test_a_connection_string_may_stand_for_the_database(text: str) -> None:
    [target] = choose_targets({"dbname": text}, None, {})
    assert place(target) == ("h", 77, "u", "d", "p@")
    assert target.sslmode == "require"


def test_an_option_goes_before_the_connection_string() -> None:
    [target] = choose_targets({"dbname": "postgresql://u@h/d", "user": "other"}, None, {})
    assert place(target) == ("h", 5432, "other", "d", None)


def test_each_server_of_the_configuration_is_looked_at_once(config: Config) -> None:
    targets = choose_targets({}, config, {})
    assert [place(target) for target in targets] == [
        ("10.0.0.1", 5433, ME, "app", None),
        ("10.0.0.2", 5432, "service", "real", "hush"),
        ("/run/pg", 5432, ME, "postgres", None),
    ]


def test_a_user_of_the_command_line_is_meant_for_all_servers(config: Config) -> None:
    targets = choose_targets({"user": "postgres"}, config, {})
    assert {target.user for target in targets} == {"postgres"}
    assert {target.password for target in targets} == {None}  # "hush" is another's


def test_a_host_of_the_command_line_is_looked_at_in_place_of_the_configurations(config: Config) -> None:
    [target] = choose_targets({"host": "elsewhere"}, config, {})
    assert target.host == "elsewhere"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_password_file_is_read_when_only_its_owner_can(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "pgpass"
    file.write_text("# a comment\nother:*:*:*:no\nh:5432:d:u:with\\:colon\n*:*:*:*:any\n")
    file.chmod(mode)
    [target] = choose_targets({"host": "h", "user": "u", "dbname": "d"}, None, {"PGPASSFILE": str(file)})
    assert target.password == ("with:colon" if mode == 0o600 else None)


def test_a_unix_socket_is_localhost_in_the_password_file(tmp_path: Path) -> None:
    file = tmp_path / ".pgpass"
    file.write_text("localhost:5432:*:u:yes\n")
    file.chmod(0o600)
    [target] = choose_targets({"host": "/run/pg", "user": "u"}, None, {"HOME": str(tmp_path)})
    assert target.password == "yes"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": "many"}, "no port"),
        ({"port": "70000"}, "no port"),
        ({"dbname": "postgresql://h:x/d"}, "no connection string"),
        ({"dbname": "host=h nonsense"}, "no connection string"),
        ({"dbname": "host=h sslmode=maybe"}, "sslmode"),
    ],
)
def test_wrong_usage_is_told(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_targets(given, None, {})


def test_nothing_given_is_the_local_server() -> None:
    [target] = choose_targets({}, None, {})
    assert (target.port, target.user, target.dbname) == (5432, ME, "postgres")


def test_root_is_who_owns_the_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = pwd.getpwuid(1)
    (tmp_path / ".s.PGSQL.5432").touch()
    if not os.geteuid():
        os.chown(tmp_path / ".s.PGSQL.5432", owner.pw_uid, -1)
    else:
        owner = pwd.getpwuid(os.geteuid())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    [target] = choose_targets({"host": str(tmp_path)}, None, {})
    assert target.user == owner.pw_name
    [target] = choose_targets({"host": str(tmp_path), "user": "u"}, None, {})
    assert target.user == "u"
    [target] = choose_targets({"host": "127.0.0.1"}, None, {})
    assert target.user == ME


def test_root_looks_at_its_own_machine_s_postgresql_by_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[pgmux]\nauth_type = "trust"\n[databases."*"]\nhost = "127.0.0.1"\n'
    monkeypatch.setattr(target, "SOCKET_DIRECTORIES", (str(tmp_path),))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config = read_config(text, {})
    assert choose_targets({}, config, {})[0].host == "127.0.0.1"  # there is no socket
    (tmp_path / ".s.PGSQL.5432").touch()
    [found] = choose_targets({}, config, {})
    assert (found.host, found.user) == (str(tmp_path), pwd.getpwuid(os.stat(tmp_path).st_uid).pw_name)
    assert choose_targets({"user": "u"}, config, {})[0].host == "127.0.0.1"
    assert choose_targets({"host": "127.0.0.1"}, config, {})[0].host == "127.0.0.1"
