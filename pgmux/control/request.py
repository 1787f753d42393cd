"""What is asked of pgmux: a command and its arguments, from a text or from words.

The console gives a text, as people write it in psql; the control socket gives words, which need no quotes.
Both become a Request. A text may hold several statements with semicolons between them, comments, names in
double quotes and values in single ones.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | '(?P<string>(?:[^']|'')*)'
      | "(?P<name>(?:[^"]|"")*)"
      | (?P<symbol>[;=,])
      | (?P<word>[^\s;,='"]+)""",
    re.VERBOSE | re.DOTALL,
)


class Request(NamedTuple):
    """One command."""

    word: str  # in upper case, with underscores: SHOW, KILL_CLIENT; "" = an empty statement
    arguments: tuple[str, ...]  # as they were written, quotes undone


class RequestError(Exception):
    """What was asked cannot be understood or done; its text is for who asked, and so is `hint`."""

    def __init__(self, sqlstate: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.hint = hint


def parse_words(words: Sequence[str]) -> Request:
    """The request that words make; the first may be in any case and have hyphens."""
    if not words:
        return Request("", ())
    return Request(words[0].upper().replace("-", "_"), tuple(words[1:]))


def parse_text(text: str) -> list[Request]:
    """The requests of a text, one a statement; an empty text is one empty request.

    Raises RequestError for a quote that is not closed.
    """
    requests = [_parse_statement(tokens) for tokens in _split(text)]
    return [request for request in requests if request.word] or [Request("", ())]


def _split(text: str) -> Iterator[list[tuple[str, str]]]:
    """The tokens, (kind, value), of each statement."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise RequestError("42601", f"a quote is not closed: {text[at : at + 30]}")
        at = match.end()
        kind, value = match.lastgroup or "space", match[match.lastgroup or "space"]
        if kind == "symbol" and value == ";":
            yield tokens
            tokens = []
        elif kind != "space":
            tokens.append((kind, value))
    yield tokens


def _parse_statement(tokens: list[tuple[str, str]]) -> Request:
    if not tokens:
        return Request("", ())
    request = parse_words([_unquote(*token) for token in tokens])
    if request.word == "SET":
        return Request("SET", _parse_setting(tokens[1:]))
    if request.word == "SELECT":  # as on PgBouncer's console
        return request._replace(word="SHOW")
    return request


def _parse_setting(tokens: list[tuple[str, str]]) -> tuple[str, ...]:
    """Key and value of `SET key = value`, also with TO or nothing between them; a list has commas."""
    if tokens and tokens[0] == ("word", tokens[0][1]) and tokens[0][1].upper() in ("SESSION", "LOCAL"):
        tokens = tokens[1:]
    if not tokens:
        return ()
    key, rest = _unquote(*tokens[0]), tokens[1:]
    if rest and (rest[0] == ("symbol", "=") or (rest[0][0] == "word" and rest[0][1].upper() == "TO")):
        rest = rest[1:]
    elif not rest:
        return (key,)
    return key, " ".join(_unquote(*token) for token in rest).replace(" , ", ",")


def _unquote(kind: str, value: str) -> str:
    quote = {"string": "'", "name": '"'}.get(kind)
    return value if quote is None else value.replace(quote * 2, quote)
