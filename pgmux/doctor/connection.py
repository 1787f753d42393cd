"""A connection to PostgreSQL that asks a few questions and waits for the answers.

The log-in is pgmux's own, session/backend_login.py, so the doctor needs neither libpq nor a driver beside it.
Queries go by the simple protocol, all values come as text. PostgreSQL's manual: "Message Flow".
"""

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from pgmux.config.addresses import socket_path
from pgmux.doctor.target import Target, owner_of_socket
from pgmux.errors import PgmuxError
from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import Message, build_message, parse_error_fields, take_message
from pgmux.session.backend_login import BackendLogin

TIMEOUT_SECONDS: Final = 10.0
MAX_MESSAGE_BYTES: Final = 1 << 24
_SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
_SETTINGS: Final = {
    "application_name": "pgmux doctor",
    "client_encoding": "UTF8",
    "options": "-c statement_timeout=10s -c search_path=pg_catalog",
}

Row = dict[str, str | None]


class ServerError(PgmuxError):
    """PostgreSQL cannot be reached, or says no; `fields` are those of its ErrorResponse."""

    def __init__(self, text: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.fields = fields or {}

    @property
    def wants_password(self) -> bool:
        """Whether a password could have helped."""
        return self.fields.get("sqlstate") == "28P01"


class Connection:
    """One log-in. A context manager; `query` gives rows by their columns' names."""

    def __init__(self, target: Target) -> None:
        """Raises ServerError."""
        self._buffer = bytearray()
        try:
            self._socket = _dial(target)
        except OSError as error:
            raise ServerError(f"{target}: {error.strerror or error}") from None
        try:
            self._log_in(target)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(build_message(b"X", b""))
        self._socket.close()

    @property
    def is_local(self) -> bool:
        """Whether the other end is on this machine, as far as addresses can tell."""
        if self._socket.family == socket.AF_UNIX:
            return True
        return bool(self._socket.getpeername()[0] == self._socket.getsockname()[0])

    def query(self, sql: str) -> list[Row]:
        """The rows of one statement. Raises ServerError."""
        names: list[str] = []
        rows: list[Row] = []
        fields: dict[str, str] | None = None
        self._send(build_message(b"Q", sql.encode() + b"\0"))
        while True:
            message = self._receive()
            if message.kind == b"T":
                names = _parse_names(message.body)
            elif message.kind == b"D":
                rows.append(dict(zip(names, _parse_values(message.body), strict=True)))
            elif message.kind == b"E":
                fields = parse_error_fields(message.body)
            elif message.kind == b"Z":
                break
        if fields is not None:
            raise ServerError(fields.get("message", "PostgreSQL refused a query"), fields)
        return rows

    # --- the log-in

    def _log_in(self, target: Target) -> None:
        login = BackendLogin(target.user, target.password, target.dbname, _SETTINGS)
        self._send(login.start())
        while not login.is_done and login.error is None:
            self._send(login.feed(self._read()))
        if login.error is not None:
            raise ServerError(_describe(login.error, target), login.error)
        self.pid = login.pid  # of our backend

    # --- bytes

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ServerError(f"the connection to PostgreSQL is lost: {error.strerror or error}") from None

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(65_536)
        except OSError as error:
            raise ServerError(f"the connection to PostgreSQL is lost: {error.strerror or error}") from None
        if not data:
            raise ServerError("PostgreSQL has closed the connection")
        return data

    def _receive(self) -> Message:
        try:
            while (message := take_message(self._buffer, MAX_MESSAGE_BYTES, BackendProtocolError)) is None:
                self._buffer += self._read()
        except BackendProtocolError as error:
            raise ServerError(f"this is not PostgreSQL's protocol: {error}") from None
        return message


def _describe(error: dict[str, str], target: Target) -> str:
    hint = error.get("hint", "")
    text = f'{target}, user "{target.user}": {error.get("message", "the log-in failed")}'
    return f"{text}\n  {hint}" if hint else text


def _dial(target: Target) -> socket.socket:
    if target.host.startswith("/"):
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(TIMEOUT_SECONDS)
        path = socket_path(target.host, target.port)
        try:
            with _as_owner(path, target.user):
                plain.connect(path)
        except BaseException:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((target.host, target.port), TIMEOUT_SECONDS)
    return plain if target.sslmode in ("disable", "allow") else _secure(plain, target)


@contextlib.contextmanager
def _as_owner(path: str, user: str) -> Iterator[None]:
    """Where root is to be the owner of PostgreSQL's socket: connect as that account, for `peer` looks at it."""
    owner = owner_of_socket(path)
    if os.geteuid() or owner is None or owner.pw_name != user:
        yield
        return
    os.seteuid(owner.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _secure(plain: socket.socket, target: Target) -> socket.socket:
    """The same connection under TLS, when PostgreSQL agrees (manual: "SSL Session Encryption")."""
    try:
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) == b"S":
            return _tls_context(target).wrap_socket(plain, server_hostname=target.host)
        if target.sslmode != "prefer":
            raise ServerError(f"{target} does not speak TLS, and sslmode is {target.sslmode}")
    except ssl.SSLError as error:
        plain.close()
        raise ServerError(f"{target}: TLS failed: {error.reason or error}") from None
    except BaseException:
        plain.close()
        raise
    return plain


def _tls_context(target: Target) -> ssl.SSLContext:
    """Certificates are checked where sslmode asks for it (manual: "SSL Support", "Client Verification")."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = target.sslmode == "verify-full"
    if not target.sslmode.startswith("verify-"):
        context.verify_mode = ssl.CERT_NONE
        return context
    own = target.sslrootcert or os.path.expanduser("~/.postgresql/root.crt")
    try:
        if os.path.exists(own) or target.sslrootcert:
            context.load_verify_locations(own)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise ServerError(f"sslrootcert {own} cannot be used: {error}") from None
    return context


def _parse_names(body: bytes) -> list[str]:
    """Of a RowDescription: each name ends with a zero, and 18 bytes follow it."""
    names, position = [], 2
    while position < len(body):
        end = body.index(0, position)
        names.append(body[position:end].decode())
        position = end + 1 + 18
    return names


def _parse_values(body: bytes) -> list[str | None]:
    """Of a DataRow: each value after its length, -1 for NULL."""
    values: list[str | None] = []
    position = 2
    while position < len(body):
        (length,) = struct.unpack_from("!i", body, position)
        position += 4
        values.append(None if length < 0 else body[position : position + length].decode("utf-8", "replace"))
        position += max(length, 0)
    return values
