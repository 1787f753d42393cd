"""The pgmux.toml under construction: its lines, where each comes from, and pgmux's own judgement of it.

A line of the text is an Entry, so a problem that `pgmux check` finds on a line leads back to the option
of PgBouncer's that it was made from. `Draft.mend` takes such lines out, with the reason beside them, until
pgmux accepts the rest.
"""

import os
import re
from dataclasses import dataclass, field

from pgmux.config import Config, read_config
from pgmux.config.sample import as_toml
from pgmux.errors import ConfigError, Problem
from pgmux.pgbouncer.ini import Line
from pgmux.pgbouncer.options import Fate

_NOT_IN_A_COMMENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # TOML 1.0, "Comment"
ESSENTIAL = frozenset({"dbname", "host", "password", "port", "user"})  # without one, it is another database
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Entry:
    """One line of the text."""

    text: str
    origin: Line | None = None  # what it was made from
    key: str = ""  # of PgBouncer's option; "" for comments, headers and blank lines
    guards: bool = False  # see options.Row
    table: str = ""  # the header it stands below
    is_prose: bool = False  # a comment of the ini's author


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said about one line of the pgbouncer.ini."""

    origin: Line
    key: str
    fate: Fate
    why: str

    def __str__(self) -> str:
        return f"{self.origin.file}:{self.origin.number}: {self.key}: {self.fate.value}: {self.why}"


@dataclass(slots=True)
class Draft:
    """The text, and what was said while it was made."""

    entries: list[Entry] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # about no single line
    problems: list[Problem] = field(default_factory=list)  # for which pgmux would still refuse the text
    warnings: tuple[Problem, ...] = ()  # of pgmux about the text
    _table: str = ""

    @property
    def carried(self) -> int:
        """How many options go on."""
        return sum(bool(entry.origin and entry.origin.key and entry.key) for entry in self.entries)

    # --- writing

    def add_header(self, *names: str, origin: Line | None = None) -> None:
        """Begin a table such as [databases.app]; the author's comment right before it is about it."""
        self.add_space()
        self._table = f"[{'.'.join(map(quote_key, names))}]"
        self.entries.append(Entry(self._table, origin, "", table=self._table))

    def add_blank(self) -> None:
        """A blank line, unless there is one already."""
        if self.entries and self.entries[-1].text:
            self.entries.append(Entry("", table=self._table))

    def add_space(self) -> None:
        """A blank line, but between the author's comment and what it is about."""
        if self.entries and not self.entries[-1].is_prose:
            self.add_blank()

    def add_comment(self, text: str, *, is_prose: bool = False) -> None:
        """A comment; `text` without its sign."""
        self.entries.append(Entry(as_comment(text), table=self._table, is_prose=is_prose))

    def add_value(self, name: str, value: object, origin: Line, key: str, *, guards: bool = False) -> None:
        """An option of pgmux, made from PgBouncer's `key` on the line `origin`."""
        text = f"{name} = {as_toml(value)}"
        self.entries.append(Entry(text, origin, key, guards, self._table))

    def add_unwritten(
        self, name: str, value: object, why: str, origin: Line, *, guards: bool = False
    ) -> None:
        """An option that stands on no line of the section at `origin`, and why it is written down."""
        text = f"{name} = {as_toml(value)}  # {why}"
        self.entries.append(Entry(text, origin, name, guards, self._table))

    def leave_out(self, origin: Line, key: str, shown: str, fate: Fate, why: str) -> None:
        """Say of an option that it is not in force, in the report and in a comment."""
        self.remarks.append(Remark(origin, key, fate, why))
        self.add_comment(f"{shown} ({fate.value}: {why})")

    def text(self) -> str:
        """The whole of it."""
        return "\n".join(entry.text for entry in self.entries).rstrip("\n") + "\n"

    # --- judging

    def mend(self, path: str) -> None:
        """Take out what pgmux refuses; what remains refused stands in `problems` then.

        What guards a door, and a file that is only not there, stays in: that is for a person to decide.
        """
        for _ in self.entries:  # each round takes a line out, or is the last one
            try:
                config = read_config(self.text(), {}, name=path)
            except ConfigError as error:
                self.problems = error.problems
                taken_out = [
                    self._take_out(problem) for problem in error.problems
                ]  # all, not the first alone
                if not any(taken_out):
                    return
            else:
                self.problems, self.warnings = [], _worth_saying(config)
                return

    def _take_out(self, problem: Problem) -> bool:
        """Whether the line of a problem could be made a comment, or its table be made one."""
        entry = self.entries[problem.line - 1] if problem.line else None
        if entry is None or entry.origin is None or entry.guards or _is_missing_file(problem):
            return False
        reason = problem.message + (f"; {problem.hint}" if problem.hint else "")
        self.remarks.append(Remark(entry.origin, entry.key or entry.text, Fate.NOT_CARRIED, reason))
        of_table = [each for each in self.entries if each.table == entry.table]
        whole = not entry.key or problem.key.rsplit(".", 1)[-1] in ESSENTIAL
        for each in of_table if whole else [entry]:
            remark = f" ({Fate.NOT_CARRIED.value}: {reason})" if each is entry else ""
            each.text = as_comment(each.text + remark) if each.text else ""
            each.origin = None
        return True


def quote_key(name: str) -> str:
    """A TOML key, in quotes where it needs them."""
    return name if _BARE_KEY.fullmatch(name) else as_toml(name)


def as_comment(text: str) -> str:
    """A line of a comment that TOML accepts, whatever the text holds."""
    plain = _NOT_IN_A_COMMENT.sub(" ", text.encode("utf-8", "replace").decode()).rstrip()
    return f"#{plain}" if plain.startswith((" ", "\t")) or not plain else f"# {plain}"


def _is_missing_file(problem: Problem) -> bool:
    return problem.key.endswith("_file") and "cannot be read" in problem.message


def _worth_saying(config: Config) -> tuple[Problem, ...]:
    """pgmux's warnings, less those about a directory that need not exist on this machine."""
    return tuple(warning for warning in config.warnings if not warning.key.endswith("_dir"))


def absolute(path: str, origin: Line) -> str:
    """A path of the ini as one that does not depend on a working directory: from the ini's own folder."""
    return os.path.join(os.path.dirname(os.path.abspath(origin.file)), os.path.expanduser(path))
