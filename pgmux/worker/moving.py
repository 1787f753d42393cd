"""Moving: a worker's clients go to other workers, and others' come; nobody notices.

A drain is for one worker's replacement: it takes no newcomer in any more but hands each to another, hands its
idle clients over with their sessions, the busy ones as soon as their transaction has ended, and leaves when it
has none. Who cannot go (who listens, keeps a backend, or is pgmux's own) stays until it leaves or drain_timeout
is over. Where there is no other worker the clients are left in this one's own mailbox, to its successor.

A worker that has far more clients than another (it stood in for one that was away, or theirs have left) *evens out*:
it hands idle ones over, a few at each tick. It begins once it is twice as far ahead as a newcomer would be sent on for,
and has been for a while; it goes on until it is no further ahead than that. Each handing over leaves the heir with
fewer than the giver still has, so nothing goes to and fro.

Where a successor with another layout takes over (supervisor/regent.py), the clients *emigrate*: each in turn goes to
one of its workers, which has another segment, and so takes along what its record tells.

Which process owns a client at every instant:

    1. the giver       packs it, idle; names the heir and itself in the record's owner word
    2. on its way      nobody reads its socket; CLIENT lies in the heir's mailbox; the giver closes its copy
    3. the heir        takes the giver's name out of the word, counts it in the pool, reads its socket

What a death in between does is said, with the reasons why no answer can go astray, in relay/moving.pyx.
"""

import contextlib
import logging
import math
import os
import time

import msgspec

from pgmux.protocol.messages import decode_text
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.parcel import Parcel, open_parcel, pack_parcel
from pgmux.session.refusals import Refusal
from pgmux.shm.clients import Clients
from pgmux.shm.pools import Pools
from pgmux.shm.tenancies import PoolsExhausted
from pgmux.shm.workers import WorkerState
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.tenants import Tenants

APART, APART_PER = 3, 32  # clients more than another, and one in so many: as in relay/loop.worthier
_UNEVEN_FOR_SECONDS = 2.0  # before anything is done: who comes for a moment leaves by itself
_EVENED_A_TICK = 5  # of four ticks a second
_TRIED_A_TICK = 50
_SILENT_US = 500_000  # an heir that has missed a heartbeat may be stopped


class Moving:
    """One worker's part in the moves of clients."""

    def __init__(
        self,
        worker: int,
        pools: Pools,
        records: Clients,
        mailboxes: list[Mailbox],
        landings: list[Mailbox],
    ) -> None:
        """`mailboxes`: one a worker, then the vault's. `landings`: one a worker of a successor."""
        self.relay: Relay
        self.tenants: Tenants
        self.is_draining = False
        self._worker = worker
        self._workers = pools.workers
        self._records = records
        self._mailboxes = mailboxes
        self._landings = landings
        self._next_landing = worker  # by turns, so that each of them has as many clients of each of us
        self._is_emigrating = False
        self._deadline = 0.0  # time.monotonic()
        self._moved = 0
        self._uneven_since = math.inf  # time.monotonic()
        self._is_evening = False
        self._tried = 0  # places in the list of our clients, by turns
        self._log = logging.getLogger(f"worker {worker}")

    @property
    def is_at_work(self) -> bool:
        """Nothing here switches."""
        return False

    @property
    def is_alone(self) -> bool:
        """Whether no other worker can take our clients: then they wait in our mailbox for our successor."""
        return self._workers.find_lightest(self._worker) is None

    # --- away from here

    def drain(self, timeout_s: float) -> None:
        """Hand all clients over, now or when they can go, until the deadline; 0 = there is none."""
        if self.is_draining:
            return
        self.is_draining = True
        self._deadline = time.monotonic() + timeout_s if timeout_s else 0.0
        self._workers.enter(self._worker, WorkerState.DRAINING)
        self._log.info("draining: %d clients go to other workers", self.relay.client_count)
        self.relay.moves_out = True
        if self.is_alone:
            self.relay.stop_accepting()
        self.move_all()

    def emigrate(self, timeout_s: float) -> None:
        """As `drain`, but to workers that have another segment."""
        self._is_emigrating = True
        self.drain(timeout_s)
        self.move_all()

    def stay(self) -> None:
        """Move nobody any more: pgmux stops, and each worker sends its own off."""
        self.is_draining = False
        self.relay.moves_out = False

    def move_all(self) -> None:
        """Hand over every client that can go now."""
        for client in self.relay.every_client():
            if not self.move(client):
                break

    def move(self, client: Client) -> bool:
        """Hand a client over, if it can go now. False = there is no room for it; try again."""
        parcel = self.relay.pack(client, with_card=self._is_emigrating)
        if parcel is None:
            return True
        try:
            body = pack_parcel(parcel)
        except UnicodeEncodeError:
            client.stays = True
            self.relay.serve_again(client)
            return True
        if not (self._ship(client, body) if self._is_emigrating else self._hand_over(client, body)):
            return False
        self._moved += 1
        return True

    def _hand_over(self, client: Client, body: bytes) -> bool:
        heir = self._workers.find_lightest(self._worker)
        if heir is None:
            heir = self._worker
        if not self._records.hand_over(client.record, self._worker, heir):
            return True
        self._workers.expect(heir, 1)
        message = Message(Kind.CLIENT, client.record, 0, self._worker, client.fd, body)
        if not self._mailboxes[heir].send(message):
            self._workers.expect(heir, -1)
            self._records.take_back(client.record, self._worker, heir)
            return False
        self.relay.let_go(client)
        return True

    def _ship(self, client: Client, body: bytes) -> bool:
        """The record says that the client has gone over before its socket is sent: whoever has that has the client."""
        if not self._records.send_over(client.record, self._worker):
            return True
        self._next_landing = (self._next_landing + 1) % len(self._landings)
        message = Message(Kind.CLIENT, client.record, 0, self._worker, client.fd, body)
        if not self._landings[self._next_landing].send(message):
            self._records.call_back(client.record, self._worker)
            return False
        self._records.has_gone_over(client.record, self._worker)
        self.relay.let_go(client)
        return True

    def pass_on(self, fd: int, heir: int) -> None:
        """A connection was accepted here that another worker is to have."""
        if self._mailboxes[heir].send(Message(Kind.NEWCOMER, 0, fd=fd)):
            os.close(fd)
        else:
            self._workers.expect(heir, -1)
            self.relay.take_newcomer(fd)

    def tick(self) -> None:
        """Several times a second."""
        if self.is_draining:
            self.move_all()
        else:
            self._even_out()

    def _even_out(self) -> None:
        """Hand a few idle clients over, if we have had far more than another for a while."""
        if not self._is_ahead(1 if self._is_evening else 2):
            self._is_evening, self._uneven_since = False, math.inf
            return
        self._uneven_since = min(self._uneven_since, time.monotonic())
        if time.monotonic() - self._uneven_since < _UNEVEN_FOR_SECONDS:
            return
        self._is_evening = True
        clients, goal = self.relay.every_client(), self._moved + _EVENED_A_TICK
        for _ in range(min(_TRIED_A_TICK, len(clients))):
            self._tried = (self._tried + 1) % len(clients)
            if self._moved == goal or not self._is_ahead(1) or not self.move(clients[self._tried]):
                return

    def _is_ahead(self, times: int) -> bool:
        """Whether we have more clients than the worker with fewest, by so many times what is let be."""
        own = self.relay.client_count
        if own <= APART * times:
            return False
        heir = self._workers.find_lightest(self._worker)
        if heir is None or self._workers.silence_us(heir) > _SILENT_US:
            return False
        return own > self._workers.load(heir) + times * (APART + own // APART_PER)

    def is_overdue(self) -> bool:
        """Whether those who could not go have had their time."""
        return self.is_draining and 0 < self._deadline < time.monotonic()

    def take_leave(self) -> None:
        """The last word of a drain."""
        self._log.info("drained: %d clients were handed over", self._moved)

    # --- and here

    def take_newcomer(self, fd: int) -> None:
        """A connection that another worker has accepted."""
        self._workers.expect(self._worker, -1)
        self.relay.take_newcomer(fd)

    def take_up(self, message: Message) -> None:
        """A client that another worker has handed over."""
        self._workers.expect(self._worker, -1)
        if message.fd < 0:  # no descriptor was free here, so the kernel has closed its socket: see unix(7)
            self._log.error("a client of worker %d is lost: no descriptor is free", message.note)
            self._records.disown(message.target, message.note, self._worker)
            return
        try:
            parcel = open_parcel(message.body)
        except msgspec.DecodeError as error:
            self._log.error("a client of worker %d cannot be served here: %s", message.note, error)
            os.close(message.fd)
            self._records.disown(message.target, message.note, self._worker)
            return
        client = self.relay.take_up(message.target, message.note, message.fd, parcel)
        if client is not None:
            self._seat(client, parcel, (parcel.pool, parcel.tenancy))

    def land(self, message: Message) -> None:
        """A client that a worker of another segment has sent."""
        if message.fd < 0:
            self._log.error("a client of our predecessor is lost: no descriptor is free")
            self._records.free_away(message.target)
            return
        try:
            parcel = open_parcel(message.body)
        except msgspec.DecodeError as error:
            self._log.error("a client of our predecessor cannot be served here: %s", error)
            os.close(message.fd)
            self._records.free_away(message.target)
            return
        client = self.relay.land(message.target, message.fd, parcel)
        if client is not None:
            self._seat(client, parcel, None)

    def _seat(self, client: Client, parcel: Parcel, place: tuple[int, int] | None) -> None:
        """Count the client in its pool, whose record may have been given to others while it was on its way; None =
        its pool was another segment's."""
        try:
            while place is None or not self.relay.try_join(client, *place):
                place = self.tenants.place_of_own(decode_text(parcel.database), decode_text(parcel.user))
        except (PoolsExhausted, KeyError):
            self.relay.send_off(client, Refusal.SHUTTING_DOWN.build())
            return
        with contextlib.suppress(KeyError):  # a reload took its database away: who is in goes on as before
            self.tenants.settings(place[0])
        self.relay.serve_on(client)
