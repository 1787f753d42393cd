"""The porter: takes in what other processes of this pgmux send to a worker; worker/mailbox.py draws each message."""

import os
from collections.abc import Callable, Mapping

from pgmux.session.traces import learn
from pgmux.worker.mailbox import Kind, Message
from pgmux.worker.staff import Staff


class Porter:
    """One worker's porter."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self._mailboxes = staff.estate.mailboxes
        self._does: Mapping[Kind, Callable[[Message], None]] = {
            Kind.SOCKET: self._take_socket,
            Kind.CANCEL: self._cancel,
            Kind.FUNCTIONS: self._learn,
            Kind.GIVE_UP: lambda message: staff.relay.give_up(message.target, message.number),
            Kind.CLIENT: self._take_client,
            Kind.NEWCOMER: lambda message: staff.moving.take_newcomer(message.fd),
            Kind.KILL: lambda message: staff.bailiff.send_off(message.target, message.number),
        }

    def collect(self) -> None:
        """There are messages in the mailbox."""
        for message in self._mailboxes[self._staff.number].collect():
            if (do := self._does.get(message.kind)) is not None:
                do(message)

    def land(self) -> None:
        """Clients of our predecessor's workers come."""
        for message in self._staff.estate.harbours[self._staff.number].collect():
            self._staff.moving.land(message)
            self._staff.bailiff.look_at(message.target)

    def fetch(self, slot: int) -> None:
        """We have leased a slot, or are to end it, without its socket: it is in our mailbox, or the vault sends it."""
        self.collect()
        if self._staff.relay.is_awaited(slot):
            self._mailboxes[-1].send(Message(Kind.FETCH, slot, 0, self._staff.number))

    def learn(self, pool: int, names: tuple[bytes, ...]) -> None:
        """Functions of a pool's database leave something behind: texts that name one are looked at from now on."""
        relay = self._staff.relay
        relay.lobby(pool).is_unstudied = False
        place = self._staff.pools.tenancies.names(pool)
        own = {name.decode("utf-8", "surrogateescape") for name in names if b"." in name}
        relay.own_settings = relay.own_settings.union(own)
        if (new := learn(name for name in names if b"." not in name)) and place is not None:
            self._staff.journal.learnt(place[1].decode("utf-8", "replace"), new)

    def teach(self, pool: int, names: tuple[bytes, ...]) -> None:
        """Have the other workers learn the same."""
        for number, mailbox in enumerate(self._mailboxes[:-1]):
            if number != self._staff.number:
                mailbox.send(Message(Kind.FUNCTIONS, pool, body=b"\0".join(names)))

    def _take_socket(self, message: Message) -> None:
        relay = self._staff.relay
        if message.fd >= 0:
            relay.adopt_socket(message.target, message.number, message.fd)
        if message.note and (message.fd >= 0 or not message.number):
            relay.has_no_socket(message.target)  # else there was no descriptor free to take it in
        self._staff.reception.admit_the_welcome()

    def _cancel(self, message: Message) -> None:
        self._staff.canceller.cancel(message.target, message.body)
        if message.fd >= 0:
            os.close(message.fd)

    def _learn(self, message: Message) -> None:
        self.learn(message.target, tuple(message.body.split(b"\0")))

    def _take_client(self, message: Message) -> None:
        self._staff.moving.take_up(message)
        self._staff.bailiff.look_at(message.target)
