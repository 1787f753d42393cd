"""A closer look at a statement's text, where its traces say that one is needed.

`study` says what the text touches of its session: which settings, which names of statements and where
they stand in it, which channels it gives up; and what it is when it is nothing but one short command that
pgmux can answer itself. It knows words, not grammar: where it cannot tell, it says "any".

Texts repeat, so studies are kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from pgmux.session.traces import Trace

_TOKEN: Final = re.compile(
    rb"""(?P<space>\s+|--[^\n]*)
    |(?P<comment>/\*)
    |(?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    |(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    |(?P<other>\d[\w.]*|.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(rb"/\*|\*/")
_CHARACTERISTICS: Final = frozenset(
    {
        "default_transaction_isolation",
        "default_transaction_read_only",
        "default_transaction_deferrable",
    }
)
_BEGIN_WORDS: Final = frozenset(
    {b"work", b"transaction", b"isolation", b"level", b"serializable", b"repeatable", b"read", b"committed"}
    | {b"uncommitted", b"only", b"not", b"deferrable", b","}
)
_BEFORE_TEMP: Final = frozenset({b"create", b"replace", b"into", b"local", b"global"})
# What the first look only suspects: it stands when the closer look finds it too.
_CONFIRMED: Final = int(
    Trace.SETTINGS
    | Trace.LISTENING
    | Trace.TEMPORARY
    | Trace.HOLDING
    | Trace.NAMES
    | Trace.UNSEEN
    | Trace.EMPTYING
)


_ANYTHING: Final = int(
    Trace.UNSEEN | Trace.SETTINGS | Trace.LISTENING | Trace.TEMPORARY | Trace.HOLDING | Trace.LOCKING
)


class Lone(Enum):
    """A text that is one command alone, which pgmux may answer itself."""

    BEGIN = "BEGIN"
    START = "START TRANSACTION"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    DISCARD_ALL = "DISCARD ALL"
    DEALLOCATE_ALL = "DEALLOCATE ALL"
    RESET_ALL = "RESET"
    UNLISTEN_ALL = "UNLISTEN"


class Verb(Enum):
    """What a text does with the name of a statement."""

    PREPARE = "prepare"
    EXECUTE = "execute"
    DEALLOCATE = "deallocate"


class Mention(NamedTuple):
    """The name of a statement in a text."""

    verb: Verb
    start: int  # of the name in the text, bytes
    end: int
    name: bytes  # as PostgreSQL has it
    definition: bytes  # of PREPARE: what follows the name
    place: int = 0  # of the statement in the text


@dataclass(frozen=True, slots=True)
class Study:
    """What a text touches of its session."""

    traces: int  # bits of Trace; some suspicions of the first look have been dropped
    sets: frozenset[str] = frozenset()  # settings, names in lower case
    resets: frozenset[str] = frozenset()  # settings that go back to what they were at the session's start
    sets_any: bool = False  # it cannot be told which
    resets_all: bool = False
    listens: bool = False
    unlistens: tuple[bytes, ...] | None = ()  # channels given up, None = all
    mentions: tuple[Mention, ...] = ()  # by place
    forgets_at: int = -1  # place of the statement that is DEALLOCATE ALL or DISCARD ALL
    empties: str | None = None  # the database that nobody may be connected to
    lone: Lone | None = None


class _Token(NamedTuple):
    kind: str
    start: int
    end: int
    text: bytes  # words in lower case


@lru_cache(maxsize=2048)
def study(text: bytes, traces: int) -> Study:
    """What the text touches, of which a first look has found `traces`."""
    statements = list(_statements(text))
    parts = [_study_statement(text, tokens) for tokens in statements]
    lone = _lone(statements[0]) if len(statements) == 1 else None
    return _together(parts, traces, lone)


def _together(parts: list[Study], traces: int, lone: Lone | None) -> Study:
    confirmed = 0
    if traces & Trace.LEARNT:
        parts = [*parts, Study(_ANYTHING, sets_any=True, listens=True)]
    for part in parts:
        confirmed |= part.traces
    unlistens: tuple[bytes, ...] | None = ()
    for part in parts:
        unlistens = None if unlistens is None or part.unlistens is None else unlistens + part.unlistens
    return Study(
        traces & ~_CONFIRMED | confirmed,
        sets=frozenset().union(*(part.sets for part in parts)),
        resets=frozenset().union(*(part.resets for part in parts)),
        sets_any=any(part.sets_any for part in parts),
        resets_all=any(part.resets_all for part in parts),
        listens=any(part.listens for part in parts),
        unlistens=unlistens,
        mentions=tuple(
            mention._replace(place=place) for place, part in enumerate(parts) for mention in part.mentions
        ),
        forgets_at=next((place for place, part in enumerate(parts) if part.forgets_at >= 0), -1),
        empties=next((part.empties for part in parts if part.empties), None),
        lone=lone,
    )


def _tokens(text: bytes) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return
        kind, end = match.lastgroup or "", match.end()
        if kind == "comment":
            at = _comment_end(text, at)
            continue
        if kind == "dollar":
            found = text.find(match[0], end)
            end = len(text) if found < 0 else found + len(match[0])
        if kind != "space":
            token = text[at:end]
            yield _Token(kind, at, end, token.lower() if kind == "word" else token)
        at = end


def _comment_end(text: bytes, at: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _statements(text: bytes) -> Iterator[list[_Token]]:
    tokens: list[_Token] = []
    for token in _tokens(text):
        if token.text == b";":
            if tokens:
                yield tokens
            tokens = []
        else:
            tokens.append(token)
    if tokens:
        yield tokens


def _study_statement(text: bytes, tokens: list[_Token]) -> Study:
    words = [token.text for token in tokens]
    match words[0]:
        case b"set":
            return _study_set(tokens, words)
        case b"reset" if words[1:] == [b"all"]:
            return Study(Trace.SETTINGS, resets_all=True)
        case b"reset":
            return _resetting(_setting_named(tokens, words, 1))
        case b"discard" if words[1:] == [b"all"]:
            everything = Trace.SETTINGS | Trace.LISTENING
            return Study(everything, resets_all=True, unlistens=None, forgets_at=0)
        case b"listen":
            return Study(Trace.LISTENING, listens=True)
        case b"unlisten":
            return Study(Trace.LISTENING, unlistens=None if words[1:] == [b"*"] else (_name(tokens[-1]),))
        case b"deallocate" if words[1:] in ([b"all"], [b"prepare", b"all"]):
            return Study(Trace.NAMES, forgets_at=0)
        case b"drop" | b"alter" if words[1:2] == [b"database"] and len(words) > 2:
            return _study_database(tokens, words)
        case b"create" if words[1:2] == [b"database"] and b"template" in words:
            after = [token for token in tokens[words.index(b"template") + 1 :] if token.text != b"="]
            return _emptying(after[0]) if after else Study(0)
        case b"do" | b"call":
            return Study(_ANYTHING, sets_any=True, listens=True)
    return _study_any(text, tokens, words)


def _study_database(tokens: list[_Token], words: list[bytes]) -> Study:
    """DROP DATABASE [IF EXISTS] name, or ALTER DATABASE name RENAME or SET TABLESPACE."""
    at = 4 if words[2:4] == [b"if", b"exists"] else 2
    if at >= len(words) or (
        words[0] == b"alter" and words[3:4] != [b"rename"] and words[3:5] != [b"set", b"tablespace"]
    ):
        return Study(0)
    return _emptying(tokens[at])


def _emptying(name: _Token) -> Study:
    return Study(Trace.EMPTYING, empties=_name(name).decode("utf-8", "surrogateescape"))


def _study_any(text: bytes, tokens: list[_Token], words: list[bytes]) -> Study:
    """A statement whose first word says nothing: what it names counts."""
    traces = 0
    names: frozenset[str] = frozenset()
    is_any = False
    for at, token in enumerate(tokens):
        word = token.text.strip(b'"').lower()
        before = words[at - 1] if at else b""
        if word == b"set_config":
            named = _configured(tokens, at + 1)
            is_any = is_any or named is None
            names |= named or frozenset()
        elif (word in (b"temp", b"temporary") and before in _BEFORE_TEMP) or word == b"pg_temp":
            traces |= Trace.TEMPORARY
        elif word == b"hold" and before == b"with":
            traces |= Trace.HOLDING
    mentions = tuple(_mentions(text, tokens, words))
    traces |= Trace.NAMES if mentions else 0
    traces |= Trace.SETTINGS if names or is_any else 0
    return Study(traces, sets=names, sets_any=is_any, mentions=mentions)


def _configured(tokens: list[_Token], at: int) -> frozenset[str] | None:
    """The setting that a call of set_config names, whose arguments begin at `at`; none for a local one."""
    arguments = tokens[at : at + 7]
    is_plain = [token.text for token in arguments][0:7:2] == [b"(", b",", b",", b")"]
    if is_plain and arguments[1].kind == "string" and arguments[1].text[:1] == b"'":
        name = arguments[1].text[1:-1].replace(b"''", b"'").decode("utf-8", "surrogateescape").lower()
        return frozenset() if arguments[5].text.lower() in (b"true", b"'t'", b"'true'") else frozenset({name})
    return None


def _study_set(tokens: list[_Token], words: list[bytes]) -> Study:
    at = 1
    if words[1:2] == [b"local"]:
        return Study(0)
    if words[1:3] == [b"session", b"characteristics"]:
        return Study(Trace.SETTINGS, sets=_CHARACTERISTICS)
    if words[1:2] == [b"session"] and words[2:3] != [b"authorization"]:
        at = 2
    if words[at : at + 1] in ([b"transaction"], [b"constraints"], [b"seed"]):
        return Study(0)
    names = _setting_named(tokens, words, at)
    if words[-1] == b"default":
        return _resetting(names)
    return Study(Trace.SETTINGS, sets=names) if names else Study(0)


def _resetting(names: frozenset[str]) -> Study:
    return Study(Trace.SETTINGS, resets=names) if names else Study(0)


def _setting_named(tokens: list[_Token], words: list[bytes], at: int) -> frozenset[str]:
    """The settings that SET or RESET means by the words from `at` on."""
    match words[at : at + 2]:
        case [b"time", b"zone"]:
            return frozenset({"timezone"})
        case [b"session", b"authorization"]:
            return frozenset({"session_authorization", "role"})
        case [b"transaction", *_]:
            return frozenset()
        case [b"names", *_]:
            return frozenset({"client_encoding"})
        case [b"schema", *_]:
            return frozenset({"search_path"})
        case [b"xml", *_]:
            return frozenset({"xmloption"})
    parts = []
    for place in range(at, len(tokens), 2):
        parts.append(_name(tokens[place]).decode("utf-8", "surrogateescape").lower())
        if words[place + 1 : place + 2] != [b"."]:
            break
    return frozenset({".".join(parts)}) if parts else frozenset()


def _mentions(text: bytes, tokens: list[_Token], words: list[bytes]) -> Iterator[Mention]:
    """The names of statements in one statement."""
    first, last = words[0], tokens[-1].end
    if first == b"prepare" and len(tokens) > 2 and words[1] != b"transaction":
        name = tokens[1]
        yield Mention(Verb.PREPARE, name.start, name.end, _name(name), text[name.end : last])
    elif first == b"deallocate" and len(tokens) > 1:
        name = tokens[-1]
        yield Mention(Verb.DEALLOCATE, name.start, name.end, _name(name), b"")
    else:
        for at, word in enumerate(words[:-1]):
            may_be = at == 0 or words[at - 1] in (b"as", b"explain", b"analyze", b"verbose", b")")
            if word == b"execute" and may_be and tokens[at + 1].kind in ("word", "quoted"):
                name = tokens[at + 1]
                if name.text not in (b"function", b"procedure"):
                    yield Mention(Verb.EXECUTE, name.start, name.end, _name(name), b"")
                return


def _name(token: _Token) -> bytes:
    """A name as PostgreSQL has it: in lower case unless quoted, cut at 63 bytes."""
    name = token.text[1:-1].replace(b'""', b'"') if token.kind == "quoted" else token.text
    return name[:63]


def _lone(tokens: list[_Token]) -> Lone | None:
    words = [token.text for token in tokens]
    match words:
        case [b"begin", *modes] if _BEGIN_WORDS.issuperset(modes):
            return Lone.BEGIN
        case [b"start", b"transaction", *modes] if _BEGIN_WORDS.issuperset(modes):
            return Lone.START
        case [b"commit" | b"end"] | [b"commit" | b"end", b"work" | b"transaction"]:
            return Lone.COMMIT
        case [b"rollback" | b"abort"] | [b"rollback" | b"abort", b"work" | b"transaction"]:
            return Lone.ROLLBACK
        case [b"discard", b"all"]:
            return Lone.DISCARD_ALL
        case [b"deallocate", b"all"] | [b"deallocate", b"prepare", b"all"]:
            return Lone.DEALLOCATE_ALL
        case [b"reset", b"all"]:
            return Lone.RESET_ALL
        case [b"unlisten", b"*"]:
            return Lone.UNLISTEN_ALL
    return None
