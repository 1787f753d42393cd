"""The settings of a session: what it has beyond its pool's log-in, and how a backend is brought to them.

A client's settings are its start-up parameters and whatever its SETs have left. A backend's are those of
the session that used it last. Before a lease begins with a backend whose settings differ, `catch_up` says
what is to be run there: what the backend has too much is reset to the log-in's value, what the client has
is set. Settings are compared by their digest, so that equal ones cost one comparison.

Values are what `current_setting` tells, and they are set by `set_config`, which takes them as they are: a
list such as search_path's stays one. Names are in lower case, as PostgreSQL compares them without regard to
case. Text is UTF-8 with surrogateescape: bytes in any encoding pass through.

Manual: chapter "Server Configuration", section "Setting Parameters"; "SET", "RESET", `set_config`.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

# Who one is decides what one may set: these are given back before all others and taken last.
IDENTITY: Final = ("session_authorization", "role")

# With another value of these the same text may mean something else: they are part of a statement's id.
MEANING: Final = frozenset(
    {
        *IDENTITY,
        *("search_path", "client_encoding", "standard_conforming_strings", "backslash_quote"),
        *("datestyle", "intervalstyle", "timezone", "timezone_abbreviations", "array_nulls"),
        *("default_text_search_config", "lc_monetary", "lc_numeric", "lc_time", "xmlbinary", "xmloption"),
        *("transform_null_equals", "row_security", "default_with_oids", "operator_precedence_warning"),
    }
)


# Set by SET, which PostgreSQL need not plan; whose values are no lists, of which SET would make one word.
_PLAIN: Final = frozenset(
    {
        *("application_name", "timezone", "datestyle", "intervalstyle", "extra_float_digits", "bytea_output"),
        *("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_min_messages"),
        *("default_transaction_isolation", "default_transaction_read_only", "synchronous_commit", "work_mem"),
    }
)

# May be set in the transaction of the query that follows: none of them is decided when a transaction begins.
_RIDING: Final = _PLAIN - {"default_transaction_isolation", "default_transaction_read_only"} | {"search_path"}


class SessionSettings:
    """Settings, unchanging: equal ones are the same object within a process. Made by `settings_of`."""

    __slots__ = ("__weakref__", "digest", "is_proven", "meaning", "raw", "values")

    def __init__(self, values: Mapping[str, str], raw: bytes) -> None:
        self.values = values
        self.raw = raw  # name\0value\0…, by name: how they stand in shared memory
        self.digest = digest_of(raw)
        self.meaning = pack({name: value for name, value in values.items() if name in MEANING})
        # Whether PostgreSQL has taken them before, so that it need not be waited for again. Who a session
        # is may be taken away from it at any time.
        self.is_proven = not values

    def __repr__(self) -> str:
        return f"<SessionSettings {dict(self.values)}>"

    @property
    def names_an_identity(self) -> bool:
        """Whether they make the session somebody else than who has logged in."""
        return any(name in self.values for name in IDENTITY)

    def prove(self) -> None:
        """PostgreSQL has accepted them."""
        self.is_proven = not self.names_an_identity

    def changed(self, changes: Mapping[str, str | None]) -> "SessionSettings":
        """With some values changed, or, None, taken out."""
        values = {name: value for name, value in {**self.values, **changes}.items() if value is not None}
        return settings_of(values)


_KNOWN: Final[WeakValueDictionary[bytes, SessionSettings]] = WeakValueDictionary()


def settings_of(values: Mapping[str, str]) -> SessionSettings:
    """The settings with these values, names in lower case."""
    raw = pack(values)
    settings = _KNOWN.get(raw)
    if settings is None:
        settings = _KNOWN[raw] = SessionSettings(dict(sorted(values.items())), raw)
    return settings


def pack(values: Mapping[str, str]) -> bytes:
    """Settings as name\\0value\\0…, by name."""
    words = [word for name in sorted(values) for word in (name, values[name])]
    return "".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape")


def unpack(raw: bytes) -> dict[str, str]:
    """The inverse of `pack`."""
    words = raw.decode("utf-8", "surrogateescape").split("\0")
    return dict(zip(words[0::2], words[1::2], strict=False))


def digest_of(raw: bytes) -> int:
    """What packed settings are compared by; 0 = those of the log-in."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big") if raw else 0


BASE: Final = settings_of({})  # those of the log-in


@lru_cache(maxsize=1024)
def catch_up(have: bytes | None, want: bytes) -> tuple[bytes, ...]:
    """The texts to be run, each as one Query, on a backend that has settings for it to have others.

    Both packed; `have` None = nobody knows what the backend has.
    """
    groups = _catch_up(have, unpack(want))
    return tuple("; ".join(group).encode("utf-8", "surrogateescape") for group in groups)


class Ride(NamedTuple):
    """A catch-up that travels in the transaction of the query behind it, by a prepared statement; see `ride`."""

    size: int  # settings: which statement it is, see `carriage`
    values: bytes  # of a Bind, from the formats of its parameters on
    names: tuple[bytes, ...]  # of the settings
    have: bytes  # settings there were, packed: there are again when that transaction is undone
    have_digest: int


@lru_cache(maxsize=1024)
def ride(have: bytes, want: bytes) -> Ride | None:
    """The same as `catch_up` in one execution of a `carriage`. None = there are settings that cannot ride."""
    had, wanted = unpack(have), unpack(want)
    changes = {name: wanted.get(name) for name in had | wanted if had.get(name) != wanted.get(name)}
    if not changes or not changes.keys() <= _RIDING:
        return None
    words = [word for change in changes.items() for word in change]
    values = [b"\0\0", len(words).to_bytes(2, "big"), *map(_value, words), b"\0\0"]
    names = tuple(name.encode() for name in changes)
    return Ride(len(changes), b"".join(values), names, have, digest_of(have))


def _value(word: str | None) -> bytes:
    """A parameter's value in a Bind; NULL takes a setting back to that of the log-in."""
    if word is None:
        return b"\xff\xff\xff\xff"
    raw = word.encode("utf-8", "surrogateescape")
    return len(raw).to_bytes(4, "big") + raw


def carriage(size: int) -> bytes:
    """The statement that sets so many settings, by their names and values as parameters: a Parse's body from the
    text on."""
    calls = [f"pg_catalog.set_config(${2 * at + 1}, ${2 * at + 2}, false)" for at in range(size)]
    return b"SELECT " + ", ".join(calls).encode() + b"\0\0\0"


def _catch_up(have: bytes | None, want: dict[str, str]) -> Iterator[list[str]]:
    had = {} if have is None else unpack(have)
    surplus = had.keys() - want.keys()
    missing = {name: value for name, value in want.items() if had.get(name) != value}
    if have is None:
        yield ["RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"]
    elif any(had.get(name) != want.get(name) for name in IDENTITY):
        surplus -= set(IDENTITY)
        missing.update({name: want[name] for name in IDENTITY if name in want})
        yield ["RESET SESSION AUTHORIZATION", "RESET ROLE"]
    encoding = missing.pop("client_encoding", None)
    if encoding is not None:  # what follows is read in it
        yield [f"SET client_encoding TO {quote_literal(encoding)}"]
    undone = [f"RESET {quote_name(name)}" for name in sorted(surplus)]
    last = [name for name in IDENTITY if name in missing]
    undone += [f"SET {name} TO {quote_literal(missing[name])}" for name in sorted(missing) if name in _PLAIN]
    calls = [_set_config(name, missing[name]) for name in sorted(missing) if name not in {*last, *_PLAIN}]
    calls += [_set_config(name, missing[name]) for name in last]
    if calls:
        undone.append("SELECT " + ", ".join(calls))
    if undone:
        yield undone


def to_restore(startup: SessionSettings, names: Collection[str], every: bool) -> tuple[bytes, ...]:
    """The statements that set again what a start-up has set and a RESET has taken back: these names, or all."""
    values = {name: value for name, value in startup.values.items() if every or name in names}
    return tuple(
        statement.encode("utf-8", "surrogateescape")
        for group in _catch_up(b"", values)
        for statement in group
    )


def _set_config(name: str, value: str) -> str:
    return f"pg_catalog.set_config({quote_literal(name)}, {quote_literal(value)}, false)"


def quote_literal(value: str) -> str:
    """A text as SQL's constant, whatever standard_conforming_strings is."""
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def quote_name(name: str) -> str:
    """A setting's name as SQL's; the parts of a custom one are separated by dots."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
