"""Connecting to PostgreSQL: dialled and logged in, within server_connect_timeout."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress

import gevent
from gevent import socket

from pgmux.config import PoolSettings
from pgmux.protocol.messages import LATEST_VERSION
from pgmux.session.backend_login import BackendLogin
from pgmux.session.keyring import Keyring
from pgmux.worker.dialing import dial

_READ_BYTES = 65536
_OLD_VERSION = (3, 0)

# (host, port) of servers that refuse protocol 3.2 outright instead of negotiating: those before PostgreSQL 11
# and its contemporaries, and some poolers. They are asked for 3.0 at once from then on.
_old_servers: set[tuple[str, int]] = set()


class OpenError(Exception):
    """A backend could not be opened; the text is what the clients are told, the SQLSTATE first.

    `fields` is PostgreSQL's own error where it has given one, by the names in messages.ERROR_FIELDS.
    `is_keyless`: this worker does not know the secret; one in which its user has logged in may.
    """

    def __init__(
        self, text: str, fields: Mapping[str, str] | None = None, *, is_keyless: bool = False
    ) -> None:
        super().__init__(text)
        self.fields = fields
        self.is_keyless = is_keyless


class _TooNewError(Exception):
    """The server has refused the log-in at once: it may not know our protocol version."""


def connect(
    settings: PoolSettings, keyring: Keyring, limit_s: float, /, **parameters: str
) -> tuple[socket.socket, BackendLogin]:
    """A connection that is ready for a query, and its finished log-in. Raises OpenError. May switch.

    `limit_s` is server_connect_timeout, 0 = none; `parameters` are the start-up packet's.
    """
    too_late = OpenError(f"08001: no log-in within server_connect_timeout ({limit_s:g}s)")
    try:
        with gevent.Timeout(limit_s or None, too_late):
            return _connect(settings, keyring, parameters)
    except OSError as error:
        raise OpenError(f"08001: {error.strerror or error}") from None


def _connect(
    settings: PoolSettings, keyring: Keyring, parameters: Mapping[str, str]
) -> tuple[socket.socket, BackendLogin]:
    """With the newest protocol that the server takes. Raises OpenError, OSError. May switch."""
    place = settings.host, settings.port
    if place not in _old_servers:
        with suppress(_TooNewError):
            return _connect_with(LATEST_VERSION, settings, keyring, parameters)
    opened = _connect_with(_OLD_VERSION, settings, keyring, parameters)
    _old_servers.add(place)  # only now: what refuses 3.0 too has another reason
    return opened


def _connect_with(
    version: tuple[int, int],
    settings: PoolSettings,
    keyring: Keyring,
    parameters: Mapping[str, str],
) -> tuple[socket.socket, BackendLogin]:
    password = settings.server_password or keyring.find(settings.server_user)
    login = BackendLogin(settings.server_user, password, settings.dbname, parameters, version)
    with ExitStack() as failing:
        connection = dial(settings)
        failing.callback(connection.close)
        _log_in(connection, login)
        failing.pop_all()
        return connection, login


def _log_in(connection: socket.socket, login: BackendLogin) -> None:
    """Finish the log-in. Raises OpenError with what the server said, _TooNewError, OSError. May switch."""
    connection.sendall(login.start())
    while not login.is_done:
        data = connection.recv(_READ_BYTES)
        if not data:
            if login.refuses_version:
                raise _TooNewError
            raise OpenError("08001: PostgreSQL closed the connection during the log-in")
        answer = login.feed(data)
        if login.error:
            if login.refuses_version:
                raise _TooNewError
            text = f"{login.error.get('sqlstate', 'XX000')}: {login.error.get('message', '')}"
            raise OpenError(text, login.error, is_keyless=login.is_keyless)
        if answer:
            connection.sendall(answer)
