"""Connecting to PostgreSQL: dialled and logged in, within server_connect_timeout."""

from collections.abc import Mapping
from contextlib import ExitStack

import gevent
from gevent import socket

from pgmux.config import PoolSettings
from pgmux.session.backend_login import BackendLogin
from pgmux.session.keyring import Keyring
from pgmux.worker.dialing import dial

_READ_BYTES = 65536


class OpenError(Exception):
    """A backend could not be opened; the text is what the clients are told, the SQLSTATE first."""

    def __init__(self, text: str, *, is_keyless: bool = False) -> None:
        """`is_keyless`: this worker does not know the secret; one in which its user has logged in may."""
        super().__init__(text)
        self.is_keyless = is_keyless


def connect(
    settings: PoolSettings, keyring: Keyring, limit_s: float, **parameters: str
) -> tuple[socket.socket, BackendLogin]:
    """A connection that is ready for a query, and its finished log-in. Raises OpenError. May switch.

    `limit_s` is server_connect_timeout, 0 = none; `parameters` are the start-up packet's.
    """
    too_late = OpenError(f"08001: no log-in within server_connect_timeout ({limit_s:g}s)")
    try:
        with gevent.Timeout(limit_s or None, too_late), ExitStack() as failing:
            connection = dial(settings)
            failing.callback(connection.close)
            login = _log_in(connection, settings, keyring, parameters)
            failing.pop_all()
            return connection, login
    except OSError as error:
        raise OpenError(f"08001: {error.strerror or error}") from None


def _log_in(
    connection: socket.socket,
    settings: PoolSettings,
    keyring: Keyring,
    parameters: Mapping[str, str],
) -> BackendLogin:
    """The finished log-in. Raises OpenError with what the server said, OSError. May switch."""
    password = settings.server_password or keyring.find(settings.server_user)
    login = BackendLogin(settings.server_user, password, settings.dbname, parameters)
    connection.sendall(login.start())
    while not login.is_done:
        data = connection.recv(_READ_BYTES)
        if not data:
            raise OpenError("08001: PostgreSQL closed the connection during the log-in")
        answer = login.feed(data)
        if login.error:
            sqlstate, message = login.error.get("sqlstate", "XX000"), login.error.get("message", "")
            raise OpenError(f"{sqlstate}: {message}", is_keyless=login.is_keyless)
        if answer:
            connection.sendall(answer)
    return login
