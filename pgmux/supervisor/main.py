"""The supervisor: binds, forks, watches, fences, and does nothing else.

It is on nobody's data path and knows no SQL. Its loop waits for three things: a signal (the
handlers only queue), a message for the vault, and the next second. What it has is the estate
(estate.py), whom it has the crew (crew.py).

It never makes a gevent hub: workers are forked from it and must each have their own.
"""

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import time

from pgmux import __version__
from pgmux.config import Config
from pgmux.control.operator import AT_ONCE, WHEN_CLIENTS_ARE_GONE
from pgmux.control.traffic import describe_traffic
from pgmux.errors import PgmuxError
from pgmux.shm.periods import Periods
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand
from pgmux.supervisor.configuring import Configuring
from pgmux.supervisor.crew import Crew
from pgmux.supervisor.descriptors import raise_descriptor_limit
from pgmux.supervisor.estate import lock_runtime_dir, make_estate, take_over
from pgmux.supervisor.harbour import PATIENCE_SECONDS, Harbour
from pgmux.supervisor.notify import Notifier
from pgmux.supervisor.regent import appoint
from pgmux.supervisor.succession import (
    Bequest,
    CannotBequeath,
    become_successor,
    bequeath,
    bequeath_to_stranger,
    examine_successor,
    installed_version,
)
from pgmux.supervisor.vault import Vault
from pgmux.worker.journal import open_log
from pgmux.worker.mailbox import Kind, Message
from pgmux.worker.main import BREAK_OFF, DRAIN, FINISH

INSIST_AFTER_SECONDS = 5.0  # a worker that has been told to break everything off is killed
_TICK_SECONDS = 0.5
UPGRADE = signal.SIGRTMAX
_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    DRAIN,
    UPGRADE,
)


class Supervisor:
    """`Supervisor(config).run()` is `pgmux run`."""

    def __init__(self, config: Config) -> None:
        self._bequest = Bequest.take(os.environ)  # None unless we are our own successor
        if self._bequest is not None:
            config = self._bequest.config(config)
        self._config = config
        self._log = logging.getLogger("supervisor")
        self._crew = Crew(self._bequest.posts if self._bequest else [(0, 0.0)] * config.worker_count())
        self._harbour: Harbour | None = None  # as long as workers of another layout are left
        self._stop_signal: signal.Signals | None = None
        self._stop_deadline = 0.0  # time.monotonic()
        self._is_breaking_off = False
        self._systemd = Notifier.from_environment(os.environ, os.getpid())

    def run(self) -> int:
        """Serve until told to stop; gives the exit code. Raises PgmuxError when it cannot start."""
        open_log(self._config.pgmux.log_level, self._config.pgmux.log_format)
        for warning in self._config.warnings:
            self._log.warning("%s", warning)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._systemd.close)
            self._prepare(cleanup)
            self._crew.begin(self._config, self._estate, self._pools, self._vault, self._let_go)
            self._say_ready()
            if self._bequest is not None:
                self._crew.reap()
                if self._harbour is None:
                    self._pools.board.publish(b"", True)  # as by a RELOAD: what SET has changed is forgotten
                    self._crew.replace_workers()
            while self._stop_signal is None or not self._crew.is_gone() or self._harbour is not None:
                self._wait()
                self._heed_orders()
                self._tick()
            self._vault.close()
        self._log.info("pgmux has stopped")
        return 0

    # --- before the first fork

    def _prepare(self, cleanup: contextlib.ExitStack) -> None:
        raise_descriptor_limit(self._config)
        self._pid_file = lock_runtime_dir(self._config, self._bequest, cleanup)
        if self._bequest is not None:
            self._estate, self._lifeline_end = take_over(self._bequest, self._config, cleanup)
        else:
            self._estate, self._lifeline_end = make_estate(self._config, cleanup)
        self._pools = Pools(self._estate.segment, self._estate.bells)
        self._vault = Vault(self._pools, self._estate.mailboxes, self._estate.vault)
        self._periods = Periods(self._estate.segment)
        self._configuring = Configuring(
            self._config, self._pools, self._estate.mock_key, self._estate.ticket_keys
        )
        self._listen_for_signals()
        regency = None if self._bequest is None else self._bequest.take_regency()
        if regency is not None:
            self._harbour = Harbour(
                regency, self._config, self._pools, self._vault, self._estate.mailboxes, self._estate.harbours
            )
            self._harbour.open()
            self._selector.register(self._harbour.inbox, selectors.EVENT_READ, self._harbour.collect)

    def _listen_for_signals(self) -> None:
        """Handlers do nothing: Python writes the signal's number to a socket that the loop reads."""
        self._signals_in, self._signals_out = socket.socketpair()
        self._signals_in.setblocking(False)
        self._signals_out.setblocking(False)
        for number in _SIGNALS:
            with contextlib.suppress(OSError):  # valgrind keeps the last real-time signal for itself
                signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._signals_out.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, signal.valid_signals()
        )  # as a predecessor may have blocked them
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals_in, selectors.EVENT_READ, self._heed_signals)
        self._selector.register(self._estate.mailboxes[-1], selectors.EVENT_READ, self._vault.collect)

    def _let_go(self) -> None:
        """In a worker that has just been forked: of all that only the supervisor may have or heed."""
        self._let_go_of_signals()
        os.close(self._lifeline_end)
        if self._harbour is not None:
            self._harbour.let_go()

    def _let_go_of_rule(self) -> None:
        """In a regent that has just been forked: of all that is the successor's. It keeps our workers' lifeline."""
        self._let_go_of_signals()
        self._pid_file.close()
        self._systemd.close()

    def _let_go_of_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL if each == signal.SIGCHLD else signal.SIG_IGN)
        self._selector.close()

    def _say_ready(self) -> None:
        where = [str(address) for address in self._config.pgmux.listen]
        if self._config.unix_socket:
            where.append(self._config.unix_socket)
        self._log.info(
            "pgmux %s is ready: %d workers on %s, at most %d backends",
            __version__, len(self._crew.posts), ", ".join(where), self._config.pgmux.max_backends,
        )  # fmt: skip
        self._systemd.ready(self._status())

    # --- the loop

    def _wait(self) -> None:
        patience = _TICK_SECONDS if self._harbour is None else PATIENCE_SECONDS
        for key, _ in self._selector.select(min(patience, self._crew.patience_s(time.monotonic()))):
            key.data()

    def _heed_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._signals_in.recv(4096):
                self._heed(signal.Signals(number))

    def _heed(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            self._crew.reap()
            if self._harbour is not None:
                self._harbour.reap()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number, number.name)
        elif number == signal.SIGQUIT:
            self._log.info("SIGQUIT: stopping at once")
            self._stop_signal, self._is_breaking_off = number, True
            self._crew.is_stopping = True
            self._systemd.stopping("stopping at once")
            self._signal_workers(signal.SIGKILL)
        elif number == DRAIN:
            self._crew.replace_workers()
        elif number == UPGRADE:
            self.upgrade()
        elif number == signal.SIGUSR1:
            self._log.info("SIGUSR1: paused, clients wait from their next transaction on")
            self._pools.pause()
        elif number == signal.SIGUSR2:
            self._log.info("SIGUSR2: resumed")
            self._pools.resume()
        else:
            self._reload()

    def _heed_orders(self) -> None:
        """What the operator has asked of a worker that only we may do."""
        orders, self._vault.orders = self._vault.orders, []
        if self._harbour is not None:
            orders, self._harbour.orders = orders + self._harbour.orders, []
        for order in orders:
            if order.kind in (Kind.CANCEL, Kind.KILL):
                self._forward(order)
            elif order.kind is Kind.RELOAD:
                self._reload()
            elif order.kind is Kind.UPGRADE:
                self.upgrade()
            elif order.kind is Kind.SET:
                self._set(order)
            elif order.target == WHEN_CLIENTS_ARE_GONE:
                self._let_leave()
            else:
                self._stop(signal.SIGTERM, "SHUTDOWN", is_urgent=order.target == AT_ONCE)

    def _reload(self) -> None:
        """Read the configuration again. What is wrong with it is logged, and then nothing changes.

        Where another version has been installed since, it takes over, and reads it.
        """
        if installed_version() != __version__ and self.upgrade():
            return
        self._systemd.reloading()
        try:
            self._configuring.reload()
        except PgmuxError as error:
            self._log.error("not reloaded, nothing has changed: %s", error)
            self._systemd.ready("not reloaded: the configuration has errors, see the log")
            return
        self._systemd.ready(self._status())
        self._go_by(self._configuring.config)

    def _go_by(self, config: Config) -> None:
        self._config = config
        self._crew.reconfigure(config)

    def upgrade(self) -> bool:
        """The installed code takes over: first here, then in one worker after the other. False = it cannot."""
        self._systemd.reloading()
        try:
            if self._harbour is not None:
                raise CannotBequeath(
                    "clients of the version before the last are still to come: try again later"
                )
            version, is_stranger = examine_successor(self._config, self._systemd.keep_waiting)
            self._log.info("pgmux %s takes over from %s", version, __version__)
            self._vault.collect()
            posts = [(post.pid, post.started) for post in self._crew.posts]
            pid_file = self._pid_file.fileno()
            self._systemd.keep_waiting()
            bequest = bequeath(self._config, self._estate, posts, pid_file, self._lifeline_end)
            if is_stranger:
                self._become_stranger(bequest)
            become_successor(bequest)
        except CannotBequeath as error:
            self._log.error("not upgraded, nothing has changed: %s", error)
            self._systemd.ready(self._status())
        return False

    def _become_stranger(self, bequest: Bequest) -> None:
        """A successor that cannot read our segment: does not return. Raises CannotBequeath, and nothing is changed."""
        regency = appoint(
            self._crew, self._estate, self._pools, self._vault, self._configuring, self._let_go_of_rule
        )
        try:
            become_successor(bequeath_to_stranger(bequest, regency))
        except CannotBequeath:
            os.kill(regency.regent, signal.SIGKILL)
            os.waitpid(regency.regent, 0)
            raise

    def _forward(self, request: Message) -> None:
        """It means a client of before."""
        if self._harbour is not None:
            self._harbour.forward(request)
        elif request.fd >= 0:
            os.close(request.fd)

    def _set(self, order: Message) -> None:
        try:
            self._configuring.set(order.body.decode("utf-8", "surrogateescape"))
        except PgmuxError as error:
            self._log.error("not set, nothing has changed: %s", error)
        self._go_by(self._configuring.config)

    def _let_leave(self) -> None:
        """Take no more clients, and stop when the last has left."""
        if self._stop_signal is None:
            self._log.info("SHUTDOWN: no new clients, stopping when the last has left")
            self._stop_signal = signal.SIGTERM
            self._crew.is_stopping = True
            self._stop_deadline = math.inf
            self._pools.workers.send_all_on_errand(Errand.LET_LEAVE)

    def _stop(self, number: signal.Signals, word: str, *, is_urgent: bool = False) -> None:
        """Once: finish transactions and leave. Again, or when it is urgent: break them off."""
        again = is_urgent or self._stop_signal is not None
        intent = "stopping at once" if again else "finishing transactions, then stopping"
        self._log.info("%s: %s", word, intent)
        self._stop_signal = number
        self._crew.is_stopping = True
        self._systemd.stopping(intent)
        if again:
            self._break_off()
        else:
            self._stop_deadline = time.monotonic() + (self._config.pgmux.drain_timeout or math.inf)
            self._signal_workers(FINISH)

    def _signal_workers(self, number: signal.Signals) -> None:
        """Ours, and those of another layout that are left."""
        self._crew.signal(number)
        if self._harbour is not None:
            self._harbour.signal(number)

    def _tick(self) -> None:
        now = time.monotonic()
        self._vault.sweep()
        self._estate.ticket_keys.advance(now)  # what a successor inherits must not open old tickets
        self._keep_period()
        self._crew.tick(now)
        if self._harbour is not None:
            self._tend_harbour(self._harbour)
        if self._stop_signal is not None:
            self._press_on(now)
        self._systemd.tick(now, self._last_beat(), self._status())

    def _tend_harbour(self, harbour: Harbour) -> None:
        harbour.tick(is_nobody_left=self._crew.is_stopping and self._crew.is_gone())
        if harbour.is_closed:
            self._selector.unregister(harbour.inbox)
            self._harbour = None

    def _last_beat(self) -> int:
        """The youngest heartbeat of any worker, microseconds; its birth, which we wrote, is none."""
        records = [self._pools.workers.read(number) for number in range(len(self._crew.posts))]
        return max(row["heartbeat_us"] * (row["heartbeat_us"] > row["started_at_us"]) for row in records)

    def _status(self) -> str:
        """How pgmux fares, in a line for `systemctl status`."""
        if self._stop_signal is not None:
            return "finishing transactions, then stopping"
        running = self._crew.running()
        clients = sum(self._pools.workers.read(number)["clients"] for number in running)
        backends = f"{len(self._vault.sockets)} of {self._config.pgmux.max_backends} backends"
        paused = ", paused" if self._pools.is_paused else ""
        return f"{len(running)} of {len(self._crew.posts)} workers, {clients} clients, {backends}{paused}"

    def _keep_period(self) -> None:
        """Take the snapshot that averages are made from, and log what was done since the one before."""
        settings = self._config.pgmux
        if self._periods.age_us() < settings.stats_period * 1_000_000 or not settings.stats_period:
            return
        if settings.log_stats and (words := describe_traffic(self._pools, self._periods)):
            self._log.info("stats: %s", words)
        self._periods.take()

    def _press_on(self, now: float) -> None:
        """Stopping: remind the workers (one may have been too young to hear), and in the end insist."""
        if self._stop_deadline == math.inf:  # it is the clients who say when
            self._pools.workers.send_all_on_errand(Errand.LET_LEAVE)
        elif now < self._stop_deadline:
            self._signal_workers(BREAK_OFF if self._is_breaking_off else FINISH)
        elif self._is_breaking_off:
            self._signal_workers(signal.SIGKILL)
        else:
            limit = self._config.pgmux.drain_timeout
            self._log.warning("transactions not finished within drain_timeout (%gs): broken off", limit)
            self._break_off()

    def _break_off(self) -> None:
        self._is_breaking_off = True
        self._stop_deadline = time.monotonic() + INSIST_AFTER_SECONDS
        self._signal_workers(BREAK_OFF)
