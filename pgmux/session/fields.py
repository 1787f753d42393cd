"""Lines and fields, as PostgreSQL's pg_hba.conf and pg_ident.conf have them.

Fields are separated by blanks, words of one field by commas; `#` begins a comment, a backslash at its end
joins a line with the next. In double quotes blanks, commas and `#` are ordinary, a quote is doubled, and a
word loses its meaning as a keyword. Stricter than PostgreSQL in one thing: a quote must be closed.

Manual: "The pg_hba.conf File", "User Name Maps".
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_BLANKS: Final = " \t\r"


class Word(NamedTuple):
    """One word of a field."""

    text: str
    is_quoted: bool = False  # then it is a name, whatever it looks like

    def is_keyword(self, keyword: str) -> bool:
        """Whether this is the keyword, and not a name that is spelt alike."""
        return self.text == keyword and not self.is_quoted


Field = list[Word]  # never empty


class Line(NamedTuple):
    """One line that says something; `trouble` says why its fields cannot be told apart, else it is empty."""

    number: int  # counted from 1; of the first, where several are joined
    fields: list[Field]
    trouble: str = ""


def read_lines(text: str) -> Iterator[Line]:
    """Give the lines of a file that are neither empty nor comments."""
    number, start, joined = 0, 1, ""
    for number, part in enumerate(text.split("\n"), start=1):
        start = start if joined else number
        joined += part.removesuffix("\r")
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        line, joined = joined, ""
        yield from _read_line(start, line)
    if joined:
        yield from _read_line(start, joined)


def _read_line(number: int, text: str) -> Iterator[Line]:
    try:
        fields = list(_read_fields(text))
    except ValueError as error:
        yield Line(number, [], str(error))
        return
    if fields:
        yield Line(number, fields)


def _read_fields(text: str) -> Iterator[Field]:
    """Raises ValueError for a quote that is not closed, and for a comma that separates nothing."""
    field: Field = []
    is_open = False  # a comma came last: the field goes on, also beyond blanks
    position = 0
    while position < len(text):
        character = text[position]
        if character in _BLANKS:
            position += 1
            continue
        if character == "#":
            break
        if field and not is_open:
            yield field
            field = []
        word, position, is_open = _read_word(text, position)
        field.append(word)
    if is_open:
        raise ValueError("a comma is followed by nothing")
    if field:
        yield field


def _read_word(text: str, position: int) -> tuple[Word, int, bool]:
    """Give the word that begins here, where it ends, and whether a comma ended it."""
    begins_quoted = text[position] == '"'
    letters: list[str] = []
    in_quotes = False
    while position < len(text):
        character = text[position]
        if character == '"':
            if in_quotes and text.startswith('""', position):
                letters.append(character)
                position += 1
            else:
                in_quotes = not in_quotes
        elif not in_quotes and (character in _BLANKS or character in ",#"):
            break
        else:
            letters.append(character)
        position += 1
    if in_quotes:
        raise ValueError("a double quote is not closed on its line")
    has_comma = text.startswith(",", position)
    if not letters and not begins_quoted:
        raise ValueError("a comma has no word before it")
    return Word("".join(letters), begins_quoted), position + has_comma, has_comma
