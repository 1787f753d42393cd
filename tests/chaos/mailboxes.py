"""Mailboxes filled from outside: with the descriptors of a running supervisor, duplicated by pidfd_getfd(2)."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pgmux.worker.mailbox import Kind, Mailbox, Message

_PIDFD_GETFD = 438  # the same on every architecture: see syscalls(2)
_AT_MOST = 100_000
NOTHING = Message(Kind.KILL, 0, 0)  # to send off client 0 by number 0, which no client ever has


def fill_mailboxes(supervisor: int) -> int:
    """Leave messages that ask for nothing in every mailbox of a pgmux until it is full; gives how many there were.

    Needs the right to trace the process (ptrace(2)). A mailbox that is read meanwhile is full for a moment only.
    """
    left = 0
    for outside in _sockets_of(supervisor):
        with outside:
            mailbox = Mailbox((os.dup(outside.fileno()), outside.detach()))
            for _ in range(_AT_MOST):
                if not mailbox.send(NOTHING):
                    break
                left += 1
            mailbox.close()
    return left


def _sockets_of(pid: int) -> Iterator[socket.socket]:
    """Copies of a process's outer ends of mailboxes: they have more room than a socket has by itself."""
    ordinary, other = socket.socketpair()
    least = ordinary.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) + 1
    ordinary.close()
    other.close()
    pidfd = os.pidfd_open(pid)
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if not os.readlink(each).startswith("socket:"):
                    continue
                fd = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, int(each.name), 0)
                if fd < 0:
                    continue
                copy = socket.socket(fileno=fd)
                is_mailbox = copy.family == socket.AF_UNIX and copy.type == socket.SOCK_SEQPACKET
                if is_mailbox and copy.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= least:
                    yield copy
                else:
                    copy.close()
    finally:
        os.close(pidfd)
