"""The commands: one table, from which rights, SHOW HELP, `pgmux ctl --help` and the manual are made."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from pgmux.control.operator import Operator, Outcome, Waiting

Act = Callable[[Operator, tuple[str, ...], Waiting], Outcome]


class Right(IntEnum):
    """What somebody may do; each includes those before it."""

    NONE = 0
    STATS = 1  # stats_users: SHOW
    ADMIN = 2  # admin_users, and who may use the control socket: everything


class Command(NamedTuple):
    """One command; SHOW has tables of its own."""

    word: str  # in upper case
    arguments: str  # as help shows them; those in brackets may be left out
    help: str  # one sentence
    act: Act

    @property
    def bounds(self) -> tuple[int, int]:
        """(fewest, most) arguments."""
        words = self.arguments.split()
        return sum(not word.startswith("[") for word in words), len(words)


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        command.word: command
        for command in (
            Command(
                "PAUSE",
                "[DATABASE]",
                "Lend no more backends: clients wait, transactions end, backends are closed; "
                "done when none is left.",
                Operator.pause,
            ),
            Command("RESUME", "[DATABASE]", "Go on after PAUSE or KILL.", Operator.resume),
            Command("DISABLE", "DATABASE", "Let no new clients in to a database.", Operator.disable),
            Command("ENABLE", "DATABASE", "Let new clients in again.", Operator.enable),
            Command(
                "RECONNECT",
                "[DATABASE]",
                "Replace each backend as soon as it is not in use; clients notice nothing.",
                Operator.reconnect,
            ),
            Command(
                "WAIT_CLOSE",
                "[DATABASE]",
                "Wait until each backend that RECONNECT or its age has outdated is closed.",
                Operator.wait_close,
            ),
            Command(
                "KILL",
                "[DATABASE]",
                "Send off all clients at once, close their backends, and pause the database.",
                Operator.kill,
            ),
            Command(
                "KILL_CLIENT",
                "ID",
                "Send off the client with that id of SHOW CLIENTS, and roll back what it was doing.",
                Operator.kill_client,
            ),
            Command(
                "RELOAD", "", "Read the configuration again, and undo what SET has changed.", Operator.reload
            ),
            Command(
                "SET", "OPTION VALUE", "Change an option until the next RELOAD or restart.", Operator.set
            ),
            Command(
                "DRAIN",
                "WORKER",
                "Replace a worker: its clients go to other workers with their sessions, and notice nothing.",
                Operator.drain,
            ),
            Command(
                "UPGRADE",
                "",
                "Have the version that is installed now take over; clients notice nothing.",
                Operator.upgrade,
            ),
            Command(
                "SHUTDOWN",
                "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
                "Stop pgmux: at once, when transactions are finished, or when all clients have left.",
                Operator.shut_down,
            ),
        )
    }
)
