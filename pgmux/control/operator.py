"""What the operator can have done: to pools, databases, clients, and pgmux itself, in all workers at once.

Everything goes through shared memory, so that it holds in every worker at that instant, whichever worker was
asked, and for those that are forked later. Where something takes its time (a transaction that still runs, a
worker that has to act), the command waits until it is done. What only the supervisor may do is asked of it by
its mailbox.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from pgmux.config import reload
from pgmux.config.changes import change, note_change
from pgmux.config.configuration import ANY_DATABASE, CONSOLE_DATABASES
from pgmux.control.answers import Done, Notice, Reply
from pgmux.control.clock import Clock
from pgmux.control.figures import SILENT_AFTER_US, Figures
from pgmux.control.pool_figures import backends_of
from pgmux.control.request import RequestError
from pgmux.errors import ConfigError, PgmuxError
from pgmux.shm.workers import Errand, WorkerState

if TYPE_CHECKING:
    from pgmux.shm.board import _DatabaseRow

_WORKERS_WITHIN_SECONDS = 3.0  # a worker that has not done something by then is stuck, or stopped
_SUPERVISOR_WITHIN_SECONDS = 5.0
_OF_BEFORE = "of the version before"
_UPGRADE_WITHIN_SECONDS = 60.0  # two Pythons are started to ask the installed version

AT_ONCE, WHEN_SERVERS_ARE_FREE, WHEN_CLIENTS_ARE_GONE = range(3)
SHUTDOWNS = {
    "": AT_ONCE,
    "WAIT_FOR_SERVERS": WHEN_SERVERS_ARE_FREE,
    "WAIT_FOR_CLIENTS": WHEN_CLIENTS_ARE_GONE,
}


class Levers(Protocol):
    """What only a worker can do for the operator."""

    worker: int  # its own number

    def upgrade(self) -> None:
        """Ask the supervisor to let the installed version take over."""

    def reload(self) -> None:
        """Ask the supervisor to read the configuration again."""

    def set(self, key: str, text: str) -> None:
        """Ask the supervisor to change an option."""

    def shut_down(self, mode: int) -> None:
        """Ask the supervisor to stop pgmux: AT_ONCE, WHEN_SERVERS_ARE_FREE or WHEN_CLIENTS_ARE_GONE."""

    def kill_client_of_before(self, record: int, number: int) -> None:
        """Ask the supervisor for the same, of a client that has not come over from another segment."""

    def kill_client(self, worker: int, record: int, number: int) -> None:
        """Ask a worker to send off the client with that record, if it still has that number."""


class Waiting(Protocol):
    """Who waits for a command's end."""

    def wait_until(
        self, is_done: Callable[[], bool], what: Callable[[], str], within_seconds: float | None = None
    ) -> bool:
        """Whether `is_done` came true in time. `what` says what is waited for. **May switch.**

        Raises whatever ends the wait early: who asked has gone, or has cancelled it.
        """


Outcome = Iterator[Reply]


class Operator:
    """The operator's hands in one worker."""

    def __init__(self, figures: Figures, levers: Levers) -> None:
        self._figures = figures
        self._pools = figures.pools_table
        self._board = figures.board
        self._levers = levers

    # --- pools and databases

    def pause(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Lend no more backends, and close them as they become free; done when there is none left."""
        database = self._database(arguments)
        was_paused = self._is_paused(database)
        self._set_paused(database)
        # Taken once after the pause: whoever has begun to open a backend before has a slot now.
        self._pools.segment.locked(lambda: None)
        try:
            asker.wait_until(
                lambda: not self._backends(database),
                lambda: f"waiting for {_count(self._backends(database), 'backend')}",
            )
        except BaseException:
            if not was_paused:
                self._set_resumed(database)
            raise
        yield from self._note_stranger(arguments)
        yield Done("PAUSE")

    def resume(self, arguments: tuple[str, ...], _: Waiting) -> Outcome:
        """Lend backends again."""
        database = self._database(arguments)
        if not self._is_paused(database):
            raise RequestError("55000", f"{_name(arguments)} is not paused")
        self._set_resumed(database)
        if database is None:
            paused = [row["name"] for row in self._databases() if row["is_paused"]]
            if paused:
                names = ", ".join(name.decode("utf-8", "replace") for name in paused)
                yield Notice(f"still paused by themselves: {names}")
        yield Done("RESUME")

    def disable(self, arguments: tuple[str, ...], _: Waiting) -> Outcome:
        """Take no new clients for a database."""
        self._board.disable(self._required_database(arguments))
        yield from self._note_stranger(arguments)
        yield Done("DISABLE")

    def enable(self, arguments: tuple[str, ...], _: Waiting) -> Outcome:
        """Take new clients again."""
        self._board.enable(self._required_database(arguments))
        yield Done("ENABLE")

    def reconnect(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Replace every backend: those in use when their transaction is over."""
        database = self._database(arguments)
        for record in [database] if database is not None else [row["database"] for row in self._databases()]:
            self._pools.renewal.reconnect(record)
        yield from self._wait_for_predecessors(asker)
        yield from self._note_stranger(arguments)
        yield Done("RECONNECT")

    def wait_close(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Wait until every backend that is to be replaced is closed."""
        database = self._database(arguments)
        asker.wait_until(
            lambda: not self._outdated(database),
            lambda: f"waiting for {_count(self._outdated(database), 'backend')} to be closed",
        )
        yield Done("WAIT_CLOSE")

    def kill(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Send off every client, close every backend, and leave the database paused."""
        database = self._database(arguments)
        self._set_paused(database)
        if database is None:
            self._board.kill_all()
        else:
            self._board.kill(database)
        self._pools.workers.send_all_on_errand(Errand.KILL_CLIENTS)
        is_done = asker.wait_until(
            lambda: not self._killed_clients(database),
            lambda: f"waiting for {_count(self._killed_clients(database), 'client')} to go",
            _WORKERS_WITHIN_SECONDS,
        )
        if not is_done:
            yield self._late("their clients go when they run again")
        yield from self._wait_for_predecessors(asker)
        yield from self._note_stranger(arguments)
        yield Done("KILL")

    def kill_client(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Send off one client; what it is doing is cancelled and rolled back."""
        (text,) = arguments
        if not text.isdecimal():
            raise RequestError(
                "22P02", f"not a client's number: {text}", "SHOW CLIENTS has it in the column id"
            )
        number, clients = int(text), self._figures.client_table
        if (away := clients.find_away(number)) is not None:
            self._levers.kill_client_of_before(away, number)
            if not asker.wait_until(
                lambda: clients.find_away(number) is None,
                lambda: f"waiting for client {number} to go",
                _WORKERS_WITHIN_SECONDS,
            ):
                yield Notice(f"its worker, {_OF_BEFORE}, does not answer; the client goes when it runs again")
        found = clients.find_number(number)
        if found is None and away is not None:
            yield Done("KILL_CLIENT")
            return
        if found is None:
            raise RequestError("22023", f"no such client: {number}", "SHOW CLIENTS lists those there are")
        record, worker = found
        self._levers.kill_client(worker, record, number)
        is_done = asker.wait_until(
            lambda: not self._figures.is_served(number),
            lambda: f"waiting for client {number} to go",
            _WORKERS_WITHIN_SECONDS,
        )
        if not is_done:
            yield Notice(f"worker {worker} does not answer; the client goes when it runs again")
        yield Done("KILL_CLIENT")

    # --- pgmux itself

    def reload(self, _: tuple[str, ...], asker: Waiting) -> Outcome:
        """Read the configuration again."""
        try:
            needing_restart = reload(self._figures.config)[1]
        except PgmuxError as error:
            raise RequestError("F0000", f"not reloaded, nothing has changed: {error}") from None
        yield from self._change_configuration(self._levers.reload, asker)
        if needing_restart:
            yield Notice(f"these wait for a restart: {', '.join(needing_restart)}")
        yield Done("RELOAD")

    def set(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Change an option until the next reload or restart."""
        if len(arguments) != 2:
            raise RequestError("42601", "SET needs an option and a value", "SHOW CONFIG lists all options")
        key, text = arguments
        try:
            change(self._figures.config, key, text)
            note_change("", key, text)
        except ConfigError as error:
            problem = error.problems[0]
            raise RequestError("22023", f"{problem.key}: {problem.message}", problem.hint) from None
        yield from self._change_configuration(lambda: self._levers.set(key, text), asker)
        yield Done("SET")

    def drain(self, arguments: tuple[str, ...], asker: Waiting) -> Outcome:
        """Replace one worker; done when its successor serves."""
        (text,) = arguments
        workers = self._pools.workers
        count = self._pools.segment.worker_count
        if not text.isdecimal() or int(text) >= count:
            raise RequestError(
                "22023", f"no such worker: {text}", f"They are numbered from 0 to {count - 1}."
            )
        number = int(text)
        pid = workers.read(number)["pid"]
        workers.send_on_errand(number, Errand.DRAIN)
        if number == self._levers.worker:
            yield Notice("it is the worker that answers you: it drains now")
        else:
            asker.wait_until(
                lambda: (
                    workers.read(number)["pid"] not in (0, pid)
                    and workers.read(number)["state"] == WorkerState.SERVING
                ),
                lambda: f"waiting for {_count(workers.read(number)['clients'], 'client')} of worker {number}",
            )
        yield Done("DRAIN")

    def upgrade(self, _: tuple[str, ...], asker: Waiting) -> Outcome:
        """Have the installed version take over; done when the supervisor is of that version."""
        if self._board.has_predecessors:
            raise RequestError(
                "55000",
                "not upgraded, nothing has changed: clients of the version before the last are still to come",
                "Try again when the log says that all has come; KILL and KILL_CLIENT end those who stay.",
            )
        before = self._board.configuration
        self._levers.upgrade()
        if not asker.wait_until(
            lambda: self._board.configuration > before,
            lambda: "waiting for the supervisor to examine the installed version",
            _UPGRADE_WITHIN_SECONDS,
        ):
            raise RequestError(
                "F0000", "not upgraded, nothing has changed", "The log of the supervisor says why."
            )
        yield Notice("the workers are replaced now, one after the other")
        yield Done("UPGRADE")

    def shut_down(self, arguments: tuple[str, ...], _: Waiting) -> Outcome:
        """Stop pgmux."""
        word = arguments[0].upper().replace("-", "_") if arguments else ""
        if word not in SHUTDOWNS:
            raise RequestError(
                "42601", f"SHUTDOWN does not know {arguments[0]}", "WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS"
            )
        self._levers.shut_down(SHUTDOWNS[word])
        yield Done("SHUTDOWN")

    def _change_configuration(self, ask: Callable[[], None], asker: Waiting) -> Outcome:
        """Have the supervisor put another configuration in force, and the workers follow."""
        before = self._board.configuration
        ask()
        is_changed = asker.wait_until(
            lambda: self._board.configuration > before,
            lambda: "waiting for the supervisor",
            _SUPERVISOR_WITHIN_SECONDS,
        )
        if not is_changed:
            raise RequestError(
                "57014", "the supervisor has not changed the configuration", "Its log says why."
            )
        wanted = self._board.configuration
        if not asker.wait_until(
            lambda: not self._behind(wanted), lambda: "waiting for the workers", _WORKERS_WITHIN_SECONDS
        ):
            yield self._late("they follow when they run again", self._behind(wanted))
        yield from self._wait_for_predecessors(asker)
        if self._board.is_defied:
            yield Notice(
                f"the workers {_OF_BEFORE} cannot use this configuration, and keep theirs: see the log"
            )

    def _wait_for_predecessors(self, asker: Waiting) -> Iterator[Notice]:
        """Workers with another layout, where clients have still to come from some, go by another segment: what was
        said here is repeated there by the supervisor."""
        said_at_us = Clock().now_us
        if not asker.wait_until(
            lambda: self._board.is_heeded(said_at_us),
            lambda: f"waiting for the workers {_OF_BEFORE}",
            _WORKERS_WITHIN_SECONDS,
        ):
            yield Notice(
                f"the workers {_OF_BEFORE} did not answer within {_WORKERS_WITHIN_SECONDS:g}s; "
                "they follow when they run again"
            )

    # --- what there is

    def _database(self, arguments: tuple[str, ...]) -> int | None:
        """The record of the database that is named; None = all are meant. Raises RequestError."""
        return self._required_database(arguments) if arguments else None

    def _required_database(self, arguments: tuple[str, ...]) -> int:
        name, config = arguments[0], self._figures.config
        if name in CONSOLE_DATABASES:
            raise RequestError(
                "22023", f'"{name}" is the console itself', "Name a database that clients use."
            )
        raw = name.encode("utf-8", "surrogateescape")
        is_known = name in config.databases or ANY_DATABASE in config.databases
        if not is_known and self._board.find(raw) is None:
            raise RequestError("3D000", f"no such database: {name}", "SHOW DATABASES lists those there are")
        return self._board.register(raw)

    def _note_stranger(self, arguments: tuple[str, ...]) -> Iterator[Notice]:
        """Where "*" stands for any name a wrong one is none; it is said that nobody has used this one yet."""
        used = {pool.database for pool in self._figures.survey().pools}
        if arguments and arguments[0] not in {*self._figures.config.databases, *used}:
            yield Notice(
                f'nobody has used database "{arguments[0]}" yet, which only "*" stands for: is it spelled right?'
            )

    def _databases(self) -> Iterator["_DatabaseRow"]:
        yield from self._board.rows()

    def _is_paused(self, database: int | None) -> bool:
        if database is None:
            return self._pools.is_paused
        row = self._board.read(database)
        return row is not None and row["is_paused"]

    def _set_paused(self, database: int | None) -> None:
        if database is None:
            self._pools.pause()
        else:
            self._board.pause(database)

    def _set_resumed(self, database: int | None) -> None:
        if database is None:
            self._pools.resume()
        else:
            self._board.resume(database)
            self._pools.workers.send_all_on_errand(Errand.OPEN_BACKENDS)

    def _backends(self, database: int | None) -> int:
        """Slots that are not EMPTY."""
        pools = self._figures.survey_rows()
        return sum(backends_of(row) for row in pools if database in (None, row["database_record"]))

    def _outdated(self, database: int | None) -> int:
        pools = self._figures.survey_rows()
        return sum(row["outdated"] for row in pools if database in (None, row["database_record"]))

    def _killed_clients(self, database: int | None) -> int:
        """Clients who were there when KILL was said, and still are."""
        return sum(
            self._figures.clients_before(row["database"], row["killed_at_us"])
            for row in self._databases()
            if database in (None, row["database"])
        )

    def _behind(self, configuration: int) -> list[int]:
        """Workers that go by an older configuration."""
        return [
            worker.number
            for worker in self._figures.workers()
            if worker.pid and worker.configuration < configuration
        ]

    def _late(self, what: str, workers: list[int] | None = None) -> Notice:
        numbers = self._silent() if workers is None else workers
        who = (
            f"{_count(len(numbers), 'worker')} ({', '.join(map(str, numbers))})" if numbers else "some worker"
        )
        return Notice(f"{who} did not answer within {_WORKERS_WITHIN_SECONDS:g}s; {what}")

    def _silent(self) -> list[int]:
        return [
            worker.number
            for worker in self._figures.workers()
            if worker.pid and worker.clock.since(worker.heartbeat_us) > SILENT_AFTER_US
        ]


def _name(arguments: tuple[str, ...]) -> str:
    return f"database {arguments[0]}" if arguments else "pgmux"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
