"""Configurations of a few lines, and what reading them gives."""

from textwrap import dedent

import pytest

from pgmux.config import Config, read_config
from pgmux.errors import ConfigError, Problem


def read(text: str, **environ: str) -> Config:
    """The Config of a text, read as "pgmux.toml", with PGMUX_… of the environment."""
    return read_config(dedent(text), environ)


def refusals(text: str, **environ: str) -> list[Problem]:
    """The problems of a text that must be refused."""
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    return caught.value.problems


def refusal(text: str, **environ: str) -> Problem:
    """The only problem of a text that must be refused."""
    problems = refusals(text, **environ)
    assert len(problems) == 1, problems
    return problems[0]


def warnings(text: str, **environ: str) -> list[str]:
    """The keys that a text is warned of."""
    return [problem.key for problem in read(text, **environ).warnings]
