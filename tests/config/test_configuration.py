"""What the rest of pgmux asks of a configuration."""

import os

import pytest

from tests.config.texts import read

POOLS = """
[pgmux]
auth_type = "trust"
default_pool_size = 10
min_pool_size = 3

[databases.app]
host = "db.example.com"
port = 5433
dbname = "app_production"
max_backends = 30
pool_size = 20
min_pool_size = 4

[databases.plain]

[databases.forced]
user = "service"
password = "secret"

[users.alice]
pool_size = 5

[users.service]
pool_size = 2
"""


def test_a_pool_takes_its_settings_from_the_user_then_the_database_then_the_global_ones() -> None:
    config = read(POOLS)
    assert config.pool_settings("app", "alice").pool_size == 5
    assert config.pool_settings("app", "bob").pool_size == 20
    assert config.pool_settings("plain", "alice").pool_size == 5
    assert config.pool_settings("plain", "bob").pool_size == 10
    assert config.pool_settings("app", "alice").min_pool_size == 4
    assert config.pool_settings("plain", "alice").min_pool_size == 3
    assert config.pool_settings("plain", "alice").pool_mode == "transaction"


def test_a_pool_knows_its_place_in_postgresql() -> None:
    pool = read(POOLS).pool_settings("app", "bob")
    assert pool.database == "app"
    assert pool.dbname == "app_production"
    assert pool.hosts == ("db.example.com",)
    assert pool.host == "db.example.com"
    assert pool.port == 5433
    assert pool.max_backends == 30
    assert pool.server_user == "bob"
    assert pool.server_password is None


def test_a_database_without_settings_is_the_one_of_the_same_name_on_this_machine() -> None:
    pool = read(POOLS).pool_settings("plain", "bob")
    assert (pool.dbname, pool.host, pool.port, pool.max_backends) == ("plain", "/var/run/postgresql", 5432, 0)


def test_a_forced_user_has_one_pool_for_all_clients() -> None:
    config = read(POOLS)
    pool = config.pool_settings("forced", "alice")
    assert pool.server_user == "service"
    assert pool.server_password == "secret"
    assert pool.pool_size == 2
    assert pool == config.pool_settings("forced", "bob")


def test_a_global_minimum_does_not_exceed_a_small_pool() -> None:
    config = read(POOLS)
    assert config.pool_settings("plain", "bob").min_pool_size == 3
    assert config.pool_settings("forced", "bob").min_pool_size == 2


def test_an_undeclared_database_has_no_pool() -> None:
    with pytest.raises(KeyError, match="other"):
        read(POOLS).pool_settings("other", "alice")


def test_a_star_serves_every_undeclared_name() -> None:
    config = read(POOLS + '[databases."*"]\nport = 5999\n')
    assert config.pool_settings("app", "bob").port == 5433
    other = config.pool_settings("other", "bob")
    assert (other.database, other.dbname, other.port) == ("other", "other", 5999)


def test_workers_are_as_many_as_configured() -> None:
    assert read("[pgmux]\nworkers = 3\n").worker_count() == 3


def test_workers_are_by_default_as_many_as_cores_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert read("").worker_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert read("").worker_count() == min(len(allowed), 250)


def test_runtime_files_are_in_the_runtime_directory() -> None:
    config = read("[pgmux]\nruntime_dir = '/srv/pgmux'\n")
    assert config.segment_path == "/srv/pgmux/pgmux.shm"
    assert config.control_socket == "/srv/pgmux/control.sock"


def test_the_control_socket_may_be_elsewhere() -> None:
    config = read("[pgmux]\ncontrol_socket = '/srv/control'\n")
    assert config.control_socket == "/srv/control"


def test_the_unix_socket_is_named_after_the_first_port() -> None:
    text = "[pgmux]\nunix_socket_dir = '/tmp'\n"
    assert read("").unix_socket is None
    assert read(text).unix_socket == "/tmp/.s.PGSQL.6432"
    assert read(text + "listen = [':7000', ':6432']\n").unix_socket == "/tmp/.s.PGSQL.7000"
    assert read(text + "listen = []\n").unix_socket == "/tmp/.s.PGSQL.6432"
    assert read(text).unix_socket_path(5432) == "/tmp/.s.PGSQL.5432"


def test_a_pool_that_is_there_keeps_its_user_whoever_clients_are_forced_to_be() -> None:
    config = read(POOLS)
    forced = config.settings_of_pool("forced", "service")
    assert (forced.server_user, forced.server_password, forced.pool_size) == ("service", "secret", 2)
    other = config.settings_of_pool("forced", "alice")
    assert (other.server_user, other.server_password, other.pool_size) == ("alice", None, 5)
    with pytest.raises(KeyError):
        config.settings_of_pool("nowhere", "alice")


@pytest.mark.parametrize(
    ("databases", "asked", "expected"),
    [
        ("[databases.app]", "app", "app"),
        ("[databases.app]\n[databases.'*']", "app", "app"),
        ("[databases.app]\n[databases.'*']", "other", "postgres"),
        ("[databases.'*']", "*", "postgres"),
        ("[databases.first]\n[databases.second]", "nowhere", "first"),
        ("", "nowhere", None),
    ],
)
def test_auth_query_is_asked_where_it_tells_nobody_what_exists(
    databases: str, asked: str, expected: str | None
) -> None:
    config = read(f"[pgmux]\nauth_type = 'trust'\nauth_user = 'asker'\n{databases}\n")
    assert config.auth_database(asked) == expected


def test_auth_query_is_asked_in_auth_dbname_where_it_is_set() -> None:
    config = read("[pgmux]\nauth_type = 'trust'\nauth_user = 'x'\nauth_dbname = 'app'\n[databases.app]\n")
    assert config.auth_database("nowhere") == "app"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("workers = 4", 250),
        ("workers = 4\nmax_login_conn = 10", 3),
        ("workers = 4\nmax_client_conn = 400", 50),
        ("workers = 4\nmax_client_conn = 1", 16),
        ("workers = 100\nmax_client_conn = 1", 1),
    ],
)
def test_a_worker_has_its_share_of_the_log_ins(settings: str, expected: int) -> None:
    assert read(f"[pgmux]\nauth_type = 'trust'\n{settings}\n").login_limit_of_a_worker == expected
