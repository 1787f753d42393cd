"""Loopback connections need no congestion control, so they get the cheapest.

A network cannot be congested where there is none, but a system whose default is BBR still runs
its model and its pacing timers for every packet between two processes of one host. Reno is
built into every kernel and allowed to everybody. A listening socket passes the choice on to
what it accepts. See tcp(7), TCP_CONGESTION.
"""

import contextlib
import ipaddress
import socket

_CHEAPEST = b"reno"


def calm_loopback(connection: socket.socket) -> None:
    """Give a TCP socket bound to a loopback address the cheapest congestion control; leave others alone."""
    host = connection.getsockname()[0]
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        with contextlib.suppress(OSError):  # it works as well without
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CHEAPEST)
