"""pgbouncer.ini is read as PgBouncer reads it: judged by a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.errors import ConfigError
from pgmux.pgbouncer.in_force import InForce
from pgmux.pgbouncer.ini import Kind, parse_connect_string, read_ini, take_setting
from tests.pgbouncer.bouncer import Bouncer

AWKWARD = """\
; a comment
# another one
[databases]
plain = host=10.0.0.1 port=5433 dbname=elsewhere
spaced   =   host = 10.0.0.2   pool_size =7
quoted = host=10.0.0.3 user='it''s me' password='a b'
dotted.name-1 = host=10.0.0.4
twice = host=10.0.0.5
twice = host=10.0.0.6
empty =
* = host=10.0.0.9
[pgbouncer]
   max_client_conn   =   64
default_pool_size = 0x10
min_pool_size = 010
server_lifetime = 90.5
pool_mode = Transaction
ignore_startup_parameters = a, b ; not a comment
server_reset_query =
max_client_conn = 65
"""


def read(tmp_path: Path, text: str) -> InForce:
    (tmp_path / "pgbouncer.ini").write_text(text)
    return InForce(read_ini(str(tmp_path / "pgbouncer.ini")), 1)


def test_values_in_force_are_those_of_a_real_pgbouncer(tmp_path: Path) -> None:
    ini = read(tmp_path, AWKWARD)
    with Bouncer(AWKWARD) as bouncer:
        config = {row["key"]: row["value"] for row in bouncer.show("CONFIG")}
        databases = {row["name"]: row for row in bouncer.show("DATABASES")}
    for key in ("max_client_conn", "default_pool_size", "min_pool_size"):
        assert ini.number(key) == int(config[key])
    assert ini.value("ignore_startup_parameters") == config["ignore_startup_parameters"]
    assert ini.value("server_reset_query", "unset") == config["server_reset_query"] == ""
    for name in ("plain", "spaced", "quoted", "dotted.name-1", "twice"):
        line = ini.line("databases", name)
        assert line is not None
        pairs = dict(parse_connect_string(line.value))
        row = databases[name]
        assert pairs["host"] == row["host"]
        assert int(pairs.get("port", 5432)) == int(row["port"])
        assert pairs.get("user") == row["force_user"]
        assert int(pairs.get("pool_size", 16)) == int(row["pool_size"])
    assert ini.line("databases", "empty") is not None


def test_a_second_section_pgbouncer_begins_anew_as_in_a_real_one(tmp_path: Path) -> None:
    text = "[pgbouncer]\nmax_client_conn = 7\nmin_pool_size = 3\n[pgbouncer]\nmin_pool_size = 4\n"
    with Bouncer(text) as bouncer:
        config = {row["key"]: row["value"] for row in bouncer.show("CONFIG")}
    ini = read(tmp_path, text)
    assert ini.number("max_client_conn", 100) == int(config["max_client_conn"]) == 100
    assert ini.number("min_pool_size") == int(config["min_pool_size"]) == 4


@pytest.mark.parametrize("text", ["host", "host=", "host=''", "host='a", "= a", "host=a'b' port"])
def test_what_pgbouncer_refuses_is_no_connect_string(text: str) -> None:
    with pytest.raises(ValueError, match="no pair"):
        parse_connect_string(text)


def test_a_quote_inside_quotes_is_doubled() -> None:
    said = "connect_query='SET search_path = ''a b''' port=1"
    assert parse_connect_string(said) == [("connect_query", "SET search_path = 'a b'"), ("port", "1")]


def test_a_name_may_stand_in_double_quotes() -> None:
    assert take_setting('"my ""own"" db" = host=h') == ('my "own" db', "host=h")


def test_included_files_are_read_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_text("default_pool_size = 3\n")
    (tmp_path / "pgbouncer.ini").write_text("[pgbouncer]\n%include more.ini\nmin_pool_size = 1\n")
    lines = [line for line in read_ini(str(tmp_path / "pgbouncer.ini")) if line.kind is Kind.SETTING]
    assert [(Path(line.file).name, line.number, line.key) for line in lines] == [
        ("more.ini", 1, "default_pool_size"),
        ("pgbouncer.ini", 3, "min_pool_size"),
    ]
    assert lines[0].section == "pgbouncer"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[databases\n", 1, "would stop reading here"),
        ("[pgbouncer]\nno equals sign\n", 2, "would stop reading here"),
        ("a = b\n", 1, "before the first [section]"),
        ("[pgbouncer]\n%include pgbouncer.ini\n", 2, "10 files deep"),
    ],
)
def test_where_pgbouncer_stops_is_said_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    (tmp_path / "pgbouncer.ini").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_ini(str(tmp_path / "pgbouncer.ini"))
    [problem] = caught.value.problems
    assert problem.line == line
    assert said in problem.message


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.ini: cannot be read: No such file"):
        read_ini(str(tmp_path / "nowhere.ini"))
