"""What goes wrong, by chance: one table of troubles, and who makes them."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import psutil

from pgmux.supervisor.main import UPGRADE
from pgmux.worker.main import DRAIN
from tests.chaos.mailboxes import fill_mailboxes
from tests.integration.census import Census
from tests.integration.inside import Inside
from tests.servers import Pgmux, Postgres, Proxy, wait_until


class Trouble(NamedTuple):
    """One kind of trouble: how often it comes, against the others."""

    weight: int
    make: Callable[[Troublemaker], None]


class Troublemaker:
    """Makes trouble for a pgmux, its PostgreSQL, and the two networks between them and the clients."""

    def __init__(
        self, pgmux: Pgmux, postgres: Postgres, census: Census, before: Proxy, behind: Proxy, seed: int
    ) -> None:
        self._pgmux, self._postgres, self._census = pgmux, postgres, census
        self._before, self._behind = before, behind  # between clients and pgmux, pgmux and PostgreSQL
        self._inside = Inside(pgmux)
        self._chance = random.Random(seed)
        self.made: dict[str, int] = {}

    def pause_s(self) -> float:
        """How long to leave them in peace."""
        return self._chance.choice((0.0, 0.01, 0.05, 0.2, 0.4))

    def make_some(self) -> None:
        """One trouble."""
        name = self._chance.choices(list(TROUBLES), [trouble.weight for trouble in TROUBLES.values()])[0]
        self.made[name] = self.made.get(name, 0) + 1
        TROUBLES[name].make(self)

    def make_peace(self) -> None:
        """What lasts is ended."""
        for proxy in (self._before, self._behind):
            proxy.release()
            proxy.delay(0)
            proxy.split(0)
        for pid in self._inside.pids():
            self._signal(pid, signal.SIGCONT)
        if not self._postgres.is_running():
            self._postgres.start()
        if self.made.get("upgrade"):
            wait_until(self._is_upgraded, 60, "the end of the last upgrade")

    def _is_upgraded(self) -> bool:
        told = self._pgmux.log_file.whole()
        return told.rfind("all workers have been replaced") > told.rfind("takes over from")

    def kill_worker(self) -> None:
        self._signal(self._some_worker(), signal.SIGKILL)

    def stop_worker(self) -> None:
        pid = self._some_worker()
        self._signal(pid, signal.SIGSTOP)
        self._rest(0.5)
        self._signal(pid, signal.SIGCONT)

    def kill_stopped_worker(self) -> None:
        pid = self._some_worker()
        self._signal(pid, signal.SIGSTOP)
        self._rest(0.1)
        self._signal(pid, signal.SIGKILL)

    def let_a_worker_run_out_of_descriptors(self) -> None:
        worker = psutil.Process(self._some_worker())
        with suppress(psutil.NoSuchProcess):
            before = worker.rlimit(psutil.RLIMIT_NOFILE)
            worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds(), before[1]))
            self._rest(0.3)
            worker.rlimit(psutil.RLIMIT_NOFILE, before)

    def end_backend(self) -> None:
        self._signal(self._some_backend(), signal.SIGTERM)

    def kill_backend(self) -> None:
        """PostgreSQL then ends all of them, and recovers."""
        self._signal(self._some_backend(), signal.SIGKILL)

    def restart_postgres(self) -> None:
        self._postgres.restart(self._chance.choice(("fast", "immediate")))

    def cut_clients(self) -> None:
        self._chance.choice((self._before.cut, self._before.reset))()

    def delay(self) -> None:
        self._chance.choice((self._before, self._behind)).delay(self._chance.choice((0, 0.002, 0.02)))

    def split(self) -> None:
        self._chance.choice((self._before, self._behind)).split(self._chance.choice((0, 1, 7, 100)))

    def hold(self) -> None:
        proxy = self._chance.choice((self._before, self._behind))
        proxy.hold()
        self._rest(0.3)
        proxy.release()

    def reload(self) -> None:
        self._pgmux.signal(signal.SIGHUP)

    def pause(self) -> None:
        self._pgmux.signal(signal.SIGUSR1)
        self._rest(0.2)
        self._pgmux.signal(signal.SIGUSR2)

    def fill_mailboxes(self) -> None:
        """And a worker that does not read its own, so that it stays full."""
        pid = self._some_worker()
        self._signal(pid, signal.SIGSTOP)
        fill_mailboxes(self._pgmux.supervisor_pid)
        self._rest(0.3)
        self._signal(pid, signal.SIGCONT)

    def drain_worker(self) -> None:
        self._signal(self._some_worker(), DRAIN)

    def upgrade(self) -> None:
        self._pgmux.signal(UPGRADE)

    def _some_worker(self) -> int:
        return self._chance.choice(wait_until(self._inside.pids, what="a worker"))

    def _some_backend(self) -> int:
        """The process id of one of pgmux's backends; 0 when there is none."""
        return self._chance.choice(sorted(self._census.now) or [0])

    def _signal(self, pid: int, number: signal.Signals) -> None:
        if pid:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).send_signal(number)

    def _rest(self, seconds: float) -> None:
        """Leave a trouble to itself for so long."""
        self.rest(self._chance.uniform(0, seconds))

    rest: Callable[[float], None] = staticmethod(lambda seconds: None)  # the crowd's, which ends with it


TROUBLES: dict[str, Trouble] = {
    "kill -9 of a worker": Trouble(8, Troublemaker.kill_worker),
    "SIGSTOP of a worker": Trouble(3, Troublemaker.stop_worker),
    "kill -9 of a stopped worker": Trouble(2, Troublemaker.kill_stopped_worker),
    "no descriptors": Trouble(2, Troublemaker.let_a_worker_run_out_of_descriptors),
    "end of a backend": Trouble(6, Troublemaker.end_backend),
    "kill -9 of a backend": Trouble(1, Troublemaker.kill_backend),
    "restart of PostgreSQL": Trouble(1, Troublemaker.restart_postgres),
    "cut clients": Trouble(2, Troublemaker.cut_clients),
    "delay": Trouble(2, Troublemaker.delay),
    "split": Trouble(2, Troublemaker.split),
    "hold": Trouble(1, Troublemaker.hold),
    "reload": Trouble(1, Troublemaker.reload),
    "pause and resume": Trouble(1, Troublemaker.pause),
    "full mailboxes": Trouble(2, Troublemaker.fill_mailboxes),
    "drain of a worker": Trouble(2, Troublemaker.drain_worker),
    "upgrade": Trouble(1, Troublemaker.upgrade),
}
