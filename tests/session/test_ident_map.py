"""Maps from the system's and certificates' names to users."""

from __future__ import annotations

import pytest

from pgmux.errors import ConfigError
from pgmux.session.ident_map import parse_ident_file

FILE = r"""
# map    name                     user
admins   root                     postgres
admins   alice                    postgres
admins   alice                    alice
staff    /^(.*)@example\.com$     \1
staff    /@example\.org$          guest
service  pgmux                    all
quoted   "/no expression"         "all"
"""


@pytest.mark.parametrize(
    ("name", "system", "user", "expected"),
    [
        ("admins", "root", "postgres", True),
        ("admins", "root", "alice", False),
        ("admins", "alice", "alice", True),
        ("admins", "Alice", "alice", False),
        ("admins", "", "postgres", False),
        ("staff", "bob@example.com", "bob", True),
        ("staff", "bob@example.com", "alice", False),
        ("staff", "bob@example.com.evil.net", "bob", False),
        ("staff", "bob@exampleXcom", "bob", False),
        ("staff", "bob@example.com\n", "bob", False),
        ("staff", "anybody@example.org", "guest", True),
        ("service", "pgmux", "whoever", True),
        ("service", "postgres", "whoever", False),
        ("quoted", "/no expression", "all", True),
        ("quoted", "/no expression", "whoever", False),
    ],
)
def test_a_map_says_who_may_be_whom(name: str, system: str, user: str, expected: bool) -> None:
    assert parse_ident_file(FILE, "pg_ident.conf")[name].allows(system, user) is expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b", "3 fields, this one 2"),
        ("a b c d", "3 fields, this one 4"),
        ("a b,c d", "no list"),
        ('a "" c', "no name is empty"),
        ("a b +c", "roles and regular expressions are not supported"),
        ("a b /c", "roles and regular expressions are not supported"),
        ("a /( c", "not valid"),
        ("a /[[:alpha:]] c", "Python reads otherwise"),
        (r"a /\mword c", "Python reads otherwise"),
        ("a /(?i)b c", "Python reads otherwise"),
        (r"a /b \1", "names a group"),
        (r"a b \1", "names a group"),
        ("include other.conf", "not supported"),
        ('a "b c', "not closed"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_ident_file(f"good root all\n{line}\n", "pg_ident.conf")
    [problem] = refused.value.problems
    assert (problem.file, problem.line, problem.key) == ("pg_ident.conf", 2, "auth_ident_file")
    assert message in problem.message
