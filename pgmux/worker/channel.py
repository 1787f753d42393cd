"""A connection to PostgreSQL as greenlets use it, under TLS or not.

Whether it is under TLS, server_tls_sslmode says, in libpq's meaning of the words (manual: "SSL
Support", "Protection Provided in Different Modes"). "allow" and "prefer" try both ways, so they
are told as a sequence of attempts, of which the caller makes one after the other until PostgreSQL
lets it in. There is one difference: on an address of this machine itself "prefer" begins without
TLS. Nobody can listen there, and a backend without TLS can serve the clients of every worker.
"""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import suppress

from gevent import socket
from gevent.lock import BoundedSemaphore

from pgmux.config import PoolSettings
from pgmux.config.addresses import is_directory
from pgmux.config.settings import Settings
from pgmux.protocol.messages import build_ssl_request
from pgmux.relay.tls import Tls
from pgmux.relay.tls_context import TlsContext, TlsError
from pgmux.session.client_login import ALPN_PROTOCOL
from pgmux.worker.dialing import addresses_of, dial

_READ_BYTES = 65536
_DEMANDING = ("require", "verify-ca", "verify-full")


class Channel:
    """A connection, and what it is under. One greenlet may send while another receives.

    What sends or receives may switch. Under TLS it raises TlsError when that ends badly, besides OSError.
    """

    def __init__(self, connection: socket.socket, tls: Tls | None = None, unsent: bytes = b"") -> None:
        """`tls`: what the connection is under already; `unsent`: what, as it is, goes before all else."""
        self.tls = tls
        self._connection = connection
        self._unsent = unsent
        self._opened = b""  # plaintext that came with the end of the handshake
        self._sending = BoundedSemaphore(1)  # what is sealed first must be sent first, and whole

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        with self._sending:
            unsent, self._unsent = self._unsent, b""
            self._connection.sendall(unsent + (data if self.tls is None else self.tls.seal_bytes(data)))

    def settimeout(self, seconds: float | None) -> None:
        """How long `recv` waits at most before it raises TimeoutError."""
        self._connection.settimeout(seconds)

    def recv(self) -> bytes:
        """Give what has come, b"" when no more will."""
        if self.tls is None:
            return bytes(self._connection.recv(_READ_BYTES))
        opened, self._opened = self._opened, b""
        while not opened:
            if self.tls.has_ended:
                if self.tls.trouble:
                    raise TlsError(f"TLS: {self.tls.trouble}")
                return b""
            data = self._connection.recv(_READ_BYTES)
            if not data:
                return b""
            opened, answer = self.tls.unseal(data)
            if answer:
                with self._sending:
                    self._connection.sendall(answer)
        return opened

    def encrypt(self, context: TlsContext, host: str) -> None:
        """Shake hands. Raises TlsError with the reason why that failed, OSError."""
        tls = Tls(context, host)
        self._connection.sendall(tls.begin())
        while not tls.is_secured:
            data = self._connection.recv(_READ_BYTES)
            if not data:
                raise TlsError("PostgreSQL closed the connection during the TLS handshake")
            self._opened, answer = tls.unseal(data)
            if answer:
                self._connection.sendall(answer)
            if tls.has_ended:
                raise TlsError(f"TLS handshake with PostgreSQL: {tls.trouble or 'it was broken off'}")
        self.tls = tls

    def ask_for_tls(self) -> bool:
        """Send an SSLRequest. Whether PostgreSQL is ready for a handshake. Raises OSError, TlsError.

        One byte is read and no more: what somebody may have put behind it belongs to the handshake,
        which it breaks (CVE-2021-23222).
        """
        self._connection.sendall(build_ssl_request())
        answer = self._connection.recv(1)
        if answer not in (b"S", b"N"):
            raise TlsError("PostgreSQL did not answer a request for TLS")
        return bool(answer == b"S")

    def fileno(self) -> int:
        """The socket's descriptor."""
        return int(self._connection.fileno())

    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Where it leads to, and where it comes from."""
        return addresses_of(self._connection)

    def detach(self) -> int:
        """Give the descriptor away."""
        return int(self._connection.detach())

    def say_last(self, last_words: bytes) -> None:
        """Say something, and that it was the last, if that can be done at once. Never switches."""
        with suppress(OSError, TlsError):
            if self._sending.locked():
                return  # in the middle of something else it would be read as part of that
            if self.tls is not None:
                last_words = self.tls.seal_bytes(last_words) + self.tls.close()
            os.write(self._connection.fileno(), last_words)

    def part(self, last_words: bytes) -> None:
        """The same, and close."""
        self.say_last(last_words)
        self._connection.close()

    def shut(self) -> None:
        """Have whoever receives, here and at the other end, find the end."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket, unless it was given away."""
        self._connection.close()


def attempts(settings: Settings, host: str) -> Iterator[bool]:
    """Whether to try with TLS, in the order in which to try."""
    mode = settings.server_tls_sslmode
    if mode == "disable" or is_directory(host):
        yield False
    elif mode in _DEMANDING:
        yield True
    elif mode == "allow" or _is_this_machine(host):
        yield from (False, True)
    else:
        yield from (True, False)


def open_channel(
    settings: Settings, pool: PoolSettings, context: TlsContext | None, *, with_tls: bool
) -> Channel:
    """A connection to the pool's PostgreSQL, not logged in. Raises OSError, TlsError. May switch.

    With "allow" and "prefer" a PostgreSQL that has no TLS is connected to without.
    """
    channel = Channel(dial(pool))
    try:
        if with_tls and context is not None:
            _encrypt(channel, settings, pool.host, context)
    except BaseException:
        channel.close()
        raise
    return channel


def _encrypt(channel: Channel, settings: Settings, host: str, context: TlsContext) -> None:
    mode = settings.server_tls_sslmode
    if settings.server_tls_negotiation == "direct":
        channel.encrypt(context, host)
        if channel.tls is not None and channel.tls.protocol != ALPN_PROTOCOL:
            raise TlsError(f'what listens there does not agree to the ALPN protocol "{ALPN_PROTOCOL}"')
    elif channel.ask_for_tls():
        channel.encrypt(context, host)
    elif mode in _DEMANDING:
        raise TlsError(f'PostgreSQL has no TLS, and server_tls_sslmode is "{mode}"')


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
