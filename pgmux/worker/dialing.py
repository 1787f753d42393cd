"""Connections to PostgreSQL: the Unix socket, an address, or a name that is looked up first.

An address is connected to directly. A name costs gevent a thread that waits for the resolver;
the threads are ended afterwards, because in a process that has more than one the kernel counts
references on every descriptor at every system call of the relay.
"""

import contextlib
import ipaddress

from gevent import socket
from gevent.hub import get_hub

from pgmux.config import PoolSettings
from pgmux.worker.loopback import calm_loopback


def dial(settings: PoolSettings) -> socket.socket:
    """A connection to the pool's PostgreSQL. Raises OSError. May switch."""
    if settings.host.startswith("/"):
        return _connect(socket.AF_UNIX, f"{settings.host}/.s.PGSQL.{settings.port}")
    with contextlib.suppress(ValueError):
        family = socket.AF_INET6 if ipaddress.ip_address(settings.host).version == 6 else socket.AF_INET
        return _connect(family, (settings.host, settings.port))
    return _dial_name(settings.host, settings.port)


def _dial_name(name: str, port: int) -> socket.socket:
    """The first of a name's addresses that answers."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    finally:
        get_hub().threadpool.kill()
    error: OSError | None = None
    for family, _, _, _, address in found:
        try:
            return _connect(family, address)
        except OSError as refused:
            error = refused
    raise error or OSError(f"{name} has no address")


def _connect(family: int, address: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.connect(address)
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            calm_loopback(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def addresses_of(connection: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    """Where a connection leads to, and where it comes from: (host, port); ("unix", 0) for a Unix socket."""
    if connection.family == socket.AF_UNIX:
        return ("unix", 0), ("unix", 0)
    return connection.getpeername()[:2], connection.getsockname()[:2]
