"""What must hold between options."""

from pathlib import Path

import pytest

from tests.config.texts import read, refusal, refusals, warnings

TRUST = "[pgmux]\nauth_type = 'trust'\n"


@pytest.mark.parametrize("auth_type", ["password", "md5", "scram-sha-256"])
def test_passwords_need_a_file_of_them(auth_type: str) -> None:
    problem = refusal(f"[pgmux]\nauth_type = '{auth_type}'\n[databases.app]\n")
    assert problem.key == "auth_file"
    assert auth_type in problem.message
    assert "trust" in problem.hint
    assert "auth_file = " in problem.hint


def test_trust_needs_no_file() -> None:
    assert read(f"{TRUST}[databases.app]\n").warnings == ()


def test_without_a_database_a_missing_auth_file_is_only_doubtful() -> None:
    assert warnings("") == ["auth_file", "databases"]


def test_a_missing_auth_file_is_refused_with_its_path(tmp_path: Path) -> None:
    problem = refusal(f"[pgmux]\nauth_file = '{tmp_path}/none.txt'\n[databases.app]\n")
    assert problem.key == "auth_file"
    assert problem.line == 2
    assert problem.message == f"{tmp_path}/none.txt cannot be read: No such file or directory"


def test_a_directory_is_no_auth_file(tmp_path: Path) -> None:
    assert "is not a file" in refusal(f"[pgmux]\nauth_file = '{tmp_path}'\n[databases.app]\n").message


def test_an_auth_file_of_nobody_is_warned_of_unless_postgresql_is_asked(tmp_path: Path) -> None:
    users = tmp_path / "userlist.txt"
    users.touch(0o600)
    text = f"[pgmux]\nauth_file = '{users}'\n{{}}\n[databases.app]\n"
    [warning] = read(text.format("")).warnings
    assert (warning.key, warning.line) == ("auth_file", 2)
    assert warning.message == f"{users} is empty, so every log-in would be refused"
    assert read(text.format("auth_user = 'asker'")).warnings == ()
    users.write_text('"alice" "wonder"\n')
    assert read(text.format("")).warnings == ()


def test_an_auth_file_of_a_wrong_type_is_not_also_called_missing() -> None:
    assert refusal("[pgmux]\nauth_file = 5\n[databases.app]\n").message == "expected a path in quotes, got 5"


def test_rules_need_a_file_of_them(tmp_path: Path) -> None:
    assert refusal("[pgmux]\nauth_type = 'hba'\n[databases.app]\n").key == "auth_hba_file"
    for key in ("auth_hba_file", "auth_ident_file"):
        problem = refusal(f"[pgmux]\nauth_type = 'trust'\n{key} = '{tmp_path}/none'\n[databases.app]\n")
        assert problem.key == key


def test_certificates_need_tls() -> None:
    problem = refusal("[pgmux]\nauth_type = 'cert'\n[databases.app]\n")
    assert problem.key == "auth_type"
    assert "client_tls_sslmode" in problem.hint


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ("auth_query = 'SELECT $1, $1'", "auth_query"),
        ("auth_dbname = 'app'", "auth_dbname"),
        ("auth_user = 'asker'\nauth_query = 'SELECT 1, 2'", "auth_query"),
        ("auth_user = 'asker'\nauth_dbname = 'elsewhere'", "auth_dbname"),
    ],
)
def test_a_query_for_secrets_needs_who_asks_and_where(settings: str, key: str) -> None:
    assert refusal(f"{TRUST}{settings}\n[databases.app]\n").key == key


def test_a_query_for_secrets_is_as_good_as_a_file() -> None:
    settings = "auth_user = 'asker'\nauth_dbname = 'users'\nauth_query = 'SELECT u, s FROM f($1)'"
    assert warnings(f"[pgmux]\n{settings}\n[databases.'*']\n") == []


def test_somebody_must_be_able_to_connect() -> None:
    assert refusal("[pgmux]\nlisten = []\n").key == "listen"
    assert read("[pgmux]\nlisten = []\nunix_socket_dir = '/tmp'\n").pgmux.listen == ()


@pytest.mark.parametrize("listen", [":6432", "10.0.0.1:6432", "[::]:6432"])
def test_trust_on_a_reachable_address_is_warned_of(listen: str) -> None:
    assert warnings(f"{TRUST}listen = ['{listen}']\n[databases.app]\n") == ["auth_type"]


@pytest.mark.parametrize("listen", ["127.0.0.1:6432", "localhost:6432", "[::1]:6432"])
def test_trust_on_loopback_is_fine(listen: str) -> None:
    assert warnings(f"{TRUST}listen = ['{listen}']\n[databases.app]\n") == []


@pytest.mark.parametrize("table", ["[databases.app]", "[users.alice]"])
def test_a_pool_cannot_keep_more_backends_than_it_may_have(table: str) -> None:
    problem = refusal(f"{TRUST}{table}\npool_size = 5\nmin_pool_size = 6\n")
    assert problem.key == f"{table[1:-1]}.min_pool_size"
    assert problem.message == "6 is more than pool_size = 5"


def test_the_global_minimum_cannot_exceed_the_global_size() -> None:
    problem = refusal("[pgmux]\nmin_pool_size = 30\ndefault_pool_size = 29\n")
    assert (problem.line, problem.message) == (2, "30 is more than default_pool_size = 29")


def test_a_pool_larger_than_all_backends_is_warned_of() -> None:
    text = f"{TRUST}max_backends = 10\ndefault_pool_size = 10\n[databases.app]\npool_size = 11\n"
    assert warnings(text) == ["databases.app.pool_size"]
    assert warnings(f"{TRUST}max_backends = 10\n[databases.app]\n") == ["default_pool_size"]


@pytest.mark.parametrize(
    ("settings", "database"),
    [
        ("listen = ['127.0.0.1:6432']", "host = '127.0.0.1'\nport = 6432"),
        ("listen = [':6432']", "host = 'localhost'\nport = 6432"),
        ("listen = ['0.0.0.0:6432']", "host = '127.0.0.1'\nport = 6432"),
        ("unix_socket_dir = '/tmp'", "host = '/tmp/'\nport = 6432"),
    ],
)
def test_pgmux_cannot_be_its_own_server(settings: str, database: str) -> None:
    problem = refusal(f"{TRUST}{settings}\n[databases.app]\n{database}\n")
    assert problem.key == "databases.app.host"
    assert "itself" in problem.message


@pytest.mark.parametrize(
    ("settings", "database"),
    [
        ("listen = ['10.0.0.1:5432']", "host = '127.0.0.1'\nport = 5432"),
        ("listen = ['127.0.0.1:6432']", "host = '127.0.0.1'\nport = 5432"),
        ("unix_socket_dir = '/tmp'", "host = '/tmp'\nport = 5432"),
    ],
)
def test_a_server_on_the_same_machine_is_fine(settings: str, database: str) -> None:
    assert read(f"{TRUST}{settings}\n[databases.app]\n{database}\n").databases["app"].port == 5432


@pytest.mark.parametrize(
    ("key", "length"), [("unix_socket_dir", 94), ("runtime_dir", 95), ("control_socket", 108)]
)
def test_a_socket_path_that_is_too_long_is_refused(key: str, length: int) -> None:
    fits = "/" + "d" * (length - 2)
    assert getattr(read(f"[pgmux]\n{key} = '{fits}'\n").pgmux, key) == fits
    problem = refusal(f"[pgmux]\n{key} = '{fits}d'\n")
    assert problem.key == key
    assert "at most 107 bytes" in problem.hint


def test_a_host_directory_that_is_too_long_is_refused() -> None:
    problem = refusal(f"{TRUST}[databases.app]\nhost = '/{'d' * 100}'\n")
    assert "longer than a Unix socket's path" in problem.message


def test_a_socket_directory_that_is_missing_is_warned_of(tmp_path: Path) -> None:
    text = f"{TRUST}unix_socket_dir = '{tmp_path}/none'\n[databases.app]\n"
    assert warnings(text) == ["unix_socket_dir"]


def test_passwords_that_everybody_can_read_are_warned_of(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text('"alice" "secret"\n')
    text = f"[pgmux]\nauth_file = '{users}'\n[databases.app]\n"
    users.chmod(0o644)
    assert warnings(text) == ["auth_file"]
    users.chmod(0o640)
    assert warnings(text) == []


def test_a_problem_is_told_once_per_key() -> None:
    problems = refusals("[pgmux]\nlisten = 5\nmin_pool_size = 'x'\ndefault_pool_size = 'y'\n")
    assert [problem.key for problem in problems] == ["listen", "min_pool_size", "default_pool_size"]
