"""TCP ports that nobody else is about to take.

To bind port 0 and close the socket again gives a port that the kernel may hand to the next caller. Here a
port is taken below the range of outgoing connections (`ip_local_port_range`), tried, and then *claimed* for
the life of this process by an abstract Unix socket of that number: the kernel drops the claim with the
process, so nothing is left behind, and several test runs and demos on one machine never meet.
"""

from __future__ import annotations

import errno
import os
import socket

from pgmux.errors import PgmuxError

_FIRST = 20_000
_COUNT = 10_000

_claims: dict[int, socket.socket] = {}  # port: the abstract socket that claims it; closed with the process


def free_port() -> int:
    """A TCP port on which nobody listens, and which no other caller of this function gets while we live.

    Raises PgmuxError if the whole range is in use. Source: unix(7), "Abstract sockets".
    """
    start = os.getpid() * 61  # so that runs side by side begin at different places
    for step in range(_COUNT):
        port = _FIRST + (start + step) % _COUNT
        if port in _claims or not _is_unused(port):
            continue
        claim = _claim(port)
        if claim is not None:
            _claims[port] = claim
            return port
    raise PgmuxError(f"no free TCP port between {_FIRST} and {_FIRST + _COUNT - 1}")


def give_back(port: int) -> None:
    """Ends the claim on a port from `free_port`."""
    claim = _claims.pop(port, None)
    if claim is not None:
        claim.close()


def _is_unused(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections in TIME_WAIT are no obstacle
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _claim(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0pgmux-port-{port}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return claim
