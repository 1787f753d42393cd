"""A worker: gevent's hub around the compiled relay.

The relay serves everything that happens per message. What it leaves in its news, and all that
happens once per connection or per second, is done here, in greenlets. Nothing is monkey-patched:
what may switch says so.
"""

import gc
import logging
import os
import signal
import time

import gevent
from gevent.hub import get_hub

from pgmux.config import Config, reload
from pgmux.errors import PgmuxError
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.keyring import Keyring
from pgmux.session.refusals import Refusal
from pgmux.shm.answers import Answers
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand
from pgmux.worker.canceller import Canceller
from pgmux.worker.entrance import open_doors
from pgmux.worker.informant import Informant
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.journal import Journal
from pgmux.worker.mailbox import Kind, Message
from pgmux.worker.opener import Opener
from pgmux.worker.reception import Reception
from pgmux.worker.tls import open_tls

# A worker heeds its supervisor alone. Signals that a terminal or systemd sends to the whole group (SIGINT,
# SIGTERM, SIGHUP) are the supervisor's to answer; that it died, the lifeline says.
FINISH = signal.SIGUSR1
BREAK_OFF = signal.SIGUSR2

TICK_SECONDS = 0.25
_ACCEPT_AGAIN_TICKS = 4
_SILENCE_IN_A_CROWD_US = 2_000_000  # who lets us wait for longer makes room for others
_PATIENCE_AT_WORK_US = 1_000
_PATIENCE_US = 10_000  # longer than the kernel's tick: a shorter one would have it set a timer for each wait
_PATIENCE_IDLE_US = 100_000


class Worker:
    """One worker process. `Worker(...).run()` returns when it has been told to stop and has finished."""

    def __init__(self, number: int, config: Config, estate: Inheritance) -> None:
        self.number = number
        self._config = config
        self._estate = estate
        secrets, doors = open_doors(config, estate.mock_key)
        self._tls = open_tls(config, estate.ticket_keys)
        self._keyring = Keyring(secrets)
        self._journal = Journal(f"worker {number}")
        self._log = logging.getLogger(f"worker {number}")
        self._pools = Pools(estate.segment, estate.bells)
        records, counters = Clients(estate.segment), CounterTable(estate.segment)
        self._opener = Opener(
            number, config, self._keyring, self._tls.server, self._pools, counters, estate.mailboxes
        )
        self._canceller = Canceller(number, config, self._tls.server, self._pools, estate.mailboxes)
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
            informant=self._informant,
        )
        self._relay = Relay(
            number, self._pools, records, counters, estate.listeners_of(number), self._reception
        )
        for part in (self._opener, self._canceller, self._informant):
            part.relay = self._relay
        self._reception.attend(self._relay)
        self._opener.reception = self._canceller.reception = self._informant.reception = self._reception
        self._stopping = False
        self._ticks_without_accepting = 0
        self._was_busy = False

    def run(self) -> None:
        """Serve until told to FINISH, or until the supervisor is gone."""
        hub = get_hub()
        for slot, (generation, fd) in self._estate.vault.items():
            self._relay.adopt_socket(slot, generation, fd)
        gc.collect()
        gc.freeze()  # what the workers share stays shared: the collector does not write to it
        self._lifeline_watcher = hub.loop.io(self._estate.lifeline, 1)
        relaying = hub.loop.prepare()
        relaying.priority = hub.loop.MINPRI  # after the greenlets that are due
        self._relay.watch_hub(hub.loop.fileno())
        watchers = [
            (hub.loop.idle(), _keep_going),
            (relaying, self._relay_messages),
            (hub.loop.io(self._estate.mailboxes[self.number].fileno(), 1), self._collect),
            (self._lifeline_watcher, self._orphaned),
        ]
        for watcher, callback in watchers:
            watcher.start(callback)
        gevent.signal_handler(FINISH, self.stop)
        gevent.signal_handler(BREAK_OFF, self.break_off)
        self._collect()
        self._bury_fenced()
        while not self._is_done():
            gevent.sleep(TICK_SECONDS)
            self._tick()
        for watcher, _ in watchers:
            watcher.stop()
        self._relay.leave_home()

    def stop(self) -> None:
        """Take no more connections, let transactions finish, then leave."""
        self._stopping = True
        self._relay.stop_accepting()
        self._send_off_idle()

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
        at_work = self._opener.is_at_work or self._canceller.is_at_work or self._informant.is_at_work
        patience_us = (
            _PATIENCE_AT_WORK_US if at_work else _PATIENCE_US if self._was_busy else _PATIENCE_IDLE_US
        )
        try:
            self._was_busy = self._relay.run(patience_us)
            for word, what in self._relay.take_news():
                self._see_to(word, what)
        except BaseException:
            self._log.critical("the relay failed", exc_info=True)
            os._exit(1)

    def _collect(self) -> None:
        """There are messages in the mailbox."""
        for message in self._estate.mailboxes[self.number].collect():
            if message.kind is Kind.SOCKET:
                self._relay.adopt_socket(message.target, message.number, message.fd)
                self._reception.admit_the_welcome()
            elif message.kind is Kind.CANCEL:
                self._canceller.cancel(message.target, message.number)
            elif message.kind is Kind.GIVE_UP:
                self._relay.give_up(message.target, message.number)

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
            case "cancel", (int(slot), int(generation), int(pid), bytes(key)):
                self._canceller.cancel_counted(slot, generation, pid, key)
            case "fetch", int(slot):
                self._fetch(slot)
            case "queue full", Client() as client:
                self._relay.turn_down(client, Refusal.WAITED_TOO_LONG.build(severity="ERROR", timeout="0s"))
            case "accept failed", int(number):
                self._log.error("cannot accept connections: %s", os.strerror(number))
                self._relay.stop_accepting()
                self._ticks_without_accepting = 0
            case "lost", int(slot):
                self._log.warning("backend in slot %d is gone", slot)
            case (("out of step" | "stray" | "slow to end"), int(slot)):
                self._log.error("backend in slot %d closed: %s", slot, word)
            case _:
                pass

    def _run_errands(self, errands: int) -> None:
        if errands & Errand.RELOAD:
            self._reload()
        if errands & Errand.BURY_BACKENDS:
            self._bury_fenced()
        if errands & Errand.OPEN_BACKENDS:
            for pool in self._pools.tenancies.pools():
                self._opener.look(pool)
        if errands & Errand.REFUSE_WAITERS:
            self._opener.heed_trouble()
        if errands & Errand.HEAR_ANSWERS:
            self._informant.hear()

    def _reload(self) -> None:
        """The supervisor has found the changed configuration good."""
        try:
            config, _ = reload(self._config)
            secrets, doors = open_doors(config, self._estate.mock_key)
            tls = open_tls(config, self._estate.ticket_keys)
        except PgmuxError as error:
            self._log.error("not reloaded here: %s", error)
            return
        self._config, self._tls = config, tls
        logging.getLogger().setLevel(config.pgmux.log_level.upper())
        self._keyring.reconfigure(secrets)
        self._reception.reconfigure(config, doors, tls.clients)
        self._opener.reconfigure(config, tls.server)
        self._canceller.reconfigure(config, tls.server)
        self._informant.reconfigure(config)

    def _bury_fenced(self) -> None:
        """End the backends that a dead worker had leased: they were left to us CLOSING."""
        for slot in range(self._pools.leases.count):
            phase, owner, _, _ = self._pools.leases.read(slot)
            if phase == Phase.CLOSING and owner == self.number and self._relay.bury_fenced(slot):
                self._canceller.cancel_backend(slot)

    def _fetch(self, slot: int) -> None:
        """We have leased a slot without having its socket: it is in our mailbox, or the vault sends it."""
        self._collect()
        if self._relay.is_awaited(slot):
            self._estate.mailboxes[-1].send(Message(Kind.FETCH, slot, 0, self.number))

    # --- once per tick

    def _tick(self) -> None:
        self._pools.workers.beat(self.number, self._relay.client_count)
        if self._estate.ticket_keys.advance(time.monotonic()) and self._tls.clients is not None:
            self._tls.clients.set_ticket_key(self._estate.ticket_keys.key)
        settings = self._config.pgmux
        late, tired = self._relay.overdue(int(settings.client_login_timeout * 1_000_000))
        for client in late:
            self._reception.close_for_lateness(client)
        if self._relay.is_crowded:
            for client in self._relay.silent(_SILENCE_IN_A_CROWD_US):
                self._reception.make_room(client)
        for client in tired:
            self._relay.turn_down(client, self._wait_refusal(client))
        self._relay.sweep(int(settings.server_idle_timeout * 1_000_000))
        self._reception.admit_the_welcome()
        self._informant.hear()
        for pool in self._reception.pools_in_use():
            self._opener.look(pool)
        if self._stopping:
            self._send_off_idle()
        elif not self._relay.is_accepting:
            self._ticks_without_accepting += 1
            if self._ticks_without_accepting >= _ACCEPT_AGAIN_TICKS:
                self._relay.start_accepting()

    def _wait_refusal(self, client: Client) -> bytes:
        limit = self._config.pgmux.query_wait_timeout
        waited, ahead = self._relay.waiting_place(client)
        detail = f"It waited {waited / 1_000_000:.1f}s, at last behind {ahead} other clients of its pool."
        return Refusal.WAITED_TOO_LONG.build(detail, severity="ERROR", timeout=f"{limit:g}s")

    def _send_off_idle(self) -> None:
        """Say goodbye to clients that are between transactions."""
        farewell = Refusal.SHUTTING_DOWN.build()
        for client in self._relay.every_client():
            if self._relay.is_between_transactions(client):
                self._relay.send_off(client, farewell)

    def _is_done(self) -> bool:
        return self._stopping and self._relay.client_count == 0


def _keep_going() -> None:
    """Nothing. An idle watcher that is active keeps the hub from blocking in its own epoll."""
