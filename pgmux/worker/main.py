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
from collections.abc import Callable

import gevent
from gevent.event import Event
from gevent.hub import get_hub

from pgmux.config import Config, reload
from pgmux.config.changes import change_all
from pgmux.errors import PgmuxError
from pgmux.session.refusals import Refusal
from pgmux.shm.leases import Phase
from pgmux.shm.workers import Errand, WorkerState
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.porter import Porter
from pgmux.worker.staff import SAMPLES_A_TICK, Staff
from pgmux.worker.steward import Steward

# A worker heeds its supervisor alone. Signals that a terminal or systemd sends to the whole group (SIGINT,
# SIGTERM, SIGHUP) are the supervisor's to answer; that it died, the lifeline says.
FINISH = signal.SIGUSR1
BREAK_OFF = signal.SIGUSR2
DRAIN = signal.SIGRTMIN  # as the errand of that name

TICK_SECONDS = 0.25
_TICK_WHILE_LEAVING_SECONDS = 0.02
_ACCEPT_AGAIN_TICKS = 4
_PATIENCE_AT_WORK_US = 1_000
_SLICE_AT_WORK_US = 5_000
_SLICE_US = 20_000
_PATIENCE_US = 10_000  # longer than the kernel's tick: a shorter one would have it set a timer for each wait
_PATIENCE_IDLE_US = 100_000


class Worker:
    """One worker process. `Worker(...).run()` returns when it has been told to stop and has finished."""

    def __init__(self, number: int, config: Config, estate: Inheritance) -> None:
        self.number = number
        self._loaded = config  # without what SET has changed
        self._estate = estate
        self._log = logging.getLogger(f"worker {number}")
        self._staff = Staff(number, config, estate)
        self._pools, self._relay = self._staff.pools, self._staff.relay
        self._moving, self._office = self._staff.moving, self._staff.office
        self._porter = Porter(self._staff)
        self._steward = Steward(
            self._staff,
            self._porter,
            run_errands=self._run_errands,
            cannot_accept=self._rest_from_accepting,
        )
        self._errands: tuple[
            tuple[Errand, Callable[[], None]], ...
        ] = (  # in this order, where several are asked for
            (Errand.RELOAD, self._reload),
            (Errand.KILL_CLIENTS, self._staff.bailiff.send_off_killed),
            (Errand.LET_LEAVE, self.let_leave),
            (Errand.BURY_BACKENDS, self._bury_fenced),
            (Errand.OPEN_BACKENDS, self._staff.opener.look_everywhere),
            (Errand.REFUSE_WAITERS, self._staff.opener.heed_trouble),
            (Errand.LOOK_AT_EARS, self._staff.listening.look),
            (Errand.DRAIN, self.drain),
            (Errand.SHUT_DOORS, self.shut_doors),
            (Errand.EMIGRATE, self.emigrate),
            (Errand.STAND_IN, self._stand_in),
            (Errand.HEAR_ANSWERS, self._staff.informant.hear),
        )
        self._configuration, self._reloads = estate.configuration, estate.reloads
        self._stopping = False
        self._told_to_stop = Event()  # cuts short the rest before the next tick
        self._has_shut_doors = False  # a successor with another layout takes newcomers in
        self._waits_for_clients = False  # stopping, but clients may stay for as long as they want
        self._ticks_without_accepting = 0
        self._was_busy = False
        self._absent: list[int] = []  # workers from whose listening sockets we accept too

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
            (self._mailbox_watcher, self._porter.collect),
            (self._lifeline_watcher, self._orphaned),
        ]
        if self._estate.harbours:
            harbour = self._estate.harbours[self.number]
            watchers.append((hub.loop.io(harbour.fileno(), 1), self._porter.land))
        for watcher, callback in watchers:
            watcher.start(callback)
        gevent.signal_handler(FINISH, self.stop)
        gevent.signal_handler(BREAK_OFF, self.break_off)
        gevent.signal_handler(DRAIN, self.drain)
        self._porter.collect()
        self._bury_fenced()
        if self.number == 0:
            self._staff.tenants.register_warm_pools()
        self._staff.listening.start()
        self._beat()
        self._office.open()
        self._pools.workers.enter(self.number, WorkerState.SERVING)
        self._pools.workers.send_all_on_errand(Errand.STAND_IN)  # nobody need stand in for us any more
        while not self._is_done():
            self._rest()
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
        self._told_to_stop.set()
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
        self._porter.collect()
        if self._moving.is_alone:
            self._mailbox_watcher.stop()  # what comes from now on is our successor's
        self._moving.drain(self._staff.config.pgmux.drain_timeout)

    def shut_doors(self) -> None:
        """Take nobody in any more: a successor with another layout does. Who is in is served as before."""
        self._has_shut_doors = True
        self._relay.stop_accepting()
        self._office.shut()
        self._beat()

    def emigrate(self) -> None:
        """Hand the clients over to that successor's workers, then leave."""
        if not self._stopping:
            self._moving.emigrate(self._staff.config.pgmux.drain_timeout)

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
        is_at_work = self._staff.is_at_work
        self._relay.is_alone = not is_at_work  # only the look-up of a name takes a thread
        self._relay.slice_us = _SLICE_AT_WORK_US if is_at_work else _SLICE_US
        try:
            self._was_busy = self._relay.run(self._patience_us())
            for word, what in self._relay.take_news():
                self._steward.see_to(word, what)
        except BaseException:
            self._log.critical("the relay failed", exc_info=True)
            os._exit(1)

    def _patience_us(self) -> int:
        if self._staff.listening.is_in_haste or self._relay.is_hubs_turn:
            return 0  # a greenlet may have begun to wait for something just now
        if self._staff.is_at_work:
            return _PATIENCE_AT_WORK_US
        return _PATIENCE_US if self._was_busy else _PATIENCE_IDLE_US

    def _orphaned(self) -> None:
        """The supervisor has died. Finish what is under way, and leave."""
        self._lifeline_watcher.stop()
        self._log.error("the supervisor is gone: finishing transactions")
        if not self._stopping:
            self.stop()

    # --- what other processes want

    def _run_errands(self, errands: int) -> None:
        for errand, run in self._errands:
            if errands & errand:
                run()

    def _rest_from_accepting(self) -> None:
        """No descriptor is free, say: the next ticks try again."""
        self._relay.stop_accepting()
        self._ticks_without_accepting = 0

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
            self._staff.reconfigure(change_all(loaded, board.settings().decode("utf-8", "surrogateescape")))
        except PgmuxError as error:
            self._log.error("not reloaded here: %s", error)
            return
        self._loaded, self._configuration, self._reloads = loaded, configuration, reloads
        self._beat()

    def _bury_fenced(self) -> None:
        """End the backends that a dead worker had leased: they were left to us CLOSING."""
        for slot in range(self._pools.leases.count):
            phase, owner, _, _ = self._pools.leases.read(slot)
            if phase == Phase.CLOSING and owner == self.number and self._relay.bury_fenced(slot):
                self._staff.canceller.cancel_backend(slot)

    # --- once per tick

    def _rest(self) -> None:
        """Until the next tick is due, which is soon where everything waits for us to be gone."""
        if self._moving.is_draining or self._told_to_stop.is_set():
            gevent.sleep(_TICK_WHILE_LEAVING_SECONDS)
        else:
            self._told_to_stop.wait(TICK_SECONDS)

    def _tick(self) -> None:
        self._beat()
        self._stand_in()
        if self._estate.ticket_keys.advance(time.monotonic()) and self._staff.tls.clients is not None:
            self._staff.tls.clients.set_ticket_key(self._estate.ticket_keys.key)
        self._staff.timekeeper.tick()
        self._staff.usher.look(self._staff.config)
        if self._relay.samples_missed:
            self._staff.journal.missed(self._relay.samples_missed)
        self._relay.samples_left, self._relay.samples_missed = SAMPLES_A_TICK, 0
        self._relay.sweep(int(self._staff.config.pgmux.server_idle_timeout * 1_000_000))
        self._staff.reception.admit_the_welcome()
        self._staff.listening.tick()
        self._staff.informant.hear()
        for pool in self._staff.tenants.pools_in_use():
            self._staff.opener.look(pool)
        if (not self._stopping and not self._has_shut_doors) or self._moving.is_draining:
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
            self._porter.collect()
        return not self._relay.client_count and (self._stopping or not self._holds_backends())

    def _holds_backends(self) -> bool:
        snapshot = self._pools.leases.snapshot()
        return any(
            owner == self.number and phase not in (Phase.EMPTY, Phase.FREE) for phase, owner, *_ in snapshot
        )


def _keep_going() -> None:
    """Nothing. An idle watcher that is active keeps the hub from blocking in its own epoll."""
