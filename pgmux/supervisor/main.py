"""The supervisor: binds, forks, watches, fences, and does nothing else.

It is on nobody's data path and knows no SQL. Its loop waits for three things: a signal (the
handlers only queue), a message for the vault, and the next second. What a worker's death
means is in `_bury`, in the order that makes it safe.

It never makes a gevent hub: workers are forked from it and must each have their own.
"""

import contextlib
import errno
import fcntl
import gc
import logging
import math
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass

from pgmux import __version__
from pgmux.config import Config
from pgmux.control.operator import AT_ONCE, WHEN_CLIENTS_ARE_GONE
from pgmux.control.traffic import describe_traffic
from pgmux.errors import PgmuxError
from pgmux.session.ticket_keys import TicketKeys
from pgmux.shm.answers import Answers
from pgmux.shm.clients import Clients
from pgmux.shm.ears import Ears
from pgmux.shm.periods import Periods
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from pgmux.shm.workers import Errand, WorkerState, make_bells
from pgmux.supervisor.configuring import Configuring
from pgmux.supervisor.descriptors import raise_descriptor_limit
from pgmux.supervisor.listeners import bind_shared, bind_tcp, bind_unix, close_all
from pgmux.supervisor.notify import Notifier
from pgmux.supervisor.succession import (
    Bequest,
    CannotBequeath,
    become_successor,
    bequeath,
    examine_successor,
    installed_version,
)
from pgmux.supervisor.vault import Vault
from pgmux.worker.entrance import open_doors
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.journal import open_log
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.main import BREAK_OFF, DRAIN, FINISH, Worker
from pgmux.worker.office import import_metrics
from pgmux.worker.tls import open_tls

WEDGED_AFTER_SECONDS = 10.0  # without a heartbeat a worker is killed
INSIST_AFTER_SECONDS = 5.0  # a worker that has been told to break everything off is killed
_BRIEF_LIFE_SECONDS = 1.0
_BRIEF_LIVES_FORGIVEN = 3  # in a row, before a successor has to wait
_BACK_OFF_SECONDS = 0.1  # at first; doubled with each further brief life
_LONGEST_BACK_OFF_SECONDS = 5.0
_LONGEST_BACK_OFF_OF_SERVING_SECONDS = 0.2
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


@dataclass(slots=True)
class _Post:
    """A worker's place: who fills it, and when it is to be filled."""

    pid: int = 0  # 0 = vacant
    started: float = 0.0  # time.monotonic()
    brief_lives: int = 0  # in a row, of those who filled it
    due: float = 0.0  # when a successor is to be forked

    def plan_successor(self, now: float, lived: float, *, served: bool) -> bool:
        """Whether a successor is to be forked at once, else it is at `due`: a place whose workers die as soon as
        they are born must not keep the machine busy with forking.

        One that has served will do so again, and was killed: by somebody, or by what some client asks.
        """
        self.brief_lives = self.brief_lives + 1 if lived < _BRIEF_LIFE_SECONDS else 0
        too_many = self.brief_lives - _BRIEF_LIVES_FORGIVEN
        longest = _LONGEST_BACK_OFF_OF_SERVING_SECONDS if served else _LONGEST_BACK_OFF_SECONDS
        self.due = now
        if too_many > 0:
            self.due += min(_BACK_OFF_SECONDS * 2 ** min(too_many - 1, 10), longest)
        return too_many <= 0


class Supervisor:
    """`Supervisor(config).run()` is `pgmux run`."""

    def __init__(self, config: Config) -> None:
        self._bequest = Bequest.take(os.environ)  # None unless we are our own successor
        if self._bequest is not None:
            config = self._bequest.config(config)
        self._config = config
        self._log = logging.getLogger("supervisor")
        posts = self._bequest.posts if self._bequest else [(0, 0.0)] * config.worker_count()
        self._posts = [_Post(pid, started) for pid, started in posts]
        self._stop_signal: signal.Signals | None = None
        self._stop_deadline = 0.0  # time.monotonic()
        self._to_be_replaced: list[tuple[int, int]] = []  # (number, pid) of workers, the next one first
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
            for number, post in enumerate(self._posts):
                if not post.pid:
                    self._fork(number)
            self._say_ready()
            if self._bequest is not None:
                self._pools.board.publish(b"", True)  # as by a RELOAD: what SET has changed is forgotten
                self._reap()
                self.replace_workers()
            while self._stop_signal is None or any(post.pid for post in self._posts):
                self._wait()
                self._heed_orders()
                self._tick()
            self._vault.close()
        self._log.info("pgmux has stopped")
        return 0

    # --- before the first fork

    def _prepare(self, cleanup: contextlib.ExitStack) -> None:
        raise_descriptor_limit(self._config)
        self._lock_runtime_dir(cleanup)
        if self._bequest is not None:
            self._take_over(self._bequest, cleanup)
        else:
            self._make_estate(cleanup)
        segment, bells, mailboxes = self._estate.segment, self._estate.bells, self._estate.mailboxes
        self._pools, self._clients, self._ears = Pools(segment, bells), Clients(segment), Ears(segment)
        self._answers = Answers(segment, self._pools.workers)
        self._vault = Vault(self._pools, mailboxes, self._estate.vault)
        self._periods = Periods(segment)
        self._configuring = Configuring(
            self._config, self._pools, self._estate.mock_key, self._estate.ticket_keys
        )
        self._listen_for_signals()
        gc.collect()
        gc.freeze()

    def _take_over(self, bequest: Bequest, cleanup: contextlib.ExitStack) -> None:
        """What our predecessor had, whose process we are."""
        self._estate, self._lifeline_end = bequest.inheritance(), bequest.lifeline_end
        cleanup.callback(_unlink_quietly, self._config.segment_path)
        office = [each for each in (self._estate.control_listener, self._estate.metrics_listener) if each]
        for listeners in (*self._estate.listeners, self._estate.shared_listeners, office):
            cleanup.callback(close_all, listeners)
        if self._estate.metrics_listener is not None:
            import_metrics()

    def _make_estate(self, cleanup: contextlib.ExitStack) -> None:
        settings, workers = self._config.pgmux, len(self._posts)
        open_doors(self._config, mock_key := os.urandom(32))  # each worker opens its own; trouble shows now
        open_tls(self._config, ticket_keys := TicketKeys(os.urandom(64), time.monotonic()))
        listeners: list[list[socket.socket]] = [[] for _ in range(workers)]
        for address in settings.listen:
            for mine, listener in zip(listeners, bind_tcp(address, workers), strict=True):
                mine.append(listener)
                cleanup.callback(listener.close)
        shared = [bind_unix(self._config.unix_socket)] if self._config.unix_socket else []
        cleanup.callback(close_all, shared)
        control = bind_unix(self._config.control_socket, 0o600, "control_socket")
        cleanup.callback(close_all, [control])
        metrics = bind_shared(settings.metrics_listen, "metrics_listen") if settings.metrics_listen else None
        cleanup.callback(close_all, [metrics] if metrics else [])
        if metrics:
            import_metrics()
        segment = Segment.create(
            self._config.segment_path,
            workers=workers,
            backends=settings.max_backends,
            pools=settings.max_pools,
            clients=settings.max_client_conn,
            statements=settings.max_prepared_statements,
        )
        cleanup.callback(_unlink_quietly, self._config.segment_path)
        bells, mailboxes = make_bells(workers), [Mailbox() for _ in range(workers + 1)]
        lifeline, self._lifeline_end = os.pipe()
        self._estate = Inheritance(
            segment, bells, mailboxes, listeners, shared, lifeline, mock_key, ticket_keys,
            ear_mailboxes=[Mailbox() for _ in range(workers)],
            control_listener=control, metrics_listener=metrics,
        )  # fmt: skip

    def _lock_runtime_dir(self, cleanup: contextlib.ExitStack) -> None:
        """One pgmux a runtime_dir. Raises PgmuxError."""
        directory = self._config.pgmux.runtime_dir
        path = f"{directory}/pgmux.pid"
        inherited = None if self._bequest is None else self._bequest.pid_file  # and with it the lock
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            # Held, and with it the lock, until the end.
            pid_file = open(path if inherited is None else inherited, "a+", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            raise PgmuxError(f"cannot use runtime_dir {directory}: {error.strerror}") from None
        cleanup.callback(pid_file.close)
        self._pid_file = pid_file
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid_file.seek(0)
            pid = pid_file.read().strip() or "?"
            raise PgmuxError(f"another pgmux (pid {pid}) uses runtime_dir {directory}: stop it") from None
        pid_file.truncate(0)
        pid_file.write(f"{os.getpid()}\n")
        pid_file.flush()
        cleanup.callback(_unlink_quietly, path)

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

    def _say_ready(self) -> None:
        where = [str(address) for address in self._config.pgmux.listen]
        if self._config.unix_socket:
            where.append(self._config.unix_socket)
        self._log.info(
            "pgmux %s is ready: %d workers on %s, at most %d backends",
            __version__, len(self._posts), ", ".join(where), self._config.pgmux.max_backends,
        )  # fmt: skip
        self._systemd.ready(self._status())

    # --- the loop

    def _wait(self) -> None:
        now = time.monotonic()
        births = [post.due - now for post in self._posts if not post.pid] if self._stop_signal is None else []
        for key, _ in self._selector.select(max(min([_TICK_SECONDS, *births]), 0)):
            key.data()

    def _heed_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._signals_in.recv(4096):
                self._heed(signal.Signals(number))

    def _heed(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number, number.name)
        elif number == signal.SIGQUIT:
            self._log.info("SIGQUIT: stopping at once")
            self._stop_signal, self._is_breaking_off = number, True
            self._systemd.stopping("stopping at once")
            self._signal_workers(signal.SIGKILL)
        elif number == DRAIN:
            self.replace_workers()
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
        for order in orders:
            if order.kind is Kind.RELOAD:
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
        self._config = self._configuring.config

    def upgrade(self) -> bool:
        """The installed code takes over: first here, then in one worker after the other. False = it cannot."""
        self._systemd.reloading()
        try:
            version = examine_successor(self._config)
            self._log.info("pgmux %s takes over from %s", version, __version__)
            self._vault.collect()
            posts = [(post.pid, post.started) for post in self._posts]
            pid_file = self._pid_file.fileno()
            become_successor(bequeath(self._config, self._estate, posts, pid_file, self._lifeline_end))
        except CannotBequeath as error:
            self._log.error("not upgraded, nothing has changed: %s", error)
            self._systemd.ready(self._status())
        return False

    def _set(self, order: Message) -> None:
        try:
            self._configuring.set(order.body.decode("utf-8", "surrogateescape"))
        except PgmuxError as error:
            self._log.error("not set, nothing has changed: %s", error)
        self._config = self._configuring.config

    def _let_leave(self) -> None:
        """Take no more clients, and stop when the last has left."""
        if self._stop_signal is None:
            self._log.info("SHUTDOWN: no new clients, stopping when the last has left")
            self._stop_signal = signal.SIGTERM
            self._stop_deadline = math.inf
            self._pools.workers.send_all_on_errand(Errand.LET_LEAVE)

    def _stop(self, number: signal.Signals, word: str, *, is_urgent: bool = False) -> None:
        """Once: finish transactions and leave. Again, or when it is urgent: break them off."""
        again = is_urgent or self._stop_signal is not None
        intent = "stopping at once" if again else "finishing transactions, then stopping"
        self._log.info("%s: %s", word, intent)
        self._stop_signal = number
        self._systemd.stopping(intent)
        if again:
            self._break_off()
        else:
            self._stop_deadline = time.monotonic() + (self._config.pgmux.drain_timeout or math.inf)
            self._signal_workers(FINISH)

    def _signal_workers(self, number: signal.Signals) -> None:
        for post in self._posts:
            if post.pid:
                os.kill(post.pid, number)

    def _tick(self) -> None:
        now = time.monotonic()
        self._vault.sweep()
        self._estate.ticket_keys.advance(now)  # what a successor inherits must not open old tickets
        self._keep_period()
        for number, post in enumerate(self._posts):
            if post.pid == 0:
                if self._stop_signal is None and now >= post.due:
                    self._fork(number)
            elif self._pools.workers.silence_us(number) > WEDGED_AFTER_SECONDS * 1_000_000:
                self._log.error(
                    "worker %d (pid %d) has not moved for %.0fs: killing it",
                    number, post.pid, WEDGED_AFTER_SECONDS,
                )  # fmt: skip
                os.kill(post.pid, signal.SIGKILL)
        if self._stop_signal is not None:
            self._press_on(now)
        elif self._to_be_replaced:
            self._go_on_replacing()
        self._systemd.tick(now, self._last_beat(), self._status())

    def _last_beat(self) -> int:
        """The youngest heartbeat of any worker, microseconds; its birth, which we wrote, is none."""
        records = [self._pools.workers.read(number) for number in range(len(self._posts))]
        return max(row["heartbeat_us"] * (row["heartbeat_us"] > row["started_at_us"]) for row in records)

    def _status(self) -> str:
        """How pgmux fares, in a line for `systemctl status`."""
        if self._stop_signal is not None:
            return "finishing transactions, then stopping"
        running = [number for number, post in enumerate(self._posts) if post.pid]
        clients = sum(self._pools.workers.read(number)["clients"] for number in running)
        backends = f"{len(self._vault.sockets)} of {self._config.pgmux.max_backends} backends"
        paused = ", paused" if self._pools.is_paused else ""
        return f"{len(running)} of {len(self._posts)} workers, {clients} clients, {backends}{paused}"

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

    # --- workers

    def replace_workers(self) -> None:
        """Drain one worker after the other, so that each one's clients go to workers that serve."""
        self._to_be_replaced = [(number, post.pid) for number, post in enumerate(self._posts)]
        self._log.info("replacing all workers, one after the other")
        self._go_on_replacing()

    def _go_on_replacing(self) -> None:
        """The first in the list drains; once its successor serves, it is the next one's turn."""
        number, pid = self._to_be_replaced[0]
        record = self._pools.workers.read(number)
        if record["pid"] == pid:
            self._pools.workers.send_on_errand(number, Errand.DRAIN)
        elif record["state"] == WorkerState.SERVING:
            del self._to_be_replaced[0]
            if self._to_be_replaced:
                self._go_on_replacing()
            else:
                self._log.info("all workers have been replaced")

    def _fork(self, number: int) -> None:
        post = self._posts[number]
        self._estate.configuration = self._pools.board.configuration
        self._estate.reloads = self._pools.board.reloads
        self._vault.collect()  # the child inherits what is in the vault now; the rest lies in its mailbox
        pid = os.fork()
        if pid == 0:
            self._be_worker(number)
        post.pid, post.started = pid, time.monotonic()
        self._pools.workers.enlist(number, pid)
        # While the post was vacant nobody could be sent here: another may have died over a grant to its last holder.
        self._pools.workers.send_on_errand(number, Errand.LOOK_FOR_GRANTS | Errand.OPEN_BACKENDS)

    def _be_worker(self, number: int) -> None:
        """The child's life. Never returns: nothing of the supervisor's stack is the child's to unwind."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL if each == signal.SIGCHLD else signal.SIG_IGN)
            os.close(self._lifeline_end)
            self._selector.close()
            Worker(number, self._config, self._estate).run()
            code = 0
        except OSError as error:
            is_short = error.errno in (errno.EMFILE, errno.ENFILE)  # the successor may have more luck
            logging.getLogger(f"worker {number}").critical("failed: %s", error, exc_info=not is_short)
        except BaseException:
            logging.getLogger(f"worker {number}").critical("failed", exc_info=True)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for number, post in enumerate(self._posts):
            if not post.pid:
                continue
            pid, status = os.waitpid(post.pid, os.WNOHANG)
            if pid:
                self._bury(number, post, os.waitstatus_to_exitcode(status))

    def _bury(self, number: int, post: _Post, code: int) -> None:
        """A worker is dead. Everything it held is ended before its successor is born.

        It is reaped, so it cannot move any more: nobody races these steps but other workers'
        hand-overs, and Pools.fence is written for those. What it had leased is left CLOSING to its
        undertaker, which cancels the queries and waits for PostgreSQL to end the connections. The ears that
        it held are nobody's, and whoever wants to listen there takes them over.
        """
        lived, pid, post.pid = time.monotonic() - post.started, post.pid, 0
        self._vault.collect()
        served = self._pools.workers.read(number)["state"] != WorkerState.STARTING
        self._pools.workers.dismiss(number)
        self._pools.workers.send_all_on_errand(Errand.STAND_IN)  # its accept queue waits for nobody's birth
        fenced = self._pools.fence(number, self._undertaker(number))
        in_order = code == 0
        gone = self._clients.expel(number, keeps_coming=in_order)
        self._answers.expel(number)
        self._ears.fence(number)
        self._pools.workers.send_all_on_errand(Errand.LOOK_AT_EARS)
        if self._stop_signal is not None:
            return
        if in_order:
            self._log.info("worker %d (pid %d) has left, drained", number, pid)
            self._fork(number)
            return
        self._log.error(
            "worker %d (pid %d) died (%s) after %.0fs: %d clients lost, %d backends fenced",
            number, pid, _cause(code), lived, gone, len(fenced),
        )  # fmt: skip
        if post.plan_successor(time.monotonic(), lived, served=served):
            self._fork(number)

    def _undertaker(self, dead: int) -> int:
        """The worker that is to end what the dead one had leased: one that lives, and need not be born first.

        It gets their sockets from the vault.
        """
        heir = self._pools.workers.find_lightest(dead)
        return dead if heir is None else heir


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _unlink_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
