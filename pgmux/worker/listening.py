"""LISTEN and NOTIFY, served: ten thousand clients that listen cost PostgreSQL one backend.

Of each database one worker holds the *ear*, a backend that listens for the clients of all workers.
It is not one of any pool's and does not count against max_backends: a LISTEN must not have to wait
for a backend that its own client may be holding. Each worker keeps its own clients' books (the
*audience*) and asks the holder for what they want:

    client's worker                     holder of the ear                      PostgreSQL
      subscribe  ----- LISTEN ----------> demand ---------- LISTEN "a"; … -------->
                                            <-------------- ReadyForQuery ---------
      done()     <---- LISTENING --------
      notify     <---- NOTIFY ----------- wanting["a"] <--- NotificationResponse --

Everything goes through mailboxes, even from a worker to itself, and one greenlet a worker reads them
(`_read_mailbox`): so a client gets its notifications in PostgreSQL's order, and an answer divides
what came before a LISTEN from what came after it, without any other care being taken.

Who holds an ear is a word in shared memory (shm/ears.pyx). Whoever wants to listen where nobody does
claims it. When the holder dies the supervisor takes it away and asks all to `look`: the first who
still wants to listen there claims it, the others see a new epoch, and each asks the new holder for
everything again. A request that reaches the wrong worker, or the right one in another epoch, is
dropped there: who sent it has asked anew by then, or is about to look. A question's number holds the
asker's life (how often the worker was replaced), so a successor is never taken for the dead.
"""

import logging
import os
from collections import Counter

import gevent
from gevent.hub import get_hub

from pgmux.config import Config
from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import channel_of, cut_messages
from pgmux.relay.relay import Relay
from pgmux.session.backend_login import BackendLogin
from pgmux.session.notices import Notice
from pgmux.shm.counters import CounterTable
from pgmux.shm.ears import Ears
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand
from pgmux.worker.audience import Audience, Done, read_request
from pgmux.worker.channel import Channel
from pgmux.worker.connecting import Connector, OpenError
from pgmux.worker.ear import Ear
from pgmux.worker.mailbox import LONGEST_BODY, Kind, Mailbox, Message
from pgmux.worker.outbox import Outbox
from pgmux.worker.tenants import Tenants

APPLICATION_NAME = "pgmux listening"
_HANDED_A_TURN = 200  # notifications, then the worker's relay has its turn
_A_TURN = 1e-6


class Listening:
    """One worker's part in LISTEN and NOTIFY."""

    def __init__(
        self,
        worker: int,
        config: Config,
        connector: Connector,
        pools: Pools,
        counters: CounterTable,
        mailboxes: list[Mailbox],
    ) -> None:
        """`mailboxes`: those for LISTEN, one a worker."""
        self.relay: Relay
        self.tenants: Tenants
        self._worker = worker
        self._config = config
        self._connector = connector
        self._pools = pools
        self._counters = counters
        self._mailboxes = mailboxes
        self._outbox = Outbox(mailboxes)
        self._table = Ears(pools.segment)
        self._lives = [self._life_of(number) for number in range(len(mailboxes))]
        self._ear_numbers: dict[tuple[int, int], int] = {}  # by pool and its tenancy
        self._audiences: dict[int, Audience] = {}  # by ear
        self._subscribed: dict[int, tuple[int, int]] = {}  # by record, once it has: (pool, ear)
        self._held: dict[int, Ear] = {}  # the ears that are ours, by number
        self._refusals: Counter[int] = Counter()  # log-ins that failed, by ear
        self._handed = 0
        self._giving_way = 0  # greenlets that have more to do at once
        self.log = logging.getLogger(f"worker {worker}")

    # --- for clients; these never switch

    def subscribe(self, record: int, pool: int, channels: frozenset[bytes], done: Done) -> None:
        """From now on a client of this worker listens to exactly these channels, empty = none.

        Channels are named as PostgreSQL has them. `done` is called when whatever is committed from
        then on will be delivered: at once when there is nothing new to listen to, else however long
        it takes to reach PostgreSQL.
        """
        if any(not channel or b"\0" in channel for channel in channels):
            raise ValueError(f"no such channels can be: {channels!r}")
        audience = self._audience_of(pool)
        dropped = audience.channels_of(record) - channels
        if channels - audience.channels_of(record):
            self._follow(audience)
        self._subscribed[record] = pool, audience.ear
        if dropped:
            self.relay.drop_notifications(record, dropped)
        self._outbox.post(audience.holder, audience.subscribe(record, channels, done))

    def catch_up(self, record: int, done: Done) -> None:
        """Call `done` when a client has been handed all notifications that are committed by now.

        PostgreSQL tells a session of its own notifications before the transaction's ReadyForQuery.
        """
        if record not in self._subscribed:
            done()
            return
        _, ear = self._subscribed[record]
        audience = self._audiences[ear]
        self._outbox.post(audience.holder, audience.catch_up(record, done))

    def forget(self, record: int) -> None:
        """A client of this worker is gone. What it waited for is not called any more."""
        if record in self._subscribed:
            _, ear = self._subscribed.pop(record)
            audience = self._audiences[ear]
            self._outbox.post(audience.holder, audience.forget(record))

    # --- for the worker

    def start(self) -> None:
        """Read our mailbox from now on."""
        gevent.spawn(self._read_mailbox)

    @property
    def is_in_haste(self) -> bool:
        """Whether a greenlet has more to do as soon as the relay has had its turn."""
        return self._giving_way > 0

    @property
    def is_at_work(self) -> bool:
        """Whether some ear of ours waits for something that is sure to come soon."""
        return self._outbox.is_waiting or any(ear.is_busy for ear in self._held.values())

    def reconfigure(self, config: Config) -> None:
        """After a reload: a database may be at another place."""
        self._config = config
        self._ear_numbers.clear()
        for record, (pool, ear) in list(self._subscribed.items()):
            if self._ear_of(pool) != ear:
                self._move(record, pool, self._audiences[ear])

    def look(self) -> None:
        """A worker has died, or an ear has changed hands."""
        self._heed_deaths()
        for audience in self._audiences.values():
            if len(audience):
                self._follow(audience)

    def tick(self) -> None:
        """Several times a second: let go of ears that nobody has wanted for server_idle_timeout."""
        self._pools.workers.count_listening(self._worker, sum(map(len, self._audiences.values())))
        limit = self._config.pgmux.server_idle_timeout
        for number, ear in list(self._held.items()):
            if limit and ear.is_unwanted_for(limit):
                ear.close()
                del self._held[number]
                self._table.release(number, self._worker)
                self._pools.workers.send_all_on_errand(Errand.LOOK_AT_EARS)

    # --- for our ears

    def log_in(self, ear: int) -> tuple[Channel, BackendLogin]:
        """A connection for an ear: as the user whose client came first, and where that one is not let in, as
        the other pools' in turn. Raises OpenError. May switch."""
        first = self._audiences[ear].pool
        pools = [first, *(set(self._pools_of(ear)) - {first})]
        settings = self.tenants.settings(pools[self._refusals[ear] % len(pools)])
        try:
            return self._connector.connect(
                settings,
                application_name=APPLICATION_NAME,
                client_encoding="SQL_ASCII",  # channels and payloads as PostgreSQL has them
            )
        except OpenError:
            self._refusals[ear] += 1
            raise

    def retry_seconds(self) -> float:
        """server_login_retry."""
        return self._config.pgmux.server_login_retry

    def count_loss(self, ear: int) -> None:
        """A backend that listened is gone: with those of the pool that asked first."""
        self._counters.add(self._worker, self._audiences[ear].pool, "ears_lost")

    def give_way(self) -> None:
        """Let the relay serve what has come. By a timer: what is only called back may not wait for it."""
        self._giving_way += 1
        try:
            gevent.sleep(_A_TURN)
        finally:
            self._giving_way -= 1

    # --- which ear, and who holds it

    def _audience_of(self, pool: int) -> Audience:
        ear = self._ear_of(pool)
        if ear not in self._audiences:
            self._audiences[ear] = Audience(ear, pool, self._worker, self._lives[self._worker])
        return self._audiences[ear]

    def _ear_of(self, pool: int) -> int:
        """The ear of a pool's database. Raises KeyError for one that a reload has taken away."""
        tenant = pool, self._pools.tenancies.tenancy(pool)
        if tenant not in self._ear_numbers:
            settings = self.tenants.settings(pool)
            place = f"{','.join(settings.hosts)}:{settings.port}/{settings.dbname}"
            self._ear_numbers[tenant] = self._table.register(place.encode("utf-8", "surrogateescape"))
        return self._ear_numbers[tenant]

    def _follow(self, audience: Audience) -> None:
        """Find out who holds an audience's ear, ourselves if nobody does. A new holder is asked for all."""
        holder, epoch = self._table.holder(audience.ear)
        while holder is None:
            self._claim(audience)
            holder, epoch = self._table.holder(audience.ear)
        if (holder, epoch) != (audience.holder, audience.epoch):
            self._outbox.post(holder, audience.renew(holder, epoch))

    def _claim(self, audience: Audience) -> None:
        epoch = self._table.try_claim(audience.ear, self._worker)
        if epoch is not None:
            settings = self.tenants.settings(audience.pool)
            place = f"{settings.dbname} at {settings.host}:{settings.port}"
            self._held[audience.ear] = Ear(
                audience.ear, epoch, place, self._table, self._mailboxes, keeper=self
            )

    def _pools_of(self, ear: int) -> list[int]:
        found = []
        for pool in self._pools.tenancies.pools():
            try:
                if self._ear_of(pool) == ear:
                    found.append(pool)
            except KeyError:
                pass  # a reload has taken its database away
        return found

    def _move(self, record: int, pool: int, audience: Audience) -> None:
        """A client's database is at another place now."""
        channels, waiting = audience.channels_of(record), audience.take_waiting(record)

        def arrive() -> None:
            self._warn([record], pool)
            for done in waiting:
                done()

        self.forget(record)
        self.subscribe(record, pool, channels, arrive)

    # --- the mailbox

    def _read_mailbox(self) -> None:
        """What other workers say, and our own ears. An exception ends the worker: it would be deaf."""
        mailbox = self._mailboxes[self._worker]
        watcher = get_hub().loop.io(mailbox.fileno(), 1)
        try:
            while True:
                for message in mailbox.collect():
                    self._heed(message)
                get_hub().wait(watcher)
        except Exception:
            self.log.critical("listening failed", exc_info=True)
            os._exit(1)

    def _heed(self, message: Message) -> None:
        if message.kind in (Kind.LISTEN, Kind.UNLISTEN):
            self._heed_request(message)
            return
        audience = self._audiences.get(message.target)
        if audience is None:
            return  # it was meant for one who had our number before
        if message.kind is Kind.NOTIFY:
            self._hand_out(audience, message.body)
        elif message.kind is Kind.LISTENING:
            self._warn(audience.answer(message.number), audience.pool)
        elif message.kind is Kind.MISSED:
            self._warn(audience.everybody(), audience.pool)

    def _heed_request(self, message: Message) -> None:
        life, epoch, channels = read_request(message)
        if life != self._lives[message.note]:
            self._heed_deaths()
        ear = self._held.get(message.target)
        if ear is None or ear.epoch != epoch or life != self._lives[message.note]:
            return
        if message.kind is Kind.LISTEN:
            ear.listen(message.note, message.number, channels)
        else:
            ear.unlisten(message.note, channels)

    def _heed_deaths(self) -> None:
        """What a dead worker wanted, its successor does not."""
        for worker, known in enumerate(self._lives):
            life = self._life_of(worker)
            if life != known:
                self._lives[worker] = life
                for ear in self._held.values():
                    ear.forget(worker)

    def _life_of(self, worker: int) -> int:
        record = self._pools.workers.read(worker)
        return record["deaths"] + record["drains"]

    def _hand_out(self, audience: Audience, notifications: bytes) -> None:
        """To every client that hears the channel, the relay's other work not forgotten."""
        for message in cut_messages(bytearray(notifications), LONGEST_BODY, BackendProtocolError):
            channel = channel_of(message)
            for record in tuple(audience.hearing(channel)):
                if record in audience.hearing(channel):  # it may have left while others had their turn
                    self.relay.notify(record, message)
                self._handed += 1
                if self._handed % _HANDED_A_TURN == 0:
                    self.give_way()

    def _warn(self, records: list[int], pool: int) -> None:
        """Tell clients that they may have missed something."""
        if records:
            notice = Notice.MISSED_NOTIFICATIONS.build(database=self.tenants.settings(pool).database)
            for record in records:
                self.relay.notify(record, notice)
