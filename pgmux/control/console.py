"""The console: PostgreSQL's protocol in front of the clerk, for psql, drivers and agents.

Theory of operation. A `Console` is fed what a client sends after its log-in, and gives what is to be sent
back, piece by piece: to go on for the next piece may take as long as a command does. It speaks the simple
protocol and the extended one, results in text or binary form, with row limits; a Query may hold several
statements.

An error in the extended protocol has all up to the next Sync skipped. What drivers say to any PostgreSQL, and
would mean nothing here, is answered by pretence.py.

No I/O here. Manual: chapter "Frontend/Backend Protocol", section "Message Flow".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pgmux import __version__
from pgmux.control.answers import Columns, Done, Notice, Reply, Rows
from pgmux.control.clerk import Asker, Clerk, find_show
from pgmux.control.pgbouncer import VERSION
from pgmux.control.pretence import is_pretended, pretend
from pgmux.control.request import Request, RequestError, parse_text
from pgmux.protocol import messages, requests, results
from pgmux.protocol.errors import ClientProtocolError
from pgmux.protocol.names import FRONTEND
from pgmux.protocol.results import Type, Value

MAX_MESSAGE_BYTES: Final = 65_536
PARAMETERS: Final[Mapping[str, str]] = {  # what a client is greeted with, besides the version
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "integer_datetimes": "on",
    "IntervalStyle": "postgres",
    "is_superuser": "off",
    "server_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "TimeZone": "GMT",
    "application_name": "",
}


def greeting_parameters(database: str) -> dict[str, str]:
    """The ParameterStatus of the console under that name: who asks for PgBouncer's finds PgBouncer's."""
    is_alias = database == "pgbouncer"
    return {"server_version": f"{VERSION}/bouncer" if is_alias else f"{__version__}/pgmux", **PARAMETERS}


@dataclass(slots=True)
class _Portal:
    """A bound statement: what it answers, as far as that has been told."""

    request: Request
    formats: tuple[int, ...]
    replies: Iterator[Reply] | None = None  # once it runs
    kinds: list[Type] = field(default_factory=list)
    pending: list[tuple[Value, ...]] = field(default_factory=list)  # rows of a slice that a limit has cut


class Console:
    """One client's console. Feed it, send what it gives, until `is_over`."""

    def __init__(self, clerk: Clerk, asker: Asker) -> None:
        self.is_over = False  # the client has said goodbye, or what it says cannot be understood
        self._clerk = clerk
        self._asker = asker
        self._buffer = bytearray()
        self._statements: dict[str, Request] = {}
        self._portals: dict[str, _Portal] = {}
        self._is_skipping = False  # to the next Sync
        self._status = b"I"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes from the client; give what is to be sent, piece by piece. **May switch.**"""
        self._buffer += data
        while not self.is_over:
            try:
                message = messages.take_message(self._buffer, MAX_MESSAGE_BYTES, ClientProtocolError)
                if message is None:
                    return
                yield from self._read(message)
            except ClientProtocolError as error:
                self.is_over = True
                yield messages.build_error_response("FATAL", "08P01", str(error))

    def _read(self, message: messages.Message) -> Iterator[bytes]:
        name = FRONTEND.get(message.kind, "")
        if self._is_skipping and name not in ("Sync", "Terminate"):
            return
        reader = _READERS.get(name)
        if reader is None:
            raise ClientProtocolError(f"the console has no use for message type {message.kind!r}")
        try:
            yield from reader(self, message.body)
        except RequestError as error:
            yield messages.build_error_response("ERROR", error.sqlstate, str(error), None, error.hint)
            if name == "Query":
                yield messages.build_ready_for_query(self._status)
            else:
                self._is_skipping = True

    # --- the simple protocol

    def _query(self, body: bytes) -> Iterator[bytes]:
        for request in parse_text(requests.parse_query(body)):
            if not request.word:
                yield results.build_empty_query_response()
                continue
            kinds: list[Type] = []
            for reply in self._answer(request):
                if isinstance(reply, Columns):
                    kinds = [column.kind() for column in reply.columns]
                    yield _describe(reply, (0,) * len(kinds))
                elif isinstance(reply, Rows):
                    formats = (0,) * len(kinds)
                    yield b"".join(results.build_data_row(row, kinds, formats) for row in reply.rows)
                else:
                    yield _tell(reply)
        yield messages.build_ready_for_query(self._status)

    def _answer(self, request: Request) -> Iterator[Reply]:
        if is_pretended(request):
            reply, self._status = pretend(request, self._status)
            return iter(reply)
        return self._clerk.answer(request, self._asker)

    # --- the extended protocol

    def _parse(self, body: bytes) -> Iterator[bytes]:
        asked = requests.parse_parse(body)
        statements = parse_text(asked.sql)
        if len(statements) > 1:
            raise RequestError("42601", "cannot insert multiple commands into a prepared statement")
        if asked.name and asked.name in self._statements:
            raise RequestError("42P05", f'prepared statement "{asked.name}" already exists')
        if statements[0].word == "SHOW" and not is_pretended(statements[0]):
            find_show(statements[0])  # what cannot be shown is an error now, as in PostgreSQL
        self._statements[asked.name] = statements[0]
        yield results.build_parse_complete()

    def _bind(self, body: bytes) -> Iterator[bytes]:
        asked = requests.parse_bind(body)
        request = self._statement(asked.statement)
        if asked.values:
            raise RequestError("08P01", f"{len(asked.values)} parameters for a command that takes none")
        self._portals[asked.portal] = _Portal(request, asked.result_formats)
        yield results.build_bind_complete()

    def _describe(self, body: bytes) -> Iterator[bytes]:
        asked = requests.parse_target(body)
        if asked.kind == requests.STATEMENT:
            portal = _Portal(self._statement(asked.name), ())
            yield results.build_parameter_description(())
        else:
            portal = self._portal(asked.name)
        columns = _columns_of(portal.request)
        if columns is None:
            yield results.build_no_data()
        else:
            yield _describe(columns, _spread(portal.formats, len(columns.columns)))

    def _execute(self, body: bytes) -> Iterator[bytes]:
        asked = requests.parse_execute(body)
        portal = self._portal(asked.portal)
        if not portal.request.word:
            yield results.build_empty_query_response()
            return
        if portal.replies is None:
            portal.replies = self._answer(portal.request)
        left = asked.limit
        while True:
            if portal.pending:
                piece = portal.pending[:left] if asked.limit else portal.pending
                portal.pending = portal.pending[len(piece) :]
                formats = _spread(portal.formats, len(portal.kinds))
                yield b"".join(results.build_data_row(row, portal.kinds, formats) for row in piece)
                left -= len(piece)
                if asked.limit and left == 0:
                    yield results.build_portal_suspended()
                    return
            reply = next(portal.replies)
            if isinstance(reply, Columns):
                portal.kinds = [column.kind() for column in reply.columns]
            elif isinstance(reply, Rows):
                portal.pending = list(reply.rows)
            else:
                yield _tell(reply)
                if isinstance(reply, Done):
                    portal.replies = iter((reply,))  # run once more, it has no more rows
                    return

    def _close(self, body: bytes) -> Iterator[bytes]:
        asked = requests.parse_target(body)
        if asked.kind == requests.STATEMENT:
            self._statements.pop(asked.name, None)
        else:
            self._portals.pop(asked.name, None)
        yield results.build_close_complete()

    def _sync(self, body: bytes) -> Iterator[bytes]:
        self._is_skipping = False
        if self._status == b"I":  # in a transaction, portals last until its end
            self._portals.clear()
        yield messages.build_ready_for_query(self._status)

    def _flush(self, body: bytes) -> Iterator[bytes]:
        yield from ()  # nothing is ever held back

    def _terminate(self, body: bytes) -> Iterator[bytes]:
        self.is_over = True
        yield from ()

    def _statement(self, name: str) -> Request:
        if name not in self._statements:
            raise RequestError("26000", f'prepared statement "{name}" does not exist')
        return self._statements[name]

    def _portal(self, name: str) -> _Portal:
        if name not in self._portals:
            raise RequestError("34000", f'portal "{name}" does not exist')
        return self._portals[name]


_READERS: Final[Mapping[str, Callable[[Console, bytes], Iterator[bytes]]]] = {
    "Query": Console._query,
    "Parse": Console._parse,
    "Bind": Console._bind,
    "Describe": Console._describe,
    "Execute": Console._execute,
    "Close": Console._close,
    "Sync": Console._sync,
    "Flush": Console._flush,
    "Terminate": Console._terminate,
}


def _columns_of(request: Request) -> Columns | None:
    """What rows the answer will have, without making it."""
    if is_pretended(request):
        return next((reply for reply in pretend(request, b"I")[0] if isinstance(reply, Columns)), None)
    if request.word != "SHOW":
        return None
    return Columns.of(find_show(request).columns)


def _describe(columns: Columns, formats: tuple[int, ...]) -> bytes:
    return results.build_row_description(
        [(column.name, column.kind()) for column in columns.columns], formats
    )


def _spread(formats: tuple[int, ...], count: int) -> tuple[int, ...]:
    """A format for each column. Raises ClientProtocolError when there are some, but not as many."""
    if len(formats) <= 1:
        return (formats or (0,)) * count
    if len(formats) != count:
        raise ClientProtocolError(f"Bind has {len(formats)} result formats for {count} columns")
    return formats


def _tell(reply: Reply) -> bytes:
    if isinstance(reply, Done):
        return results.build_command_complete(reply.tag)
    if isinstance(reply, Notice):
        return messages.build_notice_response("NOTICE", "00000", reply.message, reply.detail)
    return b""  # progress is for people at a terminal
