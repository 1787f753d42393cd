"""Mailboxes: how processes of one pgmux send each other descriptors, requests and notifications.

Every worker has one, and so has the supervisor (the vault). Each is a pair of connected Unix
sockets made before the first fork: the owner reads one end, everybody holds the other. They
outlive the worker, so a message sent while it is being replaced reaches its successor.

What concerns LISTEN has a mailbox of its own in every worker: a flood of notifications must not
keep a cancel request out, and a worker reads them at its own pace.

A message is one packet (SOCK_SEQPACKET keeps its bounds and, unlike SOCK_DGRAM, does not
stop at net.unix.max_dgram_qlen):

    kind 1 | target 4 | number 8 | note 4 | body          and at most one descriptor (SCM_RIGHTS)

    SOCKET  slot    generation   -        with the slot's socket: a backend was opened
    FETCH   slot    -            worker   to the vault: send that worker the slot's SOCKET again
    CANCEL  record  -            -        key: to the worker that holds the client: cancel what it is doing
    GIVE_UP slot    generation   -        to the slot's home: a client elsewhere starves, close it if idle

In the mailboxes for LISTEN; worker/listening.py says who sends them when:

    LISTEN     ear  question  worker  epoch 8, channels: to the ear's holder
    UNLISTEN   ear  question  worker  epoch 8, channels: the same
    LISTENING  ear  question  -       the answer to a LISTEN: all that is committed from now on will come
    NOTIFY     ear  -         -       whole NotificationResponses, in the order of their coming
    MISSED     ear  -         -       the ear's backend was lost and replaced: some may never have come

Channels are separated by zero bytes. See unix(7), sendmsg(2).
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_PACKET = struct.Struct("!BIQI")
_SEND_BUFFER_BYTES = 1 << 20  # some thousand messages may wait for a worker that is busy
LONGEST_BODY = 1 << 16


class Kind(IntEnum):
    """What a message asks; the module's docstring draws each."""

    SOCKET = 1
    FETCH = 2
    CANCEL = 3
    LISTEN = 4
    UNLISTEN = 5
    LISTENING = 6
    NOTIFY = 7
    MISSED = 8
    GIVE_UP = 9


class Message(NamedTuple):
    """One message; `fd` is -1 when it carries no descriptor, else the receiver's own."""

    kind: Kind
    target: int
    number: int = 0
    note: int = 0
    fd: int = -1
    body: bytes = b""  # at most LONGEST_BODY


class Mailbox:
    """One process's mailbox. Never blocks."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._outside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def fileno(self) -> int:
        """The descriptor that is readable when there is a message."""
        return self._inside.fileno()

    def send(self, message: Message) -> bool:
        """Leave a message, with a copy of its descriptor. False when the mailbox is full."""
        packet = _PACKET.pack(message.kind, message.target, message.number, message.note) + message.body
        try:
            if message.fd >= 0:
                socket.send_fds(self._outside, [packet], [message.fd])
            else:
                self._outside.send(packet)
        except BlockingIOError:
            return False
        return True

    def collect(self) -> Iterator[Message]:
        """Take out the messages that are there. Descriptors in them are the caller's to close."""
        while True:
            try:
                packet, fds, _, _ = socket.recv_fds(self._inside, _PACKET.size + LONGEST_BODY, 1)
            except BlockingIOError:
                return
            kind, target, number, note = _PACKET.unpack_from(packet)
            for fd in fds:
                os.set_inheritable(fd, False)
            body = packet[_PACKET.size :]
            yield Message(Kind(kind), target, number, note, fds[0] if fds else -1, body)

    def close(self) -> None:
        """Close both ends."""
        with contextlib.suppress(OSError):
            self._inside.close()
            self._outside.close()
