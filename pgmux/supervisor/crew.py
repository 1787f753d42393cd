"""The crew: the workers' places, and who fills them. Forks, reaps, buries, replaces.

What a worker's death means is in `_bury`, in the order that makes it safe.
"""

import contextlib
import errno
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from pgmux.config import Config
from pgmux.shm.answers import Answers
from pgmux.shm.clients import Clients
from pgmux.shm.ears import Ears
from pgmux.shm.fencing import fence
from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand, WorkerState
from pgmux.supervisor.vault import Vault
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.main import Worker

WEDGED_AFTER_SECONDS = 10.0  # without a heartbeat a worker is killed
_BRIEF_LIFE_SECONDS = 1.0
_BRIEF_LIVES_FORGIVEN = 3  # in a row, before a successor has to wait
_BACK_OFF_SECONDS = 0.1  # at first; doubled with each further brief life
_LONGEST_BACK_OFF_SECONDS = 5.0
_LONGEST_BACK_OFF_OF_SERVING_SECONDS = 0.2


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


class Crew:
    """All workers of one pgmux."""

    def __init__(self, posts: list[tuple[int, float]]) -> None:
        """`posts`: (pid, 0 = vacant, and time.monotonic() of the fork) of each worker."""
        self.posts = [_Post(pid, started) for pid, started in posts]
        self.is_stopping = False  # then nobody is born any more
        self._to_be_replaced: list[tuple[int, int]] = []  # (number, pid) of workers, the next one first
        self._log = logging.getLogger("supervisor")

    def begin(
        self, config: Config, estate: Inheritance, pools: Pools, vault: Vault, let_go: Callable[[], None]
    ) -> None:
        """Fill the vacant places. `let_go`: what a child must first be rid of that only the supervisor may have."""
        self._config, self._estate, self._pools, self._vault = config, estate, pools, vault
        self._clients, self._ears = Clients(estate.segment), Ears(estate.segment)
        self._answers = Answers(estate.segment, pools.workers)
        self._let_go = let_go
        gc.collect()
        gc.freeze()
        for number, post in enumerate(self.posts):
            if not post.pid:
                self._fork(number)

    def is_gone(self) -> bool:
        """Whether no worker is left."""
        return not any(post.pid for post in self.posts)

    def running(self) -> list[int]:
        """The numbers of the workers that live."""
        return [number for number, post in enumerate(self.posts) if post.pid]

    def reconfigure(self, config: Config) -> None:
        """After a reload: workers born from now on."""
        self._config = config

    def signal(self, number: signal.Signals) -> None:
        """Send every worker a signal."""
        for post in self.posts:
            if post.pid:
                os.kill(post.pid, number)

    def patience_s(self, now: float) -> float:
        """For how long nobody is to be born."""
        if self.is_stopping:
            return float("inf")
        return min((max(post.due - now, 0.0) for post in self.posts if not post.pid), default=float("inf"))

    def tick(self, now: float) -> None:
        """Fork who is due, and kill who is wedged; go on with replacing."""
        for number, post in enumerate(self.posts):
            if post.pid == 0:
                if not self.is_stopping and now >= post.due:
                    self._fork(number)
            elif self._pools.workers.silence_us(number) > WEDGED_AFTER_SECONDS * 1_000_000:
                self._log.error(
                    "worker %d (pid %d) has not moved for %.0fs: killing it",
                    number, post.pid, WEDGED_AFTER_SECONDS,
                )  # fmt: skip
                self.kill(number)
        if self._to_be_replaced and not self.is_stopping:
            self._go_on_replacing()

    def replace_workers(self) -> None:
        """Drain one worker after the other, so that each one's clients go to workers that serve."""
        self._to_be_replaced = [(number, post.pid) for number, post in enumerate(self.posts)]
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
        post = self.posts[number]
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
            self._let_go()
            Worker(number, self._config, self._estate).run()
            code = 0
        except OSError as error:
            is_short = error.errno in (errno.EMFILE, errno.ENFILE)  # the successor may have more luck
            logging.getLogger(f"worker {number}").critical("failed: %s", error, exc_info=not is_short)
        except BaseException:
            logging.getLogger(f"worker {number}").critical("failed", exc_info=True)
        finally:
            os._exit(code)

    def reap(self) -> None:
        """See who has died, and to everything that follows from it."""
        for number, post in enumerate(self.posts):
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
        lived, pid = time.monotonic() - post.started, post.pid
        served = self._pools.workers.read(number)["state"] != WorkerState.STARTING
        in_order = code == 0
        gone, fenced = self.end_affairs(
            number, self._undertaker(number), in_order=in_order, keeps_coming=in_order
        )
        if self.is_stopping:
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

    def end_affairs(
        self, number: int, undertaker: int, *, in_order: bool, keeps_coming: bool
    ) -> tuple[int, list[int]]:
        """End what a dead worker held: (clients lost, slots fenced). `keeps_coming`: who is on the way to it has a
        successor of it to go to."""
        self.posts[number].pid = 0
        self._vault.collect()
        self._pools.workers.dismiss(number, in_order=in_order)
        self._pools.workers.send_all_on_errand(Errand.STAND_IN)  # its accept queue waits for nobody's birth
        fenced = fence(self._pools, number, undertaker)
        gone = self._clients.expel(number, keeps_coming=keeps_coming)
        self._answers.expel(number)
        self._ears.fence(number)
        self._pools.workers.send_all_on_errand(Errand.LOOK_AT_EARS)
        return gone, fenced

    def kill(self, number: int) -> None:
        """It will be buried when it is dead. A regent's worker may be reaped already: its parent is another."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.posts[number].pid, signal.SIGKILL)

    def _undertaker(self, dead: int) -> int:
        """The worker that is to end what the dead one had leased: one that lives, and need not be born first.

        It gets their sockets from the vault.
        """
        heir = self._pools.workers.find_lightest(dead)
        return dead if heir is None else heir


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
