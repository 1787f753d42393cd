"""Connecting to PostgreSQL: dialled and logged in, within server_connect_timeout.

Of several hosts the first that answers, lets us in and is what target_session_attrs asks for; each has
server_connect_timeout to itself. What a host is, it says at the log-in (in_hot_standby and
default_transaction_read_only, from PostgreSQL 14 on). Manual: "Parameter Key Words", `target_session_attrs`.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress

import gevent
import msgspec
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
    wanted = settings.target_session_attrs
    for attributes in ("standby", "any") if wanted == "prefer-standby" else (wanted,):
        trouble = None
        for host in settings.hosts:
            try:
                here = msgspec.structs.replace(settings, hosts=(host,))
                return _connect_to_one(here, attributes, keyring, limit_s, parameters)
            except OpenError as error:
                trouble = error
                if str(error).startswith("28"):
                    break  # a wrong password is one everywhere, and asking everywhere would hide it
    assert trouble is not None
    raise trouble


def _connect_to_one(
    settings: PoolSettings, attributes: str, keyring: Keyring, limit_s: float, parameters: Mapping[str, str]
) -> tuple[socket.socket, BackendLogin]:
    """The same with the only host of `settings`, if it is what `attributes` ask for."""
    too_late = OpenError(f"08001: no log-in within server_connect_timeout ({limit_s:g}s)")
    try:
        with gevent.Timeout(limit_s or None, too_late):
            connection, login = _connect(settings, keyring, parameters)
    except OSError as error:
        raise OpenError(f"08001: {error.strerror or error}") from None
    if not has_attributes(login.welcome, attributes):
        connection.close()
        raise OpenError(f'08001: {settings.host} is not what target_session_attrs = "{attributes}" asks for')
    return connection, login


def has_attributes(parameters: Mapping[str, str], wanted: str) -> bool:
    """Whether a server that has reported these parameters is what is wanted, in libpq's words."""
    is_standby = parameters.get("in_hot_standby")
    is_read_only = "on" in (is_standby, parameters.get("default_transaction_read_only"))
    match wanted:
        case "any":
            return True
        case "primary":
            return is_standby == "off"
        case "standby":
            return is_standby == "on"
        case "read-only":
            return is_read_only
        case _:
            return is_standby is not None and not is_read_only


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
