"""A worker: gevent's hub around the compiled relay.

The relay serves everything that happens per message. What it leaves in its news, and all that
happens once per connection or per second, is done here, in greenlets. Nothing is monkey-patched:
what may switch says so.
"""

import gc
import logging
import os
import resource
import signal
import time

import gevent
from gevent.hub import get_hub

from pgmux.config import Config, reload
from pgmux.config.changes import change_all
from pgmux.errors import PgmuxError
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.keyring import Keyring
from pgmux.session.refusals import Refusal
from pgmux.session.traces import learn
from pgmux.shm.answers import Answers
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand, WorkerState
from pgmux.worker.bailiff import Bailiff
from pgmux.worker.canceller import Canceller
from pgmux.worker.connecting import Connector
from pgmux.worker.entrance import open_doors
from pgmux.worker.informant import Informant
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.journal import Journal, open_log
from pgmux.worker.listening import Listening
from pgmux.worker.mailbox import Kind, Message
from pgmux.worker.moving import Moving
from pgmux.worker.office import Levers, Office
from pgmux.worker.opener import Opener
from pgmux.worker.reception import Reception
from pgmux.worker.replication import Replication
from pgmux.worker.timekeeper import Timekeeper
from pgmux.worker.tls import open_tls, server_tls_differs
from pgmux.worker.usher import Usher

# A worker heeds its supervisor alone. Signals that a terminal or systemd sends to the whole group (SIGINT,
# SIGTERM, SIGHUP) are the supervisor's to answer; that it died, the lifeline says.
FINISH = signal.SIGUSR1
BREAK_OFF = signal.SIGUSR2
DRAIN = signal.SIGRTMIN  # as the errand of that name

TICK_SECONDS = 0.25
_TICK_WHILE_DRAINING_SECONDS = 0.02
_ACCEPT_AGAIN_TICKS = 4
_SAMPLES_A_TICK = 5  # of long waits and slow queries that are logged
_PATIENCE_AT_WORK_US = 1_000
_SLICE_AT_WORK_US = 5_000
_SLICE_US = 20_000
_PATIENCE_US = 10_000  # longer than the kernel's tick: a shorter one would have it set a timer for each wait
_PATIENCE_IDLE_US = 100_000


class Worker:
    """One worker process. `Worker(...).run()` returns when it has been told to stop and has finished."""

    def __init__(self, number: int, config: Config, estate: Inheritance) -> None:
        self.number = number
        self._config = config
        self._loaded = config  # without what SET has changed
        self._estate = estate
        secrets, doors = open_doors(config, estate.mock_key)
        self._tls = open_tls(config, estate.ticket_keys)
        self._keyring = Keyring(secrets)
        self._journal = Journal(f"worker {number}")
        self._log = logging.getLogger(f"worker {number}")
        self._pools = Pools(estate.segment, estate.bells)
        records, counters = Clients(estate.segment), CounterTable(estate.segment)
        self._connector = Connector(config, self._keyring, self._tls.server)
        self._opener = Opener(number, config, self._connector, self._pools, counters, estate.mailboxes)
        self._canceller = Canceller(
            number, self._connector, self._pools, estate.mailboxes, counters, self._journal
        )
        self._listening = Listening(
            number, config, self._connector, self._pools, counters, estate.ear_mailboxes
        )
        self._replication = Replication(
            number, config, self._connector, self._pools, counters, estate.mailboxes[-1]
        )
        self._moving = Moving(number, self._pools, records, estate.mailboxes, estate.landings)
        self._informant = Informant(number, config, Answers(estate.segment, self._pools.workers))
        self._reception = Reception(
            config,
            doors,
            self._keyring,
            self._pools,
            self._journal,
            tls=self._tls.clients,
            want_backend=self._opener.look,
            cancel=self._canceller.request,
            want_own_backend=self._replication.begin,
            informant=self._informant,
        )
        self._relay = Relay(
            number,
            self._pools,
            records,
            counters,
            estate.listeners_of(number),
            self._reception,
            estate.mock_key,
        )
        self._configure_relay()
        self._bailiff = Bailiff(number, self._pools, estate.mailboxes)
        levers = Levers(number, estate.mailboxes, self._bailiff.send_off)
        self._office = Office(
            estate,
            self._pools,
            records,
            levers,
            self._journal,
            config=lambda: self._config,
            users=lambda: self._keyring.users,
        )
        self._reception.attend(self._relay)
        self._usher = Usher(self._relay, self._reception, self._office.figures, self._journal)
        self._timekeeper = Timekeeper(config, self._reception, self._canceller, self._usher)
        self._parts = (
            self._opener,
            self._canceller,
            self._listening,
            self._replication,
            self._informant,
            self._moving,
        )
        self._introduce_parts()
        self._configuration, self._reloads = estate.configuration, estate.reloads
        self._stopping = False
        self._has_shut_doors = False  # a successor with another layout takes newcomers in
        self._waits_for_clients = False  # stopping, but clients may stay for as long as they want
        self._ticks_without_accepting = 0
        self._was_busy = False
        self._absent: list[int] = []  # workers from whose listening sockets we accept too
        self._set_log()

    def _introduce_parts(self) -> None:
        """Make known to each part those that it needs."""
        for part in self._parts:
            part.relay = self._relay
            part.reception = self._reception
        for other in (self._timekeeper, self._bailiff):
            other.relay = self._relay
        self._office.consoles.relay = self._relay
        self._office.consoles.reception = self._reception
        for visited in (self._reception, self._canceller, self._bailiff):
            visited.consoles = self._office.consoles

    def _configure_relay(self) -> None:
        settings = self._config.pgmux
        self._relay.reset_query = settings.server_reset_query.encode("utf-8", "surrogateescape")
        self._relay.defers_begin = settings.deferred_begin
        self._relay.roams = settings.roam
        self._relay.audit_interval_us = int(settings.audit_interval * 1_000_000)
        self._relay.reserves_for_us = int(settings.last_value_reserve * 1_000_000)
        files = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._relay.no_room = Refusal.CLIENT_LIMIT.build(limit="the limit of open files", value=files)

    def run(self) -> None:
        """Serve until told to FINISH, or until the supervisor is gone."""
        hub = get_hub()
        for slot, (generation, fd) in self._estate.vault.items():
            self._relay.adopt_socket(slot, generation, fd)
        gc.collect()
        gc.freeze()  # what the workers share stays shared: the collector does not write to it
        self._lifeline_watcher = hub.loop.io(self._estate.lifeline, 1)
        self._mailbox_watcher = hub.loop.io(self._estate.mailboxes[self.number].fileno(), 1)
        relaying = hub.loop.prepare()
        relaying.priority = hub.loop.MINPRI  # after the greenlets that are due
        self._relay.watch_hub(hub.loop.fileno())
        watchers = [
            (hub.loop.idle(), _keep_going),
            (relaying, self._relay_messages),
            (self._mailbox_watcher, self._collect),
            (self._lifeline_watcher, self._orphaned),
        ]
        if self._estate.harbours:
            harbour = self._estate.harbours[self.number]
            watchers.append((hub.loop.io(harbour.fileno(), 1), self._land))
        for watcher, callback in watchers:
            watcher.start(callback)
        gevent.signal_handler(FINISH, self.stop)
        gevent.signal_handler(BREAK_OFF, self.break_off)
        gevent.signal_handler(DRAIN, self.drain)
        self._collect()
        self._bury_fenced()
        if self.number == 0:
            self._reception.register_warm_pools()
        self._listening.start()
        self._beat()
        self._office.open()
        self._pools.workers.enter(self.number, WorkerState.SERVING)
        self._pools.workers.send_all_on_errand(Errand.STAND_IN)  # nobody need stand in for us any more
        while not self._is_done():
            gevent.sleep(_TICK_WHILE_DRAINING_SECONDS if self._moving.is_draining else TICK_SECONDS)
            self._tick()
        self._office.close()
        gevent.sleep(0)
        if self._moving.is_draining:
            self._moving.take_leave()
        self._pools.workers.enter(self.number, WorkerState.LEFT)
        for watcher, _ in watchers:
            watcher.stop()
        self._relay.leave_home()

    def stop(self) -> None:
        """Take no more connections, let transactions finish, then leave."""
        self._stopping = True
        self._waits_for_clients = False
        self._moving.stay()
        self._relay.stop_accepting()
        self._send_off_idle()

    def let_leave(self) -> None:
        """Take no more connections, and leave when the last client has left by itself."""
        if not self._stopping:
            self._stopping = self._waits_for_clients = True
            self._relay.stop_accepting()

    def drain(self) -> None:
        """Hand the clients over to other workers, then leave."""
        if self._stopping or self._moving.is_draining:
            return
        self._collect()
        if self._moving.is_alone:
            self._mailbox_watcher.stop()  # what comes from now on is our successor's
        self._moving.drain(self._config.pgmux.drain_timeout)

    def shut_doors(self) -> None:
        """Take nobody in any more: a successor with another layout does. Who is in is served as before."""
        self._has_shut_doors = True
        self._relay.stop_accepting()
        self._office.shut()
        self._beat()

    def emigrate(self) -> None:
        """Hand the clients over to that successor's workers, then leave."""
        if not self._stopping:
            self._moving.emigrate(self._config.pgmux.drain_timeout)

    def break_off(self) -> None:
        """Leave as soon as every client has been told, whatever it is doing."""
        self.stop()
        for client in self._relay.every_client():
            self._relay.send_off(client, Refusal.SHUTTING_DOWN.build())

    # --- the hub's callbacks: these must not switch

    def _relay_messages(self) -> None:
        """Before each turn of the hub: wait and serve in the relay, until the hub has something to do.

        The hub waits here and never in its own epoll (an idle watcher keeps that from blocking). What
        a greenlet has only just begun to wait for is not in that epoll yet, so while greenlets are at
        work the patience is short. An exception ends the worker: a relay out of step must not go on.
        """
        is_at_work = self._is_at_work()
        self._relay.is_alone = not is_at_work  # only the look-up of a name takes a thread
        self._relay.slice_us = _SLICE_AT_WORK_US if is_at_work else _SLICE_US
        try:
            self._was_busy = self._relay.run(self._patience_us())
            for word, what in self._relay.take_news():
                self._see_to(word, what)
        except BaseException:
            self._log.critical("the relay failed", exc_info=True)
            os._exit(1)

    def _patience_us(self) -> int:
        if self._listening.is_in_haste or self._relay.is_hubs_turn:
            return 0  # a greenlet may have begun to wait for something just now
        if self._is_at_work():
            return _PATIENCE_AT_WORK_US
        return _PATIENCE_US if self._was_busy else _PATIENCE_IDLE_US

    def _is_at_work(self) -> bool:
        return self._office.workload.is_at_work or any(part.is_at_work for part in self._parts)

    def _collect(self) -> None:
        """There are messages in the mailbox."""
        for message in self._estate.mailboxes[self.number].collect():
            if message.kind is Kind.SOCKET:
                if message.fd >= 0:
                    self._relay.adopt_socket(message.target, message.number, message.fd)
                if message.note and (message.fd >= 0 or not message.number):
                    self._relay.has_no_socket(
                        message.target
                    )  # else there was no descriptor free to take it in
                self._reception.admit_the_welcome()
            elif message.kind is Kind.CANCEL:
                self._canceller.cancel(message.target, message.body)
                if message.fd >= 0:
                    os.close(message.fd)
            elif message.kind is Kind.FUNCTIONS:
                self._learn(message.target, tuple(message.body.split(b"\0")))
            elif message.kind is Kind.GIVE_UP:
                self._relay.give_up(message.target, message.number)
            elif message.kind is Kind.CLIENT:
                self._moving.take_up(message)
                self._bailiff.look_at(message.target)
            elif message.kind is Kind.NEWCOMER:
                self._moving.take_newcomer(message.fd)
            elif message.kind is Kind.KILL:
                self._bailiff.send_off(message.target, message.number)

    def _land(self) -> None:
        """Clients of our predecessor's workers come."""
        for message in self._estate.harbours[self.number].collect():
            self._moving.land(message)
            self._bailiff.look_at(message.target)

    def _learn(self, pool: int, names: tuple[bytes, ...]) -> None:
        """Functions of a pool's database leave something behind: texts that name one are looked at from now on."""
        self._relay.lobby(pool).is_unstudied = False
        place = self._pools.tenancies.names(pool)
        own = {name.decode("utf-8", "surrogateescape") for name in names if b"." in name}
        self._relay.own_settings = self._relay.own_settings.union(own)
        if (new := learn(name for name in names if b"." not in name)) and place is not None:
            self._journal.learnt(place[1].decode("utf-8", "replace"), new)

    def _orphaned(self) -> None:
        """The supervisor has died. Finish what is under way, and leave."""
        self._lifeline_watcher.stop()
        self._log.error("the supervisor is gone: finishing transactions")
        if not self._stopping:
            self.stop()

    # --- the relay's news

    def _see_to(self, word: str, what: object) -> None:
        match word, what:
            case "wanted", int(pool):
                self._opener.look(pool)
            case "errands", int(errands):
                self._run_errands(errands)
            case "subscribe", (Client() as client, int(pool)):
                channels = client.channels or frozenset()
                self._listening.subscribe(
                    client.record, pool, channels, lambda: self._relay.subscribed(client)
                )
            case "notified", Client() as client:
                self._listening.catch_up(client.record, lambda: self._relay.subscribed(client))
            case "emptied", str(name):
                self._reception.vacate(name)
            case "pinned", (Client() as client, int(pins)):
                if self._is_here(client):
                    self._journal.pinned(self._reception.passenger(client.record), pins)
            case "functions", (int(pool), tuple(names)):
                self._learn(pool, names)
                for number, mailbox in enumerate(self._estate.mailboxes[:-1]):
                    if number != self.number:
                        mailbox.send(Message(Kind.FUNCTIONS, pool, body=b"\0".join(names)))
            case "recalls", int(pool):
                if (place := self._pools.tenancies.names(pool)) is not None:
                    self._journal.recalled(*(name.decode("utf-8", "replace") for name in place[1:]))
            case "audit refused", int(slot):
                self._journal.audit_refused(slot)
            case "found", (Client() as client, int(slot), int(pins), tuple(settings)):
                who = self._reception.passenger(client.record) if self._is_here(client) else None
                self._journal.found(who, slot, pins, settings)
            case "cancel", (int(slot), int(generation), int(pid), bytes(key)):
                self._canceller.cancel_counted(slot, generation, pid, key)
            case "movable", Client() as client:
                self._moving.move(client)
            case "newcomer", (int(fd), int(heir)):
                self._moving.pass_on(fd, heir)
            case "read only", int(pool):
                self._opener.doubt(pool)
            case "fetch", int(slot):
                self._fetch(slot)
            case "queue full", Client() as client:
                self._relay.turn_down(client, Refusal.WAITED_TOO_LONG.build(severity="ERROR", timeout="0s"))
            case "waited", (Client() as client, int(wait_us)):
                if self._is_here(client):
                    self._journal.waited(self._reception.passenger(client.record), wait_us)
            case "slow", (Client() as client, int(query_us)):
                if self._is_here(client):
                    who = self._reception.passenger(client.record)
                    self._journal.was_slow(who, client.waited_us, query_us)
            case "turned away", int(number):
                self._journal.turned_away(os.strerror(number))
            case "accept failed", int(number):
                self._log.error("cannot accept connections: %s", os.strerror(number))
                self._relay.stop_accepting()
                self._ticks_without_accepting = 0
            case "gone", Client() as client:
                self._listening.forget(client.record)
            case "overrun", Client() as client:
                self._log.warning(
                    "client %s takes no notifications: it is sent off", ":".join(map(str, client.address()))
                )
            case "unasked", (int(slot), str(reply)):
                self._log.error(
                    "backend in slot %d sent a message of type %r, which nobody asked for", slot, reply
                )
            case "lost", int(slot):
                self._log.warning("backend in slot %d is gone", slot)
            case "handed on twice", int(slot):
                self._log.error("backend in slot %d is not ours any more: it was not used", slot)
            case (("out of step" | "stray" | "slow to end"), int(slot)):
                self._log.error("backend in slot %d closed: %s", slot, word)
            case _:
                pass

    def _run_errands(self, errands: int) -> None:
        if errands & Errand.RELOAD:
            self._reload()
        if errands & Errand.KILL_CLIENTS:
            self._bailiff.send_off_killed()
        if errands & Errand.LET_LEAVE:
            self.let_leave()
        if errands & Errand.BURY_BACKENDS:
            self._bury_fenced()
        if errands & Errand.OPEN_BACKENDS:
            self._opener.look_everywhere()
        if errands & Errand.REFUSE_WAITERS:
            self._opener.heed_trouble()
        if errands & Errand.LOOK_AT_EARS:
            self._listening.look()
        if errands & Errand.DRAIN:
            self.drain()
        if errands & Errand.SHUT_DOORS:
            self.shut_doors()
        if errands & Errand.EMIGRATE:
            self.emigrate()
        if errands & Errand.STAND_IN:
            self._stand_in()
        if errands & Errand.HEAR_ANSWERS:
            self._informant.hear()

    def _stand_in(self) -> None:
        """Accept for the workers that are away: who waits at theirs must not wait for a successor to be born.

        Each of us does, and whoever comes first gets the client: accept4 gives a connection to one process alone.
        """
        absent = [] if self._has_shut_doors else self._pools.workers.absent(self.number)
        if absent != self._absent:
            self._absent = absent
            theirs = [self._estate.listeners[each] for each in absent]
            self._relay.stand_in((socket, place) for one in theirs for place, socket in enumerate(one))

    def _reload(self) -> None:
        """Another configuration is in force, and the supervisor has found it good."""
        board = self._pools.board
        configuration, reloads = board.configuration, board.reloads
        try:
            loaded = self._loaded if reloads == self._reloads else reload(self._loaded)[0]
            config = change_all(loaded, board.settings().decode("utf-8", "surrogateescape"))
            secrets, doors = open_doors(config, self._estate.mock_key)
            tls = open_tls(config, self._estate.ticket_keys)
        except PgmuxError as error:
            self._log.error("not reloaded here: %s", error)
            return
        is_tls_another = server_tls_differs(self._config, config)
        self._config, self._loaded, self._tls = config, loaded, tls
        self._configuration, self._reloads = configuration, reloads
        self._set_log()
        self._configure_relay()
        self._keyring.reconfigure(secrets)
        self._reception.reconfigure(config, doors, tls.clients)
        self._connector.reconfigure(config, tls.server, is_tls_another=is_tls_another)
        if is_tls_another:  # by every worker, for each may have opened one by the old settings until now
            self._pools.expire()
        self._opener.reconfigure(config)
        self._informant.reconfigure(config)
        self._listening.reconfigure(config)
        self._replication.reconfigure(config)
        self._timekeeper.reconfigure(config)
        if self.number == 0:
            self._reception.register_warm_pools()
        self._beat()

    def _set_log(self) -> None:
        settings = self._config.pgmux
        self._journal.formatter = open_log(settings.log_level, settings.log_format)
        is_told = settings.log_level in ("debug", "info")  # else nothing is looked up for such lines
        self._relay.tells_arrivals = settings.log_connections and is_told
        self._relay.tells_partings = settings.log_disconnections and is_told
        self._journal.logs_arrivals = self._relay.tells_arrivals
        self._journal.logs_departures = self._relay.tells_partings
        self._relay.log_wait_us = int(settings.log_min_wait * 1_000_000)
        self._relay.log_query_us = int(settings.log_min_duration * 1_000_000)
        self._relay.samples_left = _SAMPLES_A_TICK

    def _is_here(self, client: Client) -> bool:
        return self._relay.client(client.record) is client

    def _bury_fenced(self) -> None:
        """End the backends that a dead worker had leased: they were left to us CLOSING."""
        for slot in range(self._pools.leases.count):
            phase, owner, _, _ = self._pools.leases.read(slot)
            if phase == Phase.CLOSING and owner == self.number and self._relay.bury_fenced(slot):
                self._canceller.cancel_backend(slot)

    def _fetch(self, slot: int) -> None:
        """We have leased a slot, or are to end it, without its socket: it is in our mailbox, or the vault sends it."""
        self._collect()
        if self._relay.is_awaited(slot):
            self._estate.mailboxes[-1].send(Message(Kind.FETCH, slot, 0, self.number))

    # --- once per tick

    def _tick(self) -> None:
        self._beat()
        self._stand_in()
        if self._estate.ticket_keys.advance(time.monotonic()) and self._tls.clients is not None:
            self._tls.clients.set_ticket_key(self._estate.ticket_keys.key)
        self._timekeeper.tick()
        self._usher.look(self._config)
        if self._relay.samples_missed:
            self._journal.missed(self._relay.samples_missed)
        self._relay.samples_left, self._relay.samples_missed = _SAMPLES_A_TICK, 0
        self._relay.sweep(int(self._config.pgmux.server_idle_timeout * 1_000_000))
        self._reception.admit_the_welcome()
        self._listening.tick()
        self._informant.hear()
        for pool in self._reception.pools_in_use():
            self._opener.look(pool)
        self._moving.tick()
        if self._moving.is_overdue():
            self._log.warning("not drained within drain_timeout: who is left is sent off")
            self.break_off()
        elif self._stopping:
            if not self._waits_for_clients:
                self._send_off_idle()
        elif not self._relay.is_accepting and not self._moving.is_draining and not self._has_shut_doors:
            self._ticks_without_accepting += 1
            if self._ticks_without_accepting >= _ACCEPT_AGAIN_TICKS:
                self._relay.start_accepting()

    def _beat(self) -> None:
        self._pools.workers.beat(
            self.number,
            self._relay.client_count + self._office.consoles.count,
            time.process_time_ns() // 1000,
            self._configuration,
            not (self._stopping or self._moving.is_draining or self._has_shut_doors),
        )

    def _send_off_idle(self) -> None:
        """Say goodbye to clients that are between transactions."""
        farewell = Refusal.SHUTTING_DOWN.build()
        for client in self._relay.every_client():
            if self._relay.is_between_transactions(client):
                self._relay.send_off(client, farewell)

    def _is_done(self) -> bool:
        if self._relay.client_count or not (self._stopping or self._moving.is_draining):
            return False
        if self._waits_for_clients and self._pools.board.has_predecessors:
            return False  # theirs are still to come, and may stay for as long as they want
        if self._office.workload.is_at_work and not self._stopping:
            return False  # somebody is being answered
        # In order means: what a client asked before it left has been done, and nothing has come in the last moment.
        if self._moving.is_draining and self._mailbox_watcher.active:
            self._collect()
        return not self._relay.client_count and (self._stopping or not self._holds_backends())

    def _holds_backends(self) -> bool:
        snapshot = self._pools.leases.snapshot()
        return any(
            owner == self.number and phase not in (Phase.EMPTY, Phase.FREE) for phase, owner, *_ in snapshot
        )


def _keep_going() -> None:
    """Nothing. An idle watcher that is active keeps the hub from blocking in its own epoll."""
