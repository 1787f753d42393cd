"""A pgbouncer.ini as PgBouncer reads it, with the comments that it skips and the line of everything.

    ; a comment, also after #, on lines of its own only
    [section]
    key = value up to the end of the line
    "a quoted name" = value
    %include other.ini

The format has no continued lines and no comments behind a value. A file named by %include is read in
its place; a relative name is meant from PgBouncer's working directory, which nobody knows any more, so
it is sought there and beside the file that names it. PgBouncer's documentation: "Description" and
"Include directive".
"""

import os
import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pgmux.errors import ConfigError, Problem

DEEPEST_INCLUDE = 10  # PgBouncer's own limit

_SECTION = re.compile(r"\[([^\]]*)\]\s*")
_INCLUDE = re.compile(r"%include\s+(.+)")
_SETTING = re.compile(r'("(?:[^"]|"")*"|[A-Za-z0-9_.*-]+)[ \t]*=[ \t]*(.*)')


class Kind(Enum):
    """What a line is."""

    BLANK = "blank"
    COMMENT = "comment"
    SECTION = "section"
    SETTING = "setting"


class Line(NamedTuple):
    """One line of the file, or of a file that it includes."""

    file: str
    number: int  # from 1
    kind: Kind
    section: str  # the one that it stands in; "" before the first
    key: str  # of a setting, without quotes
    value: str  # of a setting; of a comment, all after its signs


def read_ini(path: str) -> list[Line]:
    """The lines of a pgbouncer.ini, those of included files in their place.

    Raises ConfigError with the first line that PgBouncer would stop at, or when a file cannot be read.
    """
    return list(_Reader().read(path, 0))


class _Reader:
    def __init__(self) -> None:
        self.section = ""

    def read(self, path: str, depth: int) -> Iterator[Line]:
        for number, text in enumerate(_read_text(path).split("\n"), start=1):
            text = text.strip()
            if include := _INCLUDE.fullmatch(text):
                place = Problem(path, number, "%include", f"more than {DEEPEST_INCLUDE} files deep")
                if depth >= DEEPEST_INCLUDE:
                    raise ConfigError([place])
                yield from self.read(_find_included(include[1], path), depth + 1)
            else:
                yield self._read_line(path, number, text)

    def _read_line(self, path: str, number: int, text: str) -> Line:
        if not text:
            return Line(path, number, Kind.BLANK, self.section, "", "")
        if text.startswith((";", "#")):
            return Line(path, number, Kind.COMMENT, self.section, "", text)
        if section := _SECTION.fullmatch(text):
            self.section = section[1]
            return Line(path, number, Kind.SECTION, self.section, "", "")
        setting = take_setting(text)
        if setting is None:
            message, hint = (
                "PgBouncer would stop reading here",
                "a line is a comment, [section] or key = value",
            )
            raise ConfigError([Problem(path, number, "", message, hint)])
        if not self.section:
            raise ConfigError([Problem(path, number, setting[0], "stands before the first [section]")])
        return Line(path, number, Kind.SETTING, self.section, *setting)


def take_setting(text: str) -> tuple[str, str] | None:
    """The key, without quotes, and the value of a text "key = value"; None when it is no such text."""
    match = _SETTING.fullmatch(text)
    if match is None:
        return None
    key, value = match.groups()
    return key[1:-1].replace('""', '"') if key.startswith('"') else key, value.rstrip()


def parse_connect_string(text: str) -> list[tuple[str, str]]:
    """The pairs of a connect string such as "host=h connect_query='SELECT 1'", in their order.

    A quote inside quotes is doubled. Raises ValueError where PgBouncer would refuse the text.
    """
    pairs, rest = [], text.lstrip()
    while rest:
        match = re.match(r"([^\s=]+)\s*=\s*(?:'((?:[^']|'')*)'|([^\s']\S*))(?:\s+|$)", rest)
        if match is None or match[2] == "":
            raise ValueError(f"no pair key=value begins at {rest[:30]!r}")
        pairs.append((match[1], match[3] if match[2] is None else match[2].replace("''", "'")))
        rest = rest[match.end() :]
    return pairs


def _find_included(name: str, path: str) -> str:
    beside = os.path.join(os.path.dirname(path), name)
    return beside if os.path.exists(beside) or not os.path.exists(name) else name


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError([Problem(path, None, "", f"cannot be read: {error.strerror}")]) from None
    if "\0" in text:
        raise ConfigError([Problem(path, None, "", "is no text file")])
    return text
