"""The file of users and secrets, in the format of PgBouncer's userlist.txt.

    ; a comment, also after #
    "alice" "SCRAM-SHA-256$4096:...$...:..."  what follows on the line is ignored
    "bob"   "md5..."
    "eve"   "plain, with a "" in it"

One user per line, name and secret in double quotes, a quote inside doubled. Stricter than PgBouncer, which
stops reading in silence where it does not understand: all that is wrong is reported, with its line. Only
parsed here; whoever starts pgmux reads the file.

PgBouncer's documentation: "Authentication file format".
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pgmux.errors import ConfigError, Problem
from pgmux.session.secret import Secret, parse_secret

_COMMENT: Final = (";", "#")
_EXAMPLE: Final = 'write "user" "secret", a quote inside doubled'


def parse_auth_file(text: str, file: str) -> Mapping[str, Secret]:
    """Give the secret of each user; the result cannot be changed. `file` is the name to use in errors.

    Raises ConfigError with everything that is wrong; no secret is shown in it.
    """
    secrets: dict[str, Secret] = {}
    first_seen: dict[str, int] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith(_COMMENT):
            continue
        try:
            user, secret = _parse_line(line)
            if user in first_seen:
                raise ValueError(f'user "{user}" was already given on line {first_seen[user]}')
        except ValueError as error:
            problems.append(Problem(file, number, "auth_file", str(error), _EXAMPLE))
            continue
        first_seen[user] = number
        secrets[user] = secret
    if problems:
        raise ConfigError(problems)
    return MappingProxyType(secrets)


def _parse_line(line: str) -> tuple[str, Secret]:
    user, rest = _take_quoted(line, "user name")
    if not user:
        raise ValueError("the user name is empty")
    text, _ = _take_quoted(rest, f'secret of "{user}"')
    if "\0" in user or "\0" in text:
        raise ValueError("a NUL byte cannot be part of a name or secret")
    try:
        return user, parse_secret(text)
    except ValueError as error:
        raise ValueError(f'the secret of "{user}" is not usable: {error}') from None


def _take_quoted(text: str, name: str) -> tuple[str, str]:
    """Give the value in quotes at the beginning of the text, and what follows it."""
    text = text.lstrip()
    if not text.startswith('"'):
        raise ValueError(f"the {name} is not in double quotes")
    parts = []
    position = 1
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ValueError(f"the quote that opens the {name} is not closed on its line")
        parts.append(text[position:end])
        if not text.startswith('""', end):
            return '"'.join(parts), text[end + 1 :]
        position = end + 2
