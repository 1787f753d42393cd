"""Maps from names that others vouch for (the system's, a certificate's) to users: pg_ident.conf.

    # map    system or certificate   user
    admins   root                    postgres
    staff    /^(.*)@example\\.com$    \\1

A client may log in as a user if some line of its rule's map allows that name to be that user. Of regular
expressions the part is understood that PostgreSQL and Python read alike; the rest, and whatever else
PostgreSQL has and pgmux has not, is an error with its line.

Manual: "User Name Maps".
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pgmux.errors import ConfigError, Problem
from pgmux.session.fields import Field, read_lines

_EXAMPLE: Final = "write a map, a system's or certificate's name, and a user, separated by blanks"
_FIRST_GROUP: Final = r"\1"
# In PostgreSQL's regular expressions, but not in Python's or with another meaning: classes and collating
# elements, look-around and directives, escapes other than those of characters, nested quantifiers' variants.
_NOT_ALIKE: Final = re.compile(r"\[\[|\(\?|^\*\*\*|\\[^\W_dswDSW]|\\0|[*+?}][+*]")


class _Pair(NamedTuple):
    name: str | re.Pattern[str]  # the system's or certificate's
    user: str  # with \1 for what the first group matched
    is_any_user: bool


class IdentMap:
    """One map: who may be whom."""

    __slots__ = ("_pairs", "name")

    def __init__(self, name: str, pairs: list[_Pair]) -> None:
        self.name = name
        self._pairs = tuple(pairs)

    def allows(self, name: str, user: str) -> bool:
        """Tell whether somebody whom another calls `name` may log in as `user`."""
        # A line break at its end is the one thing that Python's $ sees otherwise than PostgreSQL's.
        return bool(name) and name.isprintable() and any(_fits(pair, name, user) for pair in self._pairs)


def parse_ident_file(text: str, file: str) -> Mapping[str, IdentMap]:
    """Give the maps by their names. `file` is the name to use in errors.

    Raises ConfigError with everything that is wrong.
    """
    pairs: defaultdict[str, list[_Pair]] = defaultdict(list)
    problems: list[Problem] = []
    for line in read_lines(text):
        try:
            if line.trouble:
                raise ValueError(line.trouble)
            name, pair = _parse_pair(line.fields)
            pairs[name].append(pair)
        except ValueError as error:
            problems.append(Problem(file, line.number, "auth_ident_file", str(error), _EXAMPLE))
    if problems:
        raise ConfigError(problems)
    return MappingProxyType({name: IdentMap(name, found) for name, found in pairs.items()})


def _parse_pair(fields: list[Field]) -> tuple[str, _Pair]:
    first = fields[0][0]
    if not first.is_quoted and first.text.startswith("include"):
        raise ValueError(f'"{first.text}" is not supported: write the lines into this file')
    if len(fields) != 3:
        raise ValueError(f"a line has 3 fields, this one {len(fields)}")
    if any(len(field) != 1 for field in fields):
        raise ValueError("a field holds one name, no list")
    (map_name,), (name,), (user,) = fields
    if not all(word.text for word in (map_name, name, user)):
        raise ValueError("no name is empty")
    if not user.is_quoted and user.text.startswith(("+", "/")):
        raise ValueError(f'"{user.text}": roles and regular expressions are not supported in place of a user')
    pattern = _parse_name(name.text, is_literal=name.is_quoted)
    if _FIRST_GROUP in user.text and (isinstance(pattern, str) or not pattern.groups):
        raise ValueError(rf'"{user.text}" names a group, and "{name.text}" has none')
    return map_name.text, _Pair(pattern, user.text, user.is_keyword("all"))


def _parse_name(text: str, *, is_literal: bool) -> str | re.Pattern[str]:
    if is_literal or not text.startswith("/"):
        return text
    expression = text[1:]
    if _NOT_ALIKE.search(expression):
        raise ValueError(f'the regular expression "{expression}" uses what Python reads otherwise')
    try:
        return re.compile(expression, re.ASCII)
    except re.error as error:
        raise ValueError(f'the regular expression "{expression}" is not valid: {error}') from None


def _fits(pair: _Pair, name: str, user: str) -> bool:
    if isinstance(pair.name, str):
        return pair.name == name and (pair.is_any_user or pair.user == user)
    match = pair.name.search(name)
    if match is None:
        return False
    return (
        pair.is_any_user or pair.user.replace(_FIRST_GROUP, match[1] or "" if match.re.groups else "") == user
    )
