"""The sockets that clients connect to, bound before the first fork and kept until the end.

TCP: one socket a worker and address, sharing the port by SO_REUSEPORT, so the kernel spreads
connections over workers, and what waits in a dead worker's accept queue is served by its
successor. Unix: one socket that all workers accept from. See socket(7), unix(7).
"""

import contextlib
import errno
import os
import socket
from collections.abc import Sequence

from pgmux.config import Listen
from pgmux.errors import PgmuxError
from pgmux.worker.loopback import calm_loopback

BACKLOG = 4096
DEFER_SECONDS = 1


def bind_tcp(address: Listen, workers: int) -> list[socket.socket]:
    """One listening socket a worker, all on the same address. Raises PgmuxError."""
    _refuse_taken_port(address)
    return [_listen(address, share=True) for _ in range(workers)]


def bind_unix(path: str, mode: int = 0o777, option: str = "unix_socket_dir") -> socket.socket:
    """A listening Unix socket that those whom `mode` lets may connect to. Raises PgmuxError.

    `option` is the one to be checked when it cannot be made.
    """
    _remove_stale(path, option)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o777 & ~mode)  # not even for a moment may others connect
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PgmuxError(f"cannot listen on {path}: {error.strerror}: check {option}") from None
    finally:
        os.umask(before)
    return listener


def bind_shared(address: Listen, option: str) -> socket.socket:
    """A listening TCP socket that all workers accept from. Raises PgmuxError."""
    try:
        return _listen(address, share=False)
    except PgmuxError as error:
        raise PgmuxError(str(error).replace("change listen", f"change {option}")) from None


def close_all(listeners: Sequence[socket.socket]) -> None:
    """Close sockets, and remove the files of those that have one."""
    for listener in listeners:
        if listener.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                os.unlink(listener.getsockname())
        listener.close()


def _refuse_taken_port(address: Listen) -> None:
    """SO_REUSEPORT would let us share a port with another program of the same user, unnoticed."""
    if address.port:
        _listen(address, share=False).close()


def _listen(address: Listen, *, share: bool) -> socket.socket:
    is_v6 = ":" in address.host or (not address.host and socket.has_dualstack_ipv6())
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(address.host)))
        listener.bind((address.host, address.port))
        calm_loopback(listener)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits these
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # PostgreSQL's clients speak first: until they do, or for so long, nobody is woken for them (tcp(7)).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
        listener.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PgmuxError(f"{address} is in use: stop what listens there, or change listen") from None
        raise PgmuxError(f"cannot listen on {address}: {error.strerror or error}") from None
    return listener


def _remove_stale(path: str, option: str) -> None:
    """Remove the socket file of a server that is gone. Raises PgmuxError when one still answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise PgmuxError(f"{path}: {error.strerror}") from None
    raise PgmuxError(f"{path} is in use: stop what listens there, or change {option}")
