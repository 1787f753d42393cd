"""Connecting to PostgreSQL: dialled, under TLS or not, and logged in, within server_connect_timeout.

Of several hosts the first that answers, lets us in and is what target_session_attrs asks for; each has
server_connect_timeout to itself. What a host is, it says at the log-in (in_hot_standby and
default_transaction_read_only, from PostgreSQL 14 on). Manual: "Parameter Key Words", `target_session_attrs`.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress

import gevent
import msgspec

from pgmux.config import Config, PoolSettings
from pgmux.protocol.messages import LATEST_VERSION
from pgmux.relay.tls_context import TlsContext, TlsError
from pgmux.session.backend_login import BackendLogin
from pgmux.session.keyring import Keyring
from pgmux.worker.channel import Channel, attempts, open_channel

_OLD_VERSION = (3, 0)
_NO_SUCH_WAY = "28000"  # what PostgreSQL says when pg_hba.conf has no line for the connection

# (host, port) of servers that refuse protocol 3.2 outright instead of negotiating: those before PostgreSQL 11
# and its contemporaries, and some poolers. They are asked for 3.0 at once from then on.
_old_servers: set[tuple[str, int]] = set()


class OpenError(Exception):
    """A backend could not be opened; the text is what the clients are told, the SQLSTATE first.

    `fields` is PostgreSQL's own error where it has given one, by the names in names.ERROR_FIELDS.
    `is_keyless`: this worker does not know the secret; one in which its user has logged in may.
    """

    def __init__(
        self, text: str, fields: Mapping[str, str] | None = None, *, is_keyless: bool = False
    ) -> None:
        super().__init__(text)
        self.fields = fields
        self.is_keyless = is_keyless


class _AnotherWay(OpenError):  # noqa: N818 -- it is not the last word
    """PostgreSQL refuses the connection because it is under TLS, or because it is not."""


class _TooNewError(Exception):
    """The server has refused the log-in at once: it may not know our protocol version."""


class Connector:
    """One worker's way to PostgreSQL: under what, with whose secrets, within which time."""

    def __init__(self, config: Config, keyring: Keyring, tls: TlsContext | None) -> None:
        """`tls`: what connections are under where server_tls_sslmode has it; None = they never are."""
        self.keyring = keyring
        self.edition = 0  # raised where connections from now on are to be under something else
        self._settings = config.pgmux
        self._tls = tls

    def reconfigure(self, config: Config, tls: TlsContext | None, *, is_tls_another: bool) -> None:
        """After a reload: connections from now on."""
        self._settings, self._tls = config.pgmux, tls
        self.edition += is_tls_another

    def connect(self, pool: PoolSettings, /, **parameters: str) -> tuple[Channel, BackendLogin]:
        """A connection that is ready for a query, and its finished log-in. Raises OpenError. May switch.

        `parameters` are the start-up packet's.
        """
        wanted = pool.target_session_attrs
        for attributes in ("standby", "any") if wanted == "prefer-standby" else (wanted,):
            trouble = None
            for host in pool.hosts:
                try:
                    here = msgspec.structs.replace(pool, hosts=(host,))
                    return self._connect_to_one(here, attributes, parameters)
                except OpenError as error:
                    trouble = error
                    if str(error).startswith("28"):
                        break  # a wrong password is one everywhere, and asking everywhere would hide it
        assert trouble is not None
        raise trouble

    def _connect_to_one(
        self, pool: PoolSettings, attributes: str, parameters: Mapping[str, str]
    ) -> tuple[Channel, BackendLogin]:
        """The same with the only host of `pool`, if it is what `attributes` ask for."""
        limit_s = self._settings.server_connect_timeout
        too_late = OpenError(f"08001: no log-in within server_connect_timeout ({limit_s:g}s)")
        try:
            with gevent.Timeout(limit_s or None, too_late):
                channel, login = self._connect(pool, parameters)
        except OSError as error:
            raise OpenError(f"08001: {error.strerror or error}") from None
        except TlsError as error:
            raise OpenError(f"08001: {error}") from None
        if not has_attributes(login.welcome, attributes):
            channel.close()
            raise OpenError(f'08001: {pool.host} is not what target_session_attrs = "{attributes}" asks for')
        return channel, login

    def open_for_cancel(self, pool: PoolSettings, *, is_encrypted: bool) -> Channel:
        """A connection for a CancelRequest, which nobody logs in on. Raises OSError, TlsError. May switch.

        It goes the way that the backend itself was connected to: a key is a secret where a query is one.
        """
        return open_channel(self._settings, pool, self._tls, with_tls=is_encrypted)

    def _connect(self, pool: PoolSettings, parameters: Mapping[str, str]) -> tuple[Channel, BackendLogin]:
        """With the newest protocol that the server takes. Raises OpenError, TlsError, OSError."""
        place = pool.host, pool.port
        if place not in _old_servers:
            with suppress(_TooNewError):
                return self._enter(LATEST_VERSION, pool, parameters)
        opened = self._enter(_OLD_VERSION, pool, parameters)
        _old_servers.add(place)  # only now: what refuses 3.0 too has another reason
        return opened

    def _enter(
        self, version: tuple[int, int], pool: PoolSettings, parameters: Mapping[str, str]
    ) -> tuple[Channel, BackendLogin]:
        """With TLS or without, as server_tls_sslmode has it, or the one after the other. Raises as
        `_try_to_enter` does, of the last attempt.
        """
        ways = list(attempts(self._settings, pool.host))
        for with_tls in ways[:-1]:
            with suppress(TlsError, _AnotherWay):
                return self._try_to_enter(version, pool, parameters, with_tls=with_tls)
        return self._try_to_enter(version, pool, parameters, with_tls=ways[-1])

    def _try_to_enter(
        self,
        version: tuple[int, int],
        pool: PoolSettings,
        parameters: Mapping[str, str],
        *,
        with_tls: bool,
    ) -> tuple[Channel, BackendLogin]:
        """Raises OpenError with what the server said, _TooNewError, TlsError, OSError."""
        password = pool.server_password or self.keyring.find(pool.server_user)
        with ExitStack() as failing:
            channel = open_channel(self._settings, pool, self._tls, with_tls=with_tls)
            failing.callback(channel.close)
            end_point = b"" if channel.tls is None else channel.tls.peer_end_point()
            login = BackendLogin(pool.server_user, password, pool.dbname, parameters, version, end_point)
            try:
                _log_in(channel, login)
            except OpenError as error:
                # Else PostgreSQL has no TLS, and there is no other way.
                is_as_meant = with_tls == (channel.tls is not None)
                if is_as_meant and str(error).startswith(_NO_SUCH_WAY):
                    raise _AnotherWay(str(error), error.fields, is_keyless=error.is_keyless) from None
                raise
            failing.pop_all()
            return channel, login


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


def _log_in(channel: Channel, login: BackendLogin) -> None:
    """Finish the log-in. Raises OpenError with what the server said, _TooNewError, TlsError, OSError."""
    channel.sendall(login.start())
    while not login.is_done:
        data = channel.recv()
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
            channel.sendall(answer)
