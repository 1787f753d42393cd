"""Errors that are meant for the person who runs pgmux.

Whoever raises a PgmuxError promises that its text says what is wrong in the user's words;
the command prints that text without a traceback and exits with the error's exit code.
Anything else that escapes is a defect of pgmux, and keeps its traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class PgmuxError(Exception):
    """Something failed; its text is complete and fit to be shown."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or doubtful, in a configuration."""

    file: str  # as the user named it, or "environment"
    line: int | None  # counted from 1; None where no line can be named
    key: str  # "workers", "databases.app.port"; "" when it is about the whole file
    message: str
    hint: str = ""  # what to do about it

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = [place, self.key, self.message] if self.key else [place, self.message]
        return ": ".join(parts) + (f" ({self.hint})" if self.hint else "")


class ConfigError(PgmuxError):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))
