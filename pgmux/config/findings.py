"""What was found wrong or doubtful while a configuration was read.

Everything is collected, so that a user sees all of it at once. A key has at most one problem:
the first, as what is said about a value that could not be read would only confuse.
"""

import json
import re

from pgmux.config.key_lines import KeyPath
from pgmux.errors import ConfigError, Problem

ENVIRONMENT = "environment"


def environment_name(key: str) -> str:
    """The variable that overrides an option of [pgmux]."""
    return f"PGMUX_{key.upper()}"


class Findings:
    """Problems and warnings, each with the place it belongs to."""

    def __init__(self, file: str, lines: dict[KeyPath, int]) -> None:
        self.file = file
        self.lines = lines
        self.overridden: set[str] = set()  # keys of [pgmux] that the environment gave
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._refused: set[KeyPath] = set()

    def refuse(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Note that the value at `path`, as ("databases", "app", "port"), cannot be used."""
        if path not in self._refused:
            self._refused.add(path)
            self.problems.append(self._problem(path, message, hint))

    def refuse_variable(self, key: str, message: str, hint: str = "") -> None:
        """Note that the environment's value for an option of [pgmux] cannot be used."""
        self._refused.add(("pgmux", key))
        self.problems.append(Problem(ENVIRONMENT, None, environment_name(key), message, hint))

    def warn(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Note that the value at `path` can be used, but is hardly meant."""
        self.warnings.append(self._problem(path, message, hint))

    def warn_variable(self, name: str, message: str, hint: str = "") -> None:
        """Note something doubtful about a variable of the environment."""
        self.warnings.append(Problem(ENVIRONMENT, None, name, message, hint))

    def is_refused(self, path: KeyPath) -> bool:
        """Whether there is a problem with the value at `path` already."""
        return path in self._refused

    def raise_problems(self) -> None:
        """Raise ConfigError with all problems in the order of the file, if there are any."""
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: (problem.file, problem.line or 0)))

    def _problem(self, path: KeyPath, message: str, hint: str) -> Problem:
        if path[:1] == ("pgmux",) and path[-1] in self.overridden:
            return Problem(ENVIRONMENT, None, environment_name(path[-1]), message, hint)
        return Problem(self.file, self._line(path), spell(path), message, hint)

    def _line(self, path: KeyPath) -> int | None:
        """The line of the key, or of the nearest table around it that is written down."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def spell(path: KeyPath) -> str:
    """A key as messages name it: options of [pgmux] by their name alone, others with their table."""
    parts = path[1:] if len(path) > 1 and path[0] == "pgmux" else path
    return ".".join(
        part if re.fullmatch("[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
        for part in parts
    )
