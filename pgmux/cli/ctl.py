"""`pgmux ctl`: give a command to the pgmux that runs here, and print its answer for people or for programs.

The wire format is in control/answers.py. A worker may be stopped just when it has taken the connection: a
SHOW that is not answered is asked again, of another worker. Other commands are not: who knows what was done?
"""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec

from pgmux.cli.output import print_answer
from pgmux.config import load
from pgmux.control.answers import (
    Asked,
    ColumnName,
    Columns,
    Done,
    Failed,
    Notice,
    Progress,
    Reply,
    Row,
    Rows,
    decode_reply,
    encode_line,
)
from pgmux.control.clerk import SHOWS
from pgmux.control.commands import COMMANDS
from pgmux.errors import ConfigError, PgmuxError
from pgmux.protocol.results import Type

SILENCE_SECONDS = 2.0  # after which a SHOW is asked again
TRIES = 3
WRONG_COMMAND = "42601"  # SQLSTATE syntax_error: the user's mistake


class NoAnswerError(PgmuxError):
    """There is no pgmux, or it does not say what it was asked."""


class RefusedError(PgmuxError):
    """The command was refused, or has failed."""


class WrongCommandError(RefusedError):
    """There is no such command, or its arguments are wrong."""

    exit_code = 2


def ctl(words: Sequence[str], config: str | None, path: str | None, *, as_json: bool) -> int:
    """Give the command and print the answer. Raises PgmuxError."""
    path = path or _find_socket(config)
    printer = _JsonPrinter() if as_json else _TablePrinter()
    is_show = words[0].lower() in ("show", "select")
    for reply in _ask(path, list(words), tries=TRIES if is_show else 1):
        if isinstance(reply, Failed):
            kind = WrongCommandError if reply.sqlstate == WRONG_COMMAND else RefusedError
            raise kind(f"{reply.message} ({reply.hint})" if reply.hint else reply.message)
        if isinstance(reply, Notice):
            print(f"{reply.message} ({reply.detail})" if reply.detail else reply.message, file=sys.stderr)
        elif isinstance(reply, Progress):
            _show_progress(reply.message)
        else:
            printer.take(reply)
    _show_progress("")
    return 0


def describe_commands() -> str:
    """Every command with a sentence, for the help; made from the tables of commands."""
    rows = [(_spell(f"{command.word} {command.arguments}"), command.help) for command in COMMANDS.values()]
    shows = [(_spell(f"SHOW {show.name}"), show.help) for show in SHOWS.values()]
    width = max(len(name) for name, _ in rows + shows) + 2
    lines = ["what can be shown:", *(f"  {name:<{width}}{text}" for name, text in shows)]
    lines += ["", "what can be done:", *(f"  {name:<{width}}{text}" for name, text in rows)]
    return "\n".join(lines)


def _spell(command: str) -> str:
    """A command as it is written in a shell; what stands for something else stays in capitals."""
    word, _, rest = command.partition(" ")
    word = word.lower().replace("_", "-")
    if word == "show" or "WAIT" in rest:
        rest = rest.lower()
    return f"{word} {rest}".rstrip()


def _find_socket(config: str | None) -> str:
    try:
        return load(config).control_socket
    except ConfigError as error:
        raise NoAnswerError(
            f"{error}\npgmux: the configuration does not say where pgmux is: use --socket PATH"
        ) from None


def _ask(path: str, words: list[str], tries: int) -> Iterator[Reply]:
    """The replies, to the last one. Raises NoAnswerError."""
    for left in range(tries - 1, -1, -1):
        with closing(_connect(path)) as connection:
            connection.sendall(encode_line(Asked(words)))
            if tries > 1:
                connection.settimeout(SILENCE_SECONDS)
            try:
                yield from _replies(connection)
                return
            except (TimeoutError, ConnectionResetError, _UnheardError):
                if left == 0 and tries > 1:
                    raise NoAnswerError(
                        f"pgmux does not answer at {path}: its workers are stopped, or stuck"
                    ) from None
    raise NoAnswerError("the worker that took the command has died: look whether it was carried out")


class _UnheardError(Exception):
    """The connection was closed before the first reply."""


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except PermissionError:
        connection.close()
        raise NoAnswerError(f"{path}: only root and the user that pgmux runs as may use it") from None
    except OSError as error:
        connection.close()
        raise NoAnswerError(f"no pgmux answers at {path}: {error.strerror}") from None
    return connection


def _replies(connection: socket.socket) -> Iterator[Reply]:
    """What comes, up to Done or Failed."""
    buffer, is_heard = b"", False
    while True:
        data = connection.recv(65_536)
        if not data:
            if is_heard:
                raise NoAnswerError("the answer was cut short: the worker that gave it has died")
            raise _UnheardError
        is_heard = True
        connection.settimeout(None)
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            reply = decode_reply(line)
            yield reply
            if isinstance(reply, Done | Failed):
                return


def _show_progress(words: str) -> None:
    """On a terminal: one line that is written again and again, and wiped at the end."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


class _TablePrinter:
    """Rows as an aligned table, with its columns' names above."""

    def __init__(self) -> None:
        self._columns: list[ColumnName] = []
        self._rows: list[Row] = []

    def take(self, reply: Columns | Rows | Done) -> None:
        if isinstance(reply, Columns):
            self._columns = reply.columns
        elif isinstance(reply, Rows):
            self._rows += reply.rows
        elif self._columns:
            print_answer(_align(self._columns, self._rows))
        else:
            print_answer(reply.tag)


def _align(columns: list[ColumnName], rows: list[Row]) -> str:
    """Numbers to the right, texts to the left, two spaces between."""
    cells = [[column.name for column in columns]]
    cells += [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    is_number = [column.kind() is not Type.TEXT for column in columns]

    def line(row: list[str]) -> str:
        parts = (
            value.rjust(width) if number else value.ljust(width)
            for value, width, number in zip(row, widths, is_number, strict=True)
        )
        return "  ".join(parts).rstrip()

    return "\n".join(map(line, cells))


class _JsonPrinter:
    """Rows as an array of objects, one a line; a command without rows as one object."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._lines: list[str] = []

    def take(self, reply: Columns | Rows | Done) -> None:
        if isinstance(reply, Columns):
            self._names = [column.name for column in reply.columns]
        elif isinstance(reply, Rows):
            rows = (dict(zip(self._names, row, strict=True)) for row in reply.rows)
            self._lines += [msgspec.json.encode(row).decode() for row in rows]
        elif self._names:
            body = ",\n".join(self._lines)
            print_answer(f"[\n{body}\n]" if body else "[]")
        else:
            print_answer(msgspec.json.encode({"done": reply.tag}).decode())
