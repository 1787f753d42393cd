"""How errors for the user are spelled."""

import pytest

from pgmux.errors import ConfigError, PgmuxError, Problem


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a.toml", 3, "workers", "too few", "take 2"), "a.toml:3: workers: too few (take 2)"),
        (Problem("a.toml", 3, "workers", "too few"), "a.toml:3: workers: too few"),
        (Problem("environment", None, "PGMUX_WORKERS", "too few"), "environment: PGMUX_WORKERS: too few"),
        (Problem("a.toml", None, "", "cannot be read"), "a.toml: cannot be read"),
    ],
)
def test_a_problem_begins_with_its_place_and_ends_with_its_hint(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_prints_one_problem_per_line() -> None:
    problems = [Problem("a.toml", 1, "x", "bad"), Problem("a.toml", 2, "y", "worse")]
    error = ConfigError(problems)
    assert str(error) == "a.toml:1: x: bad\na.toml:2: y: worse"
    assert error.problems == problems


def test_exit_codes_tell_a_failure_from_a_wrong_configuration() -> None:
    assert PgmuxError("it failed").exit_code == 1
    assert ConfigError([]).exit_code == 2
    assert isinstance(ConfigError([]), PgmuxError)
