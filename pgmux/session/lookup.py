"""A lookup: the question to PostgreSQL about a user that is logging in, and its answer (auth_query).

`Lookup` gives the messages of the question, for a connection of the role auth_user, and reads the replies.
The user's name is a stranger's: it travels as a parameter and is never part of a statement. Our own
statements qualify every name, so that no search_path makes them run what somebody else wrote.

PostgreSQL decides who may log in by more than a password; the default query honours LOGIN and VALID UNTIL. No
I/O here, and nothing is kept.

Manual: "pg_authid", "pg_auth_members"; PgBouncer's documentation: "auth_query".
"""

import hashlib
from collections.abc import Collection
from typing import Final, NamedTuple

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.extended import build_statements, parse_data_row
from pgmux.protocol.messages import Message, parse_error_fields
from pgmux.protocol.names import BACKEND
from pgmux.protocol.scram import ScramVerifier, format_verifier
from pgmux.session.secret import Md5Hash, Secret, parse_secret

DEFAULT_QUERY: Final = """\
SELECT rolname,
       CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END
FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin"""
_ROLES_QUERY: Final = """\
WITH RECURSIVE held (role) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1
    UNION
    SELECT roleid FROM pg_catalog.pg_auth_members JOIN held ON member OPERATOR(pg_catalog.=) role)
SELECT rolname FROM held JOIN pg_catalog.pg_roles ON oid OPERATOR(pg_catalog.=) role"""  # itself included
_NOT_IN_ITS_ENCODING: Final = "22021"  # no name there holds such bytes
_SECRET, _NO_SECRET = b"+", b"-"  # how a packed answer begins


class LookupFailed(Exception):  # noqa: N818 -- LookupError is Python's
    """PostgreSQL did not answer as it should; the text says what happened, for the log."""


class Answer(NamedTuple):
    """What PostgreSQL said."""

    secret: Secret | None  # None: no such user, one without a password, or one that may not log in
    roles: frozenset[str]  # of those asked about, the ones of which it is a member

    def pack(self) -> bytes | None:
        """Give it as bytes for shared memory; None for a password as it is, which must not lie there."""
        match self.secret:
            case None:
                head = _NO_SECRET
            case ScramVerifier():
                head = _SECRET + format_verifier(self.secret).encode()
            case Md5Hash(digest):
                head = _SECRET + b"md5" + digest
            case _:
                return None
        return b"\0".join([head, *(role.encode("utf-8", "surrogateescape") for role in sorted(self.roles))])


def unpack_answer(packed: bytes) -> Answer:
    """Give what was packed."""
    head, *roles = packed.split(b"\0")
    secret = parse_secret(head[1:].decode()) if head[:1] == _SECRET else None
    return Answer(secret, frozenset(role.decode("utf-8", "surrogateescape") for role in roles))


class Lookup:
    """One question. Send `question`, hand each reply to `hear` until it gives the answer."""

    __slots__ = ("_error", "_query", "_rows", "_statement", "_wanted", "database", "is_asked", "user")

    def __init__(self, database: str, user: str, query: str, wanted_roles: Collection[str]) -> None:
        """`database`: where it is asked, as clients name it. `query`: auth_query, or DEFAULT_QUERY."""
        self.database = database
        self.user = user
        self.is_asked = False  # by this process; the asker's to set
        self._query = query
        self._wanted = frozenset(wanted_roles)
        self._statement = 0  # of which replies come: the query, then the one about roles
        self._rows: list[list[list[bytes | None]]] = [[], []]
        self._error: dict[str, str] | None = None

    @property
    def key(self) -> bytes:
        """The question's digest: equal for equal questions."""
        parts = (self.database, self.user, self._query, *sorted(self._wanted))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).digest()

    def question(self) -> bytes:
        """Give the messages to be sent. Raises ValueError for an auth_query with a NUL inside."""
        statements = [self._query, *([_ROLES_QUERY] if self._wanted else [])]
        return build_statements(statements, [self.user.encode("utf-8", "surrogateescape")])

    def hear(self, message: Message) -> Answer | None:
        """Take one reply; the last one, ReadyForQuery, gives the answer.

        Raises LookupFailed with what PostgreSQL said, BackendProtocolError.
        """
        match BACKEND.get(message.kind):
            case "DataRow":
                if self._statement > 1:
                    raise BackendProtocolError("a row of a statement that was not asked for")
                self._rows[self._statement].append(parse_data_row(message.body))
            case "CommandComplete":
                self._statement += 1
            case "ErrorResponse":
                self._error = self._error or parse_error_fields(message.body)
            case "ReadyForQuery":
                return self._conclude()
            case _:
                pass
        return None

    def _conclude(self) -> Answer:
        if self._error is not None:
            sqlstate, text = (self._error.get(name, "") for name in ("sqlstate", "message"))
            if sqlstate == _NOT_IN_ITS_ENCODING:
                return Answer(None, frozenset())
            detail = self._error.get("detail")
            raise LookupFailed(f"{sqlstate}: {text}" + (f": {detail}" if detail else ""))
        held = frozenset(_text_of(row[0]) for row in self._rows[1] if row)
        return Answer(self._find_secret(), self._wanted & held)

    def _find_secret(self) -> Secret | None:
        rows = self._rows[0]
        if len(rows) > 1:
            raise LookupFailed(f"auth_query gave {len(rows)} rows, at most one is expected")
        if not rows:
            return None
        if len(rows[0]) != 2:
            raise LookupFailed(f"auth_query gave {len(rows[0])} columns, a user and its secret are expected")
        secret = _text_of(rows[0][1])
        try:
            return parse_secret(secret) if secret else None
        except ValueError as error:
            raise LookupFailed(f"auth_query gave a secret that is not usable: {error}") from None


def _text_of(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "surrogateescape")
