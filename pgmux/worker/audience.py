"""A worker's audience: those of its clients that listen in one database, and to which channels.

No I/O: what is to be asked of the ear is given as messages for its holder.

A client *wants* the channels it last subscribed to. It *hears* one of them from the moment at which
the ear has answered the question that was asked for it, no sooner, even when others hear it already:
what the ear says before that answer was committed before the client's LISTEN. Answers come in one
stream with the notifications.

When the ear has changed hands (`renew`) everything is asked anew. Who heard something goes on to
hear it, but may have missed some meanwhile, and is to be told so when the last question is answered.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pgmux.worker.mailbox import Kind, Message

_BODY_BYTES = 16_000  # of the channels in one message
_EPOCH = struct.Struct("!Q")
_LIFE_BITS = 32  # a question's number is its asker's life and a count

Done = Callable[[], None]


@dataclass(slots=True, eq=False)
class Member:
    """A client that listens."""

    record: int
    channels: frozenset[bytes] = frozenset()  # what it wants
    unanswered: int = 0  # questions asked for it
    waiting: list[Done] = field(default_factory=list)  # to be called when there are none


@dataclass(slots=True, eq=False)
class _Inquiry:
    """One question, or several where the channels do not fit into one."""

    asked_for: list[tuple[Member, frozenset[bytes]]]
    is_renewal: bool
    unanswered: int  # of its questions


class Audience:
    """One worker's audience in one database."""

    def __init__(self, ear: int, pool: int, worker: int, life: int) -> None:
        """`life` tells the worker from those that had its number before."""
        self.ear = ear
        self.pool = pool  # of the client that came first
        self.holder = -1  # the worker that is asked, and the epoch in which it holds the ear
        self.epoch = 0
        self._worker = worker
        self._life = life << _LIFE_BITS
        self._asked = 0
        self._members: dict[int, Member] = {}
        self._wanted: Counter[bytes] = Counter()  # clients that want it, by channel
        self._hearing: dict[bytes, set[int]] = {}  # records, by channel
        self._questions: dict[int, _Inquiry] = {}  # by number
        self._missed: set[int] = set()  # records that are to hear that they may have missed some

    def __len__(self) -> int:
        """How many clients listen."""
        return len(self._members)

    def channels_of(self, record: int) -> frozenset[bytes]:
        """What a client wants."""
        member = self._members.get(record)
        return member.channels if member else frozenset()

    def hearing(self, channel: bytes) -> set[int]:
        """The records of those who hear a channel; not to be changed."""
        return self._hearing.get(channel, set())

    def subscribe(self, record: int, channels: frozenset[bytes], done: Done) -> list[Message]:
        """A client wants exactly these channels. Gives what is to be asked; `done` when that is answered."""
        member = self._members.setdefault(record, Member(record))
        added = channels - member.channels
        messages = self._drop(member, member.channels - channels)
        member.channels = channels
        self._wanted.update(added)
        if added:
            member.unanswered += 1
            messages += self._ask(added, [(member, added)])
        member.waiting.append(done)
        self._call_if_answered(member)
        return messages

    def catch_up(self, record: int, done: Done) -> list[Message]:
        """Ask the ear nothing but an answer: by then a client has heard all that is committed now."""
        member = self._members.get(record)
        if member is None:
            done()
            return []
        member.unanswered += 1
        member.waiting.append(done)
        return self._ask((), [(member, frozenset())])

    def forget(self, record: int) -> list[Message]:
        """A client is gone. What it waited for is not called any more."""
        member = self._members.pop(record, None)
        if member is None:
            return []
        messages = self._drop(member, member.channels)
        member.channels = frozenset()
        member.waiting.clear()
        self._missed.discard(record)
        return messages

    def take_waiting(self, record: int) -> list[Done]:
        """What a client waits for, which is the caller's affair from now on."""
        member = self._members.get(record, Member(record))
        waiting, member.waiting = member.waiting, []
        return waiting

    def renew(self, holder: int, epoch: int) -> list[Message]:
        """The ear has another holder, or the same once more: ask it for everything."""
        self.holder, self.epoch = holder, epoch
        self._missed.update(*self._hearing.values())
        self._questions.clear()
        asked_for = []
        for member in self._members.values():
            if member.unanswered:
                member.unanswered = 1
                asked_for.append((member, member.channels))
        return self._ask(self._wanted, asked_for, is_renewal=True) if self._members else []

    def answer(self, number: int) -> list[int]:
        """The ear has answered a question. Gives the records of those who may have missed something."""
        inquiry = self._questions.pop(number, None)
        if inquiry is None:
            return []  # it was asked in an earlier epoch, or by one who had our number before
        inquiry.unanswered -= 1
        if inquiry.unanswered:
            return []
        for member, channels in inquiry.asked_for:
            for channel in channels & member.channels:
                self._hearing.setdefault(channel, set()).add(member.record)
            member.unanswered -= 1
        warned = sorted(self._missed) if inquiry.is_renewal else []
        self._missed.difference_update(warned)
        for member, _ in inquiry.asked_for:
            self._call_if_answered(member)
        return warned

    def everybody(self) -> list[int]:
        """The records of all who hear something."""
        return sorted(set().union(*self._hearing.values()))

    def _call_if_answered(self, member: Member) -> None:
        if member.unanswered:
            return
        waiting, member.waiting = member.waiting, []
        if not member.channels and self._members.get(member.record) is member:
            del self._members[member.record]
        for done in waiting:
            done()

    def _ask(
        self,
        channels: Iterable[bytes],
        asked_for: list[tuple[Member, frozenset[bytes]]],
        *,
        is_renewal: bool = False,
    ) -> list[Message]:
        """Ask to listen to these, in as many questions as it takes."""
        bodies = _packed(channels) or [b""]
        inquiry = _Inquiry(asked_for, is_renewal, len(bodies))
        messages = []
        for body in bodies:
            self._asked += 1
            number = self._life | self._asked
            self._questions[number] = inquiry
            messages.append(self._message(Kind.LISTEN, number, body))
        return messages

    def _drop(self, member: Member, channels: frozenset[bytes]) -> list[Message]:
        """A member hears these no more. What nobody wants is not listened to any longer."""
        unwanted = []
        for channel in channels:
            hearing = self._hearing.get(channel, set())
            hearing.discard(member.record)
            if not hearing:
                self._hearing.pop(channel, None)
            self._wanted[channel] -= 1
            if not self._wanted[channel]:
                del self._wanted[channel]
                unwanted.append(channel)
        return [self._message(Kind.UNLISTEN, self._life, body) for body in _packed(unwanted)]

    def _message(self, kind: Kind, number: int, body: bytes) -> Message:
        return Message(kind, self.ear, number, self._worker, body=_EPOCH.pack(self.epoch) + body)


def _packed(channels: Iterable[bytes]) -> list[bytes]:
    """Channels as the bodies of messages."""
    bodies: list[bytes] = []
    for channel in channels:
        if bodies and len(bodies[-1]) + len(channel) < _BODY_BYTES:
            bodies[-1] += b"\0" + channel
        else:
            bodies.append(channel)
    return bodies


def read_request(message: Message) -> tuple[int, int, tuple[bytes, ...]]:
    """(the asker's life, the epoch it speaks of, channels) of a LISTEN or UNLISTEN."""
    (epoch,) = _EPOCH.unpack_from(message.body)
    names = message.body[_EPOCH.size :]
    return message.number >> _LIFE_BITS, epoch, tuple(names.split(b"\0")) if names else ()
