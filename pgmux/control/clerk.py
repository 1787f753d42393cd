"""The clerk: answers what is asked on the console or on the control socket, in whichever worker it is asked.

An answer is a sequence of replies, made one by one: rows come in slices, and between two of them the worker
gets back to its clients' queries. So however much is shown, nobody waits for it longer than a slice takes.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple, Protocol

from pgmux.config.nearest import did_you_mean
from pgmux.control import own, pgbouncer
from pgmux.control.answers import Columns, Done, Reply, Rows
from pgmux.control.commands import COMMANDS, Right
from pgmux.control.figures import Figures
from pgmux.control.operator import Operator
from pgmux.control.request import Request, RequestError
from pgmux.control.table import TEXT, Show, item
from pgmux.errors import PgmuxError

SLICE_ROWS: Final = 50  # one takes about a millisecond


class Asker(Protocol):
    """Who asks."""

    right: Right
    name: str  # for the log

    def give_way(self) -> None:
        """Let the worker serve its clients before the next slice. **May switch.**"""

    def wait_until(
        self, is_done: Callable[[], bool], what: Callable[[], str], within_seconds: float | None = None
    ) -> bool:
        """Whether `is_done` came true in time; see operator.Waiting. **May switch.**"""


class Help(NamedTuple):
    """A command that can be given."""

    command: str
    right: str
    help: str


def _help(_: Figures) -> Iterator[Help]:
    for show in SHOWS.values():
        yield Help(f"SHOW {show.name}", "stats", show.help)
    for command in COMMANDS.values():
        yield Help(f"{command.word} {command.arguments}".rstrip(), "admin", command.help)


HELP: Final = Show(
    "HELP",
    "Every command, who may give it (admin_users, or stats_users too), and what it does.",
    (item("command", TEXT), item("right", TEXT), item("help", TEXT)),
    _help,
)
SHOWS: Final[Mapping[str, Show]] = {show.name: show for show in (*pgbouncer.SHOWS, *own.SHOWS, HELP)}

NO_DATABASE: Final = (
    "SHOW HELP lists all commands. There is nothing to SELECT from, and psql's \\d finds nothing."
)
# What PgBouncer has and pgmux has not: where to look in its place.
ELSEWHERE: Final[Mapping[str, str]] = {
    "SOCKETS": "SHOW CLIENTS and SHOW SERVERS have all connections.",
    "ACTIVE_SOCKETS": "SHOW LEASES has the backends in use, SHOW SERVERS their addresses.",
    "PEERS": "All workers have one pool and need no peers: SHOW WORKERS.",
    "PEER_POOLS": "All workers have one pool and need no peers: SHOW WORKERS.",
    "DNS_HOSTS": "A host's name is looked up anew for every backend; SHOW SERVERS has the addresses.",
    "DNS_ZONES": "A host's name is looked up anew for every backend; SHOW SERVERS has the addresses.",
    "FDS": "UPGRADE hands descriptors over by itself.",
    "SUSPEND": "UPGRADE lets another version take over without it; PAUSE holds clients back.",
}


class Clerk:
    """One worker's clerk."""

    def __init__(self, figures: Figures, operator: Operator, log: Callable[[str, Request], None]) -> None:
        """`log(name, request)`: somebody has given a command other than SHOW."""
        self._figures = figures
        self._operator = operator
        self._log = log

    def answer(self, request: Request, asker: Asker) -> Iterator[Reply]:
        """The answer, reply by reply, the last of which is Done. **May switch.** Raises RequestError."""
        try:
            yield from self._answer(request, asker)
        except PgmuxError as error:
            raise RequestError("58000", str(error)) from None

    def _answer(self, request: Request, asker: Asker) -> Iterator[Reply]:
        if request.word == "SHOW":
            yield from self._show(find_show(request), asker)
            return
        command = COMMANDS.get(request.word)
        if command is None:
            raise unknown_command(request.word)
        if asker.right < Right.ADMIN:
            raise RequestError(
                "42501", f"{request.word} is for admin_users", "stats_users may only give SHOW commands."
            )
        if self._figures.pools_table.is_left:
            raise RequestError(
                "55000",
                "this worker is of the version before, and has no say any more",
                "Connect again: another version has taken over.",
            )
        least, most = command.bounds
        if not least <= len(request.arguments) <= most:
            usage = f"{command.word} {command.arguments}".rstrip()
            raise RequestError(
                "42601", f"{request.word} with {len(request.arguments)} arguments", f"Write {usage}"
            )
        self._log(asker.name, request)
        yield from command.act(self._operator, request.arguments, asker)

    def _show(self, show: Show, asker: Asker) -> Iterator[Reply]:
        yield Columns.of(show.columns)
        rows = show.rows(self._figures)
        while piece := list(islice(rows, SLICE_ROWS)):
            yield Rows(piece)
            asker.give_way()
        yield Done("SHOW")


def find_show(request: Request) -> Show:
    """The table that a SHOW wants. Raises RequestError."""
    if len(request.arguments) != 1:
        raise RequestError("42601", "there are only the tables of SHOW, one at a time", NO_DATABASE)
    name = request.arguments[0].upper().replace("-", "_")
    show = SHOWS.get(name)
    if show is None:
        hint = ELSEWHERE.get(name) or did_you_mean(name, SHOWS) or "SHOW HELP lists all commands."
        raise RequestError("42601", f"nothing can be shown that is called {request.arguments[0]}", hint)
    return show


def unknown_command(word: str) -> RequestError:
    """The error for a command that there is not."""
    hint = ELSEWHERE.get(word) or did_you_mean(word, [*COMMANDS, "SHOW"]) or "SHOW HELP lists all commands."
    return RequestError("42601", f"no such command: {word}", hint)
