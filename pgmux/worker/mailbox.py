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
    SOCKET  slot    generation   1        the vault's answer; without a descriptor: it has none
    CANCEL  record  -            -        key: to the worker that holds the client: cancel what it is doing, then
                                          close the descriptor, if any: who asked for the cancel waits for that
    GIVE_UP slot    generation   -        to the slot's home: a client elsewhere starves, close it if idle
    CLIENT  record  -            giver    parcel: with the client's socket; worker/moving.py says what it means
    NEWCOMER  -     -            -        with an accepted socket: it is to log in here
    KILL    record  number       -        to the worker that holds the client: send it off; to the supervisor, when
                                          it is a client of another segment's: have its regent do so
    FUNCTIONS pool  lore         took ms  names: of its database's functions that change the session, session/lore.py
    RELOAD  -       -            -        to the supervisor: read the configuration again
    SET     -       -            -        to the supervisor, with "key=value": change an option
    SHUTDOWN  mode  -            -        to the supervisor: stop, see control/operator.SHUTDOWNS
    UPGRADE  -      -            -        to the supervisor: let the installed version take over

Between a supervisor and the regent of its predecessor; supervisor/regent.py says when:

    READY   -       -            -        to the regent: shut the doors of the workers of before
    CENSUS  -       -            -        from it: all that is in use there, see supervisor/cargo.py
    GO      -       -            -        to it: our workers serve, let the clients of the others come
    CARGO   slot    -            -        from it: a slot is ours, with its socket if it has one
    DEED    slot    -            -        from it, with the socket: by which its backend is ended if all of before die
    GONE    record  -            -        from it: a client has left, its record is ours
    ROLL    -       -            -        from it: how clients fare that are still to come, see supervisor/cargo.py
    WANT    -       -            -        from it: (database, user) wants a backend, there is no slot for it
    CEDE    slot    -            -        to it, with the same names: a slot that is its again
    SAID    -       turn         -        to it: all that the operator has said, see supervisor/sayings.py
    HEEDED  -       turn         defied   from it: its workers have heeded that; 1 = but for the configuration
    CLIENT  record  -            giver    as above, but from a worker of before to one of ours

In the mailboxes for LISTEN; worker/listening.py says who sends them when:

    LISTEN     ear  question  worker  epoch 8, channels: to the ear's holder
    UNLISTEN   ear  question  worker  epoch 8, channels: the same
    LISTENING  ear  question  -       the answer to a LISTEN: all that is committed from now on will come
    NOTIFY     ear  -         -       whole NotificationResponses, in the order of their coming
    MISSED     ear  -         -       the ear's backend was lost and replaced: some may never have come

Channels are separated by zero bytes. A body that is longer than LONGEST_BODY travels in a file of memory, whose
descriptor comes last. See unix(7), sendmsg(2), memfd_create(2).
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_PACKET = struct.Struct("!BIQI")
_SEND_BUFFER_BYTES = 1 << 20  # some thousand messages may wait for a worker that is busy
LONGEST_BODY = 1 << 16
_IS_IN_A_FILE = 0x80  # in a packet's kind: the body is


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
    CLIENT = 9
    NEWCOMER = 10
    KILL = 11
    RELOAD = 12
    SET = 13
    SHUTDOWN = 14
    GIVE_UP = 15
    UPGRADE = 16
    FUNCTIONS = 17
    READY = 18
    CENSUS = 19
    GO = 20
    CARGO = 21
    GONE = 22
    WANT = 23
    CEDE = 24
    SAID = 25
    HEEDED = 26
    ROLL = 27
    DEED = 28


class Message(NamedTuple):
    """One message; `fd` is -1 when it carries no descriptor, else the receiver's own."""

    kind: Kind
    target: int
    number: int = 0
    note: int = 0
    fd: int = -1
    body: bytes = b""


class Mailbox:
    """One process's mailbox. Never blocks."""

    def __init__(self, inherited: tuple[int, int] | None = None) -> None:
        """`inherited`: the descriptors of one that was there before, inside and outside."""
        if inherited is not None:
            self._inside, self._outside = (socket.socket(fileno=fd) for fd in inherited)
            return
        self._inside, self._outside = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._outside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def fileno(self) -> int:
        """The descriptor that is readable when there is a message."""
        return self._inside.fileno()

    def filenos(self) -> tuple[int, int]:
        """The descriptors of both ends, inside and outside."""
        return self._inside.fileno(), self._outside.fileno()

    def send(self, message: Message) -> bool:
        """Leave a message, with a copy of its descriptor. False when the mailbox is full."""
        fds = [message.fd] if message.fd >= 0 else []
        body = message.body
        if is_long := len(body) > LONGEST_BODY:
            fds.append(_in_a_file(body))
        flags = message.kind | _IS_IN_A_FILE * is_long
        packet = _PACKET.pack(flags, message.target, message.number, message.note)
        try:
            if fds:
                socket.send_fds(self._outside, [packet, b"" if is_long else body], fds)
            else:
                self._outside.send(packet + body)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ETOOMANYREFS):  # full of messages, or of descriptors
                return False
            raise
        finally:
            if is_long:
                os.close(fds[-1])
        return True

    def collect(self) -> Iterator[Message]:
        """Take out the messages that are there. Descriptors in them are the caller's to close."""
        while True:
            try:
                packet, fds, _, _ = socket.recv_fds(self._inside, _PACKET.size + LONGEST_BODY, 2)
            except BlockingIOError:
                return
            kind, target, number, note = _PACKET.unpack_from(packet)
            for fd in fds:
                os.set_inheritable(fd, False)
            body = packet[_PACKET.size :]
            if kind & _IS_IN_A_FILE:
                body = _out_of_the_file(fds.pop())
            yield Message(Kind(kind & ~_IS_IN_A_FILE), target, number, note, fds[0] if fds else -1, body)

    def close(self) -> None:
        """Close both ends."""
        with contextlib.suppress(OSError):
            self._inside.close()
            self._outside.close()


def _in_a_file(body: bytes) -> int:
    """A descriptor of a file of memory that holds the body; the caller's to close."""
    fd = os.memfd_create("pgmux message", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(body)
    return fd


def _out_of_the_file(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)  # the sender's position is ours too
        return file.read()
