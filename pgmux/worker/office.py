"""The office: where the operator, and programs that watch pgmux, ask one worker and are told of all.

It has three doors: the console, among the clients; the control socket; and the page of metrics, where
metrics_listen asks for it. Behind all of them is the same clerk.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from pgmux.config import Config
from pgmux.control.clerk import Clerk
from pgmux.control.figures import Figures
from pgmux.control.operator import Operator
from pgmux.session.refusals import Refusal
from pgmux.shm.clients import Clients
from pgmux.shm.pools import Pools
from pgmux.worker.consoles import Consoles
from pgmux.worker.control_socket import ControlSocket
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.journal import Journal
from pgmux.worker.mailbox import Kind, Mailbox, Message
from pgmux.worker.workload import Workload


class Levers:
    """What the operator needs others for: the supervisor, or the worker that holds a client."""

    def __init__(
        self, worker: int, mailboxes: list[Mailbox], kill_client: Callable[[int, int], None]
    ) -> None:
        """`kill_client(record, number)`: send off a client of this worker."""
        self.worker = worker
        self._mailboxes = mailboxes
        self._kill_client = kill_client

    def reload(self) -> None:
        """Ask the supervisor to read the configuration again."""
        self._mailboxes[-1].send(Message(Kind.RELOAD, 0))

    def set(self, key: str, text: str) -> None:
        """Ask the supervisor to change an option."""
        self._mailboxes[-1].send(
            Message(Kind.SET, 0, body=f"{key}={text}".encode("utf-8", "surrogateescape"))
        )

    def upgrade(self) -> None:
        """Ask the supervisor to let the installed version take over."""
        self._mailboxes[-1].send(Message(Kind.UPGRADE, 0))

    def shut_down(self, mode: int) -> None:
        """Ask the supervisor to stop pgmux."""
        self._mailboxes[-1].send(Message(Kind.SHUTDOWN, mode))

    def kill_client_of_before(self, record: int, number: int) -> None:
        """Ask the supervisor for the same, of a client that has not come over from another segment."""
        self._mailboxes[-1].send(Message(Kind.KILL, record, number))

    def kill_client(self, worker: int, record: int, number: int) -> None:
        """Ask a worker to send off a client."""
        if worker == self.worker:
            self._kill_client(record, number)
        else:
            self._mailboxes[worker].send(Message(Kind.KILL, record, number))


class _Door(Protocol):
    def start(self) -> None: ...
    def shut(self) -> None: ...
    def stop(self) -> None: ...


def import_metrics() -> None:
    """By the supervisor, where metrics are wanted: what is imported before the fork, workers share."""
    import pgmux.worker.metrics_page  # noqa: F401


class Office:
    """One worker's office."""

    def __init__(
        self,
        estate: Inheritance,
        pools: Pools,
        records: Clients,
        levers: Levers,
        journal: Journal,
        config: Callable[[], Config],
        users: Callable[[], Collection[str]],
    ) -> None:
        """`config` gives the configuration in force, `users` the names that may log in."""
        self.figures = Figures(pools, config, users)
        self.workload = Workload()
        clerk = Clerk(self.figures, Operator(self.figures, levers), journal.commanded)
        self.consoles = Consoles(clerk, self.workload, records, journal, config)
        self._doors: list[_Door] = []
        if estate.control_listener is not None:
            self._doors.append(ControlSocket(estate.control_listener, clerk, self.workload))
        if estate.metrics_listener is not None:
            from pgmux.worker.metrics_page import MetricsPage

            self._doors.append(MetricsPage(estate.metrics_listener, self.figures, self.workload))

    def open(self) -> None:
        """Let people in."""
        for door in self._doors:
            door.start()

    def shut(self) -> None:
        """Let nobody in any more."""
        for door in self._doors:
            door.shut()

    def close(self) -> None:
        """Send them off."""
        self.consoles.close(Refusal.SHUTTING_DOWN)
        for door in self._doors:
            door.stop()
