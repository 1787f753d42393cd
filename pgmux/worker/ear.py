"""An ear: the one backend of a database that listens for all, in the worker that holds it.

Two greenlets. One *hears*: it opens the connection, reads what PostgreSQL says, and passes
notifications on to the workers that want their channel, this one included, each by its mailbox.
The other *speaks*: one batch of LISTEN and UNLISTEN at a time (worker/demand.py).

Nothing is lost to a worker that is slow: while its mailbox is full the ear reads no more, and
PostgreSQL keeps what it has to say in its own queue. There is no deadlock in that: who reads a
mailbox of this kind never waits for room in another, and who speaks does not keep us from reading.

A backend that is lost is replaced at once, then as often as server_login_retry allows; the new one is
told to listen to everything, and every worker that some notifications may have been missed. A silent
backend is asked now and then whether it is still there: nothing else would tell when its host is gone.
"""

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import gevent
from gevent.event import Event

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import (
    build_message,
    build_terminate,
    channel_of,
    cut_messages,
    parse_error_fields,
)
from pgmux.relay.tls_context import TlsError
from pgmux.session.backend_login import BackendLogin
from pgmux.shm.ears import Ears
from pgmux.worker.channel import Channel
from pgmux.worker.connecting import OpenError
from pgmux.worker.demand import Batch, Demand, Question
from pgmux.worker.mailbox import Kind, Mailbox, Message

PROBE_SECONDS = 20.0  # of silence, then the backend is asked; after as many more it is given up
_PACKET_BYTES = 16_000  # of notifications in one message, unless one alone is longer
_MAX_MESSAGE_BYTES = 1 << 20
_MESSAGES_A_TURN = 200  # then the worker's relay has its turn
_FULL_SECONDS = 0.001  # how long to leave a full mailbox alone

# A role or database may limit how long sessions wait or statements take. PostgreSQL knows which there are.
_UNLIMITED = Batch(
    b"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN"
    b" ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout')"
)
_PROBE = Batch(b"")


class Keeper(Protocol):
    """What an ear wants of the worker that holds it."""

    log: logging.Logger

    def log_in(self, ear: int) -> tuple[Channel, BackendLogin]:
        """A new connection that has logged in. Raises OpenError. May switch."""

    def retry_seconds(self) -> float:
        """How long to wait after PostgreSQL refused something: server_login_retry."""

    def count_loss(self, ear: int) -> None:
        """A backend that listened is gone."""

    def give_way(self) -> None:
        """Let the worker's relay serve what has come. Switches."""


class _EarLost(Exception):  # noqa: N818 -- an event, not a fault
    """The backend is gone; the text says why, or how it was found out."""


class Ear:
    """The ear of one database, while this worker holds it."""

    def __init__(
        self, number: int, epoch: int, place: str, table: Ears, mailboxes: list[Mailbox], keeper: Keeper
    ) -> None:
        """`place` is for the log; `mailboxes` are those for LISTEN, one a worker."""
        self.number = number
        self.epoch = epoch
        self.unwanted_since = time.monotonic()
        self.is_busy = True  # waits for something that the hub's epoll may not know of yet
        self._table = table
        self._mailboxes = mailboxes
        self._keeper = keeper
        self._place = place
        self._log = keeper.log
        self._demand = Demand()
        self._batch: Batch | None = None  # said, and not answered yet
        self._said_at = 0.0  # time.monotonic()
        self._refusal = ""  # of the batch, by an ErrorResponse
        self._complaint = ""  # what was logged last
        self._was_refused = False  # the last batch
        self._has_served = False  # this backend has answered something
        self._has_missed = False  # a backend was lost, and not all is listened to again
        self._is_probing = False
        self._something_to_say = Event()
        self._answered = Event()
        self._unsent: defaultdict[int, bytearray] = defaultdict(bytearray)  # notifications, by worker
        self._greenlet = gevent.spawn(self._live)

    # --- called by Listening; never switches

    def listen(self, worker: int, number: int, channels: tuple[bytes, ...]) -> None:
        """A worker wants these channels, and an answer to its question of that number."""
        self._demand.listen(Question(worker, number, channels))
        self._something_to_say.set()

    def unlisten(self, worker: int, channels: tuple[bytes, ...]) -> None:
        """A worker does not want these channels any more."""
        self._demand.unlisten(worker, channels)
        self._note_demand()

    def forget(self, worker: int) -> None:
        """A worker has died."""
        self._demand.forget(worker)
        self._note_demand()

    def is_unwanted_for(self, seconds: float) -> bool:
        """Whether nobody has wanted anything of it for so long."""
        return not self._demand.wanting and time.monotonic() - self.unwanted_since > seconds

    def close(self) -> None:
        """End its connection. Nobody hears of it any more."""
        self._greenlet.kill(block=False)

    def _note_demand(self) -> None:
        if not self._demand.wanting:
            self.unwanted_since = time.monotonic()
        self._something_to_say.set()

    # --- hearing

    def _live(self) -> None:
        while True:
            try:
                self._converse()
            except OpenError as error:
                self._complain("cannot listen in %s: %s", str(error))
            except _EarLost as lost:
                self._lose(str(lost))
                if self._has_served:
                    continue  # at once
            except Exception:
                self._log.exception("listening in %s failed", self._place)
                self._lose("pgmux failed, its log says why")
            self.is_busy = False
            self._wait_to_retry()

    def _wait_to_retry(self) -> None:
        gevent.sleep(max(self._keeper.retry_seconds(), _FULL_SECONDS))

    def _converse(self) -> None:
        """One backend's life. Raises OpenError or _EarLost at its end."""
        self.is_busy, self._has_served = True, False
        channel, login = self._keeper.log_in(self.number)
        self._table.introduce(self.number, login.pid)
        self._demand.begin_again()
        self._answered.clear()
        speaker = gevent.spawn(self._speak, channel)
        try:
            self._hear(channel)
        except (OSError, TlsError, BackendProtocolError) as error:
            raise _EarLost(str(error)) from None
        finally:
            speaker.kill()  # it may say one batch more: what that was to do is done again, see _lose
            channel.part(build_terminate())

    def _hear(self, channel: Channel) -> None:
        buffer = bytearray()
        heard = 0  # messages since others had their turn
        channel.settimeout(PROBE_SECONDS)
        while True:
            try:
                data = channel.recv()
            except TimeoutError:
                self._probe()
                continue
            if not data:
                raise _EarLost(self._refusal or "the connection was closed")
            buffer += data
            messages = cut_messages(buffer, _MAX_MESSAGE_BYTES, BackendProtocolError)
            for message in messages:
                self._take(message)
            self._pass_on()
            heard += len(messages)
            if heard >= _MESSAGES_A_TURN:
                heard = 0
                self._keeper.give_way()

    def _probe(self) -> None:
        """Nothing has come for PROBE_SECONDS."""
        if self._batch is not None and time.monotonic() - self._said_at >= PROBE_SECONDS:
            raise _EarLost(f"no answer within {PROBE_SECONDS:g}s")
        self._is_probing = True
        self._something_to_say.set()

    def _take(self, message: bytes) -> None:
        match message[:1]:
            case b"A":
                self._notify(message)
            case b"Z":
                self._pass_on()  # what was committed before comes before the answer
                self._settle()
            case b"E":
                error = parse_error_fields(message[5:])
                self._refusal = f"{error.get('sqlstate', 'XX000')}: {error.get('message', '')}"

    def _notify(self, message: bytes) -> None:
        # Of a copy: they may become more or fewer while we wait for room in a mailbox.
        for worker in tuple(self._demand.wanting.get(channel_of(message), ())):
            if len(self._unsent[worker]) + len(message) > _PACKET_BYTES:
                self._pass_on(worker)
            self._unsent[worker] += message

    def _pass_on(self, only: int | None = None) -> None:
        """Send the workers, or one, what has come for them."""
        for worker in list(self._unsent) if only is None else [only]:
            if unsent := self._unsent.pop(worker, None):
                self._send(worker, Message(Kind.NOTIFY, self.number, body=bytes(unsent)))

    def _send(self, worker: int, message: Message) -> None:
        """Into a worker's mailbox, however long it takes, unless the worker dies."""
        while worker in self._demand.wanted and not self._mailboxes[worker].send(message):
            self.is_busy = True
            gevent.sleep(_FULL_SECONDS)
            self.is_busy = False

    def _settle(self) -> None:
        """The batch is answered."""
        batch, self._batch = self._batch, None
        refusal, self._refusal = self._refusal, ""
        if batch is None:
            raise _EarLost("it answered what was not asked")
        self._was_refused = bool(refusal)
        if refusal:
            self._demand.fail(batch)
            self._complain("cannot listen to all channels in %s: %s", refusal)
        else:
            self._has_served = batch is not _UNLIMITED
            if self._has_served and self._demand.is_met:
                self._complaint = ""
                self._tell_of_losses()
            for question in self._demand.settle(batch):
                self._send(question.worker, Message(Kind.LISTENING, self.number, question.number))
        self.is_busy = False
        self._table.count_channels(self.number, len(self._demand.listened))
        self._answered.set()

    # --- losses

    def _lose(self, reason: str) -> None:
        batch, self._batch, self._refusal = self._batch, None, ""
        self._unsent.clear()  # of a loss in the middle of a chunk: nothing whole is left behind otherwise
        self._has_missed = self._has_missed or bool(self._demand.listened)
        if batch is not None:
            self._demand.fail(batch)
        self._table.lose(self.number)
        self._keeper.count_loss(self.number)
        self._complain(
            "the backend that listens in %s is gone (%s): notifications may be missed until it is replaced",
            reason,
        )

    def _tell_of_losses(self) -> None:
        """All is listened to, perhaps again."""
        if not self._has_missed:
            return
        self._has_missed = False
        count = len(self._demand.listened)
        self._log.warning(
            "listening again in %s, to %d channels: notifications may have been missed", self._place, count
        )
        for worker in list(self._demand.wanted):
            self._send(worker, Message(Kind.MISSED, self.number))

    def _complain(self, message: str, reason: str) -> None:
        """Log a trouble, once for as long as it stays the same."""
        if reason != self._complaint:
            self._log.warning(message, self._place, reason)
        self._complaint = reason

    # --- speaking

    def _speak(self, channel: Channel) -> None:
        """One batch after the other, for as long as the connection lasts."""
        with contextlib.suppress(OSError, TlsError), _channel_ended(channel):
            self._say(channel, _UNLIMITED)
            while True:
                batch = self._demand.compose()
                if batch is None and self._is_probing:
                    batch = _PROBE
                self._is_probing = False
                if batch is not None:
                    self._say(channel, batch)
                else:
                    self._something_to_say.wait()
                    self._something_to_say.clear()

    def _say(self, channel: Channel, batch: Batch) -> None:
        self._answered.clear()
        self._batch, self._said_at = batch, time.monotonic()
        channel.sendall(build_message(b"Q", batch.sql + b"\0"))
        self._answered.wait()
        if self._was_refused:
            self._wait_to_retry()


@contextlib.contextmanager
def _channel_ended(channel: Channel) -> Iterator[None]:
    """Whatever ends what is done here, whoever reads from the channel finds its end."""
    try:
        yield
    finally:
        channel.shut()
