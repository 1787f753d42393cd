"""The table of options itself, and the sample file made from it."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from pgmux.config import Settings, read_config
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.sample import render_sample
from pgmux.errors import ConfigError

SAMPLE = Path(__file__).parents[2] / "etc" / "pgmux.toml"
TABLES: tuple[type[msgspec.Struct], ...] = (Settings, Database, User)
ROWS = [
    pytest.param(row, id=f"{table.__name__}.{name}")
    for table in TABLES
    for name, row in rows_of(table).items()
]

# The contract with users: options of [pgmux] and their defaults as a user would write them.
CONTRACT = """
workers = 0
listen = ["127.0.0.1:6432"]
unix_socket_dir = ""
runtime_dir = "/run/pgmux"
control_socket = ""
metrics_listen = ""
log_level = "info"
log_format = "text"
pool_mode = "transaction"
max_backends = 80
default_pool_size = 20
min_pool_size = 0
reserve_pool_size = 0
reserve_pool_timeout = "5s"
max_client_conn = 10000
query_wait_timeout = "120s"
server_lifetime = "1h"
server_idle_timeout = "10m"
server_connect_timeout = "15s"
server_login_retry = "1s"
client_login_timeout = "60s"
client_idle_timeout = 0
idle_transaction_timeout = 0
transaction_timeout = 0
query_timeout = 0
server_reset_query = "DISCARD ALL"
max_prepared_statements = 200
ignore_startup_parameters = []
admin_users = []
stats_users = []
auth_type = "scram-sha-256"
auth_file = ""
auth_hba_file = ""
auth_user = ""
auth_query = ""
client_tls_sslmode = "disable"
server_tls_sslmode = "prefer"
"""


def test_every_option_of_the_contract_exists_with_its_default() -> None:
    assert read_config(f"[pgmux]\n{CONTRACT}", {}).pgmux == Settings()
    assert set(tomllib.loads(CONTRACT)) <= set(rows_of(Settings))


@pytest.mark.parametrize("row", ROWS)
def test_an_option_is_explained_in_one_sentence(row: Row) -> None:
    assert re.fullmatch(r"[A-Z\"].*\.", row.option.help)
    assert ". " not in row.option.help


@pytest.mark.parametrize("row", ROWS)
def test_a_default_can_be_written_and_read(row: Row) -> None:
    if row.default is not None:
        assert row.read(_as_read_from_toml(row.show(row.default))) == row.default
    if row.option.example is not None:
        assert row.read(row.option.example) == row.option.example


def _as_read_from_toml(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_the_tables_refuse_unknown_fields_and_do_not_change() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"workrs": 1}, Settings)
    with pytest.raises(AttributeError):
        Settings().workers = 1  # type: ignore[misc]


def test_the_sample_file_is_the_one_made_from_the_table() -> None:
    assert SAMPLE.read_text() == render_sample(), "pgmux check --options > etc/pgmux.toml"


def test_the_sample_file_as_it_is_changes_no_default() -> None:
    config = read_config(SAMPLE.read_text(), {}, path=str(SAMPLE))
    assert config.pgmux == Settings()
    assert config.databases == {}


def test_the_sample_file_shows_every_option_with_its_default() -> None:
    text = _without_comment_signs(SAMPLE.read_text())
    shown = tomllib.loads(text)
    assert list(shown["pgmux"]) == list(rows_of(Settings))
    assert list(shown["databases"]["app"]) == list(rows_of(Database))
    assert list(shown["users"]["alice"]) == list(rows_of(User))
    with pytest.raises(ConfigError) as caught:  # the default auth_type needs a file once there is a database
        read_config(text, {})
    assert [problem.key for problem in caught.value.problems] == ["auth_file"]
    config = read_config(text, {"PGMUX_AUTH_TYPE": "trust"})
    assert msgspec.structs.replace(config.pgmux, auth_type="scram-sha-256") == Settings()


def _without_comment_signs(text: str) -> str:
    """The sample with all its options in force; "#" without a space after it hides an option."""
    return re.sub(r"^#(?=[\w\[])", "", text, flags=re.MULTILINE)
