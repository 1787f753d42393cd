"""Reading a configuration's text: values, and what is said about wrong ones."""

import os
from pathlib import Path

import pytest

from pgmux.config import Database, Listen, Settings, User, read_config
from pgmux.errors import ConfigError, Problem
from tests.config.texts import read, refusal, refusals


def test_an_empty_text_gives_the_defaults() -> None:
    config = read("")
    assert config.pgmux == Settings()
    assert config.databases == {}
    assert config.users == {}
    assert config.path is None


def test_values_are_read_by_their_type() -> None:
    config = read(
        """
        [pgmux]
        workers = 3
        listen = ["[::1]:7000", ":6432"]
        query_wait_timeout = "250ms"
        server_idle_timeout = 1.5
        auth_type = "trust"
        ignore_startup_parameters = ["root", "dba"]

        [databases.app]
        host = "10.0.0.1"
        port = 5433
        password = "secret"

        [databases."*"]

        [users."strange name"]
        pool_size = 7
        """
    )
    assert config.pgmux.workers == 3
    assert config.pgmux.listen == (Listen("::1", 7000), Listen("", 6432))
    assert config.pgmux.query_wait_timeout == 0.25
    assert config.pgmux.server_idle_timeout == 1.5
    assert config.pgmux.ignore_startup_parameters == ("root", "dba")
    assert config.databases == {
        "app": Database(host=("10.0.0.1",), port=5433, password="secret"),
        "*": Database(),
    }
    assert config.users == {"strange name": User(pool_size=7)}


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name() -> None:
    problem = refusal("[pgmux]\n\nmax_bakends = 5\n")
    assert problem == Problem("pgmux.toml", 3, "max_bakends", "unknown key", 'did you mean "max_backends"?')


def test_a_key_unlike_any_other_is_refused_with_where_to_look() -> None:
    assert "pgmux check --options" in refusal("[pgmux]\nzzz = 5\n").hint


def test_unknown_keys_of_databases_and_users_are_refused_too() -> None:
    problems = refusals(
        """
        [databases."my app"]
        prot = 5432
        [users.alice]
        poolsize = 5
        """,
        PGMUX_AUTH_TYPE="trust",
    )
    assert [(problem.line, problem.key, problem.hint) for problem in problems] == [
        (3, 'databases."my app".prot', 'did you mean "port"?'),
        (5, "users.alice.poolsize", 'did you mean "pool_size"?'),
    ]


def test_a_key_in_the_wrong_table_is_shown_its_own() -> None:
    problems = refusals("workers = 2\n[pgmux]\ndbname = 'x'\n[users.alice]\nworkers = 1\n")
    assert [problem.hint for problem in problems] == [
        "it belongs below the line [pgmux]",
        "it belongs to [databases.NAME]",
        "it belongs to [pgmux]",
    ]


def test_keys_of_pgbouncer_are_told_what_to_write_instead() -> None:
    problems = refusals("[pgmux]\nlisten_port = 6432\npidfile = 'x'\n[pgbouncer]\n")
    assert [problem.key for problem in problems] == ["listen_port", "pidfile", "pgbouncer"]
    assert 'listen = ["127.0.0.1:6432"]' in problems[0].hint
    assert "[pgmux]" in problems[2].hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("[database.app]", 'did you mean "databases"?'),
        ("[pgmx]", 'did you mean "pgmux"?'),
        ("max_backend = 5", 'did you mean "max_backends"?'),
        ("[other]", "the tables are [pgmux], [databases.NAME] and [users.NAME]"),
    ],
)
def test_an_unknown_table_is_refused_with_the_known_ones(name: str, hint: str) -> None:
    problem = refusal(name)
    assert (problem.line, problem.message, problem.hint) == (1, "unknown key", hint)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('workers = "4"', 'expected a whole number, got the text "4"', "without quotes: workers = 4"),
        ("workers = 1.5", "expected a whole number, got 1.5", ""),
        ("workers = true", "expected a whole number, got true", ""),
        ("workers = {}", "expected a whole number, got a table", ""),
        ("workers = -1", "must be between 0 and 250, got -1", ""),
        ("max_backends = 0", "must be between 1 and 65536, got 0", ""),
        ("auth_query = 5", "expected a text in quotes, got 5", ""),
        ('auth_query = "a\\u0000b"', "a text cannot hold a zero byte", ""),
        ("auth_file = 5", "expected a path in quotes, got 5", ""),
        ('admin_users = "root"', 'expected a list such as ["a", "b"], got the text "root"', ""),
        ("admin_users = [1]", 'expected a list such as ["a", "b"], got [1]', ""),
        (
            'pool_mode = "transactoin"',
            'expected one of "session", "transaction", "statement", got the text "transactoin"',
            'did you mean "transaction"?',
        ),
        (
            'auth_type = "sram"',
            'expected one of "trust", "password", "md5", "scram-sha-256", "cert", "hba", got the text "sram"',
            "",
        ),
        (
            'query_timeout = "soon"',
            'expected a duration: seconds, or "250ms", "5s", "10m", "1h", "2d"; got \'soon\'',
            "",
        ),
        ('listen = [":70000"]', "the port must be between 1 and 65535, got 70000", ""),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(line: str, message: str, hint: str) -> None:
    problem = refusal(f"[pgmux]\n{line}\n")
    assert (problem.line, problem.message, problem.hint) == (2, message, hint)


def test_the_beginning_of_a_word_is_recognised() -> None:
    assert refusal("[pgmux]\nauth_type = 'scram'\n").hint == 'did you mean "scram-sha-256"?'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("port = 0", "must be between 1 and 65535, got 0"),
        ("port = 65536", "must be between 1 and 65535, got 65536"),
        ('port = "5432"', 'expected a whole number, got the text "5432"'),
        ("pool_size = 0", "must be between 1 and 65536, got 0"),
        ("host = 5", "expected a name, an address, a directory, or a list of these; got 5"),
    ],
)
def test_a_wrong_value_of_a_database_is_refused(line: str, message: str) -> None:
    problem = refusal(f"[pgmux]\nauth_type='trust'\n[databases.app]\n{line}\n")
    assert (problem.line, problem.message) == (4, message)


def test_a_wrong_password_is_never_shown() -> None:
    problem = refusal("[pgmux]\nauth_type='trust'\n[databases.app]\npassword = 271828\n")
    assert problem.key == "databases.app.password"
    assert "271828" not in str(problem)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pgmux = 5", "pgmux"),
        ("databases = 5", "databases"),
        ("[databases]\napp = 'host=/tmp'", "databases.app"),
        ("[[databases.app]]\nport = 5432", "databases.app"),
        ("[users]\nalice = 5", "users.alice"),
    ],
)
def test_what_should_be_a_table_and_is_none_is_refused(text: str, key: str) -> None:
    problem = refusal(text, PGMUX_AUTH_TYPE="trust")
    assert problem.key == key
    assert problem.message in ("expected a table", "expected tables")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('[databases.""]', 'databases.""', "empty"),
        (f"[databases.{'d' * 64}]", f"databases.{'d' * 64}", "at most 63 bytes"),
        (f'[users."{"ü" * 32}"]', f'users."{"ü" * 32}"', "at most 63 bytes"),
        ("[databases.pgmux]", "databases.pgmux", "console"),
        ("[databases.pgbouncer]", "databases.pgbouncer", "console"),
        ('[users."*"]', 'users."*"', "not possible"),
    ],
)
def test_a_name_that_cannot_be_is_refused(text: str, key: str, message: str) -> None:
    problem = refusal(f"pgmux.auth_type = 'trust'\n{text}\n")
    assert problem.line == 2
    assert problem.key == key
    assert message in problem.message


def test_a_name_of_63_bytes_is_accepted() -> None:
    name = "d" * 63
    assert name in read(f"[pgmux]\nauth_type='trust'\n[databases.{name}]").databases


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    problems = refusals(
        """\
        [pgmux]
        workrs = 1
        auth_type = "cert"
        workers = "x"
        [databases.app]
        port = 0
        [users.alice]
        pool_mode = "sesion"
        """,
        PGMUX_MAX_BACKENDS="many",
    )
    assert [(problem.file, problem.line) for problem in problems] == [
        ("environment", None),
        *(("pgmux.toml", line) for line in (2, 3, 4, 6, 8)),
    ]


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("[pgmux]\nworkers = \n", 2, "quotes"),
        ("[pgmux]\npool_mode = session\nworkers = 2\n", 2, "quotes"),
        ("[pgmux]\nworkers = 2\nworkers = 3\nmax_backends = 3\n", 3, "twice"),
        ("[pgmux]\nworkers = 2\nworkers = 3\n\n\n", 3, "twice"),
        ("[pgmux]\n[pgmux]\n", 2, "twice"),
        ("[pgmux\nworkers = 2\n", 1, ""),
        ('[pgmux]\nlisten = [":6432"\n', 2, ""),
    ],
)
def test_a_syntax_error_is_told_with_its_line(text: str, line: int, hint: str) -> None:
    problem = refusal(text)
    assert problem.line == line
    assert problem.message.startswith("not valid TOML: ")
    assert "(at" not in problem.message
    assert hint in problem.hint


def test_a_text_nested_beyond_reason_is_refused() -> None:
    assert "nested" in refusal(f"a = {'[' * 5_000}").message


def test_windows_line_ends_do_not_shift_the_lines() -> None:
    assert refusal("[pgmux]\r\n\r\nworkrs = 1\r\n").line == 3


def test_relative_paths_are_meant_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("")
    file = tmp_path / "pgmux.toml"
    text = f"[pgmux]\nruntime_dir = 'run'\nauth_file = '../{tmp_path.name}/users.txt'\n"
    config = read_config(text, {}, path=str(file))
    assert config.pgmux.runtime_dir == str(tmp_path / "run")
    assert config.pgmux.auth_file == str(tmp_path / "users.txt")
    assert config.pgmux.unix_socket_dir == ""
    assert config.path == str(file)


def test_absolute_paths_stay() -> None:
    assert read("[pgmux]\nruntime_dir = '/srv/pgmux'\n").pgmux.runtime_dir == "/srv/pgmux"


def test_a_path_of_the_environment_is_meant_from_the_working_directory(tmp_path: Path) -> None:
    config = read_config("", {"PGMUX_RUNTIME_DIR": "run"}, path=str(tmp_path / "pgmux.toml"))
    assert config.pgmux.runtime_dir == os.path.abspath("run")


def test_the_environment_goes_before_the_file() -> None:
    config = read(
        "[pgmux]\nworkers = 2\nmax_backends = 9\n",
        PGMUX_WORKERS="5",
        PGMUX_LISTEN=":7000, [::1]:7001",
        PGMUX_QUERY_WAIT_TIMEOUT="250ms",
        PGMUX_SERVER_IDLE_TIMEOUT="90",
        PGMUX_IGNORE_STARTUP_PARAMETERS="root, dba",
        PGMUX_AUTH_TYPE="trust",
    )
    assert config.pgmux.workers == 5
    assert config.pgmux.max_backends == 9
    assert config.pgmux.listen == (Listen("", 7000), Listen("::1", 7001))
    assert config.pgmux.query_wait_timeout == 0.25
    assert config.pgmux.server_idle_timeout == 90
    assert config.pgmux.ignore_startup_parameters == ("root", "dba")
    assert config.pgmux.auth_type == "trust"


def test_a_wrong_value_of_the_environment_is_named_by_its_variable() -> None:
    problem = refusal("[pgmux]\nauth_type = 'trust'\n", PGMUX_AUTH_TYPE="md6")
    assert problem.file == "environment"
    assert problem.line is None
    assert problem.key == "PGMUX_AUTH_TYPE"
    assert problem.hint == 'did you mean "md5"?'


def test_what_the_environment_gave_is_blamed_on_the_environment() -> None:
    problem = refusal("[pgmux]\nmin_pool_size = 1\n", PGMUX_MIN_POOL_SIZE="21")
    assert (problem.file, problem.key) == ("environment", "PGMUX_MIN_POOL_SIZE")


def test_a_misspelled_variable_is_warned_of() -> None:
    [warning] = [problem for problem in read("", PGMUX_WORKRS="2").warnings if problem.key == "PGMUX_WORKRS"]
    assert warning.file == "environment"
    assert warning.hint == 'did you mean "PGMUX_WORKERS"?'


@pytest.mark.parametrize(
    "name", ["PGMUX_PORT", "PGMUX_SERVICE_HOST", "PGMUX_PORT_6432_TCP", "PGMUX_CONFIG", "WORKERS"]
)
def test_variables_that_others_set_are_not_warned_of(name: str) -> None:
    assert [problem for problem in read("", **{name: "x"}).warnings if problem.key == name] == []


def test_a_config_error_leaves_no_chain_of_inner_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        read("[pgmux]\nworkers =\n")
    assert caught.value.__suppress_context__
