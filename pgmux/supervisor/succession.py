"""Succession: the supervisor becomes its own successor, with the code that is installed now.

It executes itself anew: the process stays, and with it its children, the lock on the runtime directory and all
descriptors that are left to the successor; the segment stays in its file. Workers notice nothing. The
successor then replaces them one after the other, which moves their clients (worker/moving.py).

A successor that lays out shared memory in another way gets the listening sockets alone, and a regent (regent.py) that
looks after the workers of before until their clients have come.

What would make a bad successor is found out before: the new code is asked in a process of its own what it is,
and whether it accepts the configuration. Signals are blocked from before the execution until the successor
listens for them. See execve(2), memfd_create(2), sigprocmask(2).
"""

import contextlib
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Self

import msgspec

from pgmux.config import Config
from pgmux.config.option import rows_of
from pgmux.config.settings import Settings
from pgmux.errors import PgmuxError
from pgmux.shm.segment import LAYOUT_VERSION
from pgmux.supervisor.harbour import Regency
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.mailbox import Mailbox

VARIABLE = "PGMUX_BEQUEST"  # in the environment: the descriptor of the file in which the bequest lies
FORMAT = 4  # of the bequest, and of what a regent says; another one cannot be taken over
ASKING_TIMEOUT_SECONDS = 20.0  # less than WatchdogSec= of the unit: nothing else is done meanwhile
_ABOUT_ITSELF = "from pgmux.supervisor.succession import about_itself; print(about_itself())"


# What a successor with another layout gets of the estate: all that is no part of the segment and hangs on none.
_WITHOUT_SEGMENT = (
    "listeners",
    "shared_listeners",
    "control_listener",
    "metrics_listener",
    "mock_key",
    "ticket_keys",
)


class CannotBequeath(PgmuxError):  # noqa: N818 -- as it reads
    """The installed code cannot take over; everything goes on as before."""


@dataclasses.dataclass(slots=True)
class Bequest:
    """All that a successor needs to know. Descriptors are numbers, which an execution does not change."""

    segment_path: str
    posts: list[tuple[int, float]]  # pid (0 = vacant) and start of each worker
    pid_file: int
    lifeline_end: int
    estate: dict[str, Any]  # fields of Inheritance but for the segment, as `_bequeathed` makes them
    kept: dict[str, Any]  # options that wait for a restart, as they run
    regency: dict[str, Any] | None = None  # fields of Regency, likewise; None = the segment can be read

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self | None:
        """What was left to us, once; None when we are nobody's successor."""
        fd = environ.pop(VARIABLE, None)
        if fd is None:
            return None
        import pickle  # like the other imports within functions here: for an upgrade alone

        with open(int(fd), "rb") as file:
            file.seek(0)
            bequest = pickle.load(file)  # our own words, through a descriptor that only we ever had
        assert isinstance(bequest, cls)
        return bequest

    def config(self, found: Config) -> Config:
        """The configuration in force: as the file is now, but for what waits for a restart."""
        return dataclasses.replace(found, pgmux=msgspec.structs.replace(found.pgmux, **self.kept))

    def fields(self) -> dict[str, Any]:
        """What there is to be handed to workers: fields of Inheritance."""
        return {name: _inherited(value) for name, value in self.estate.items()}

    def take_regency(self) -> Regency | None:
        """Who looks after the workers of before; None when they are ours."""
        if self.regency is None:
            return None
        return Regency(**{name: _inherited(value) for name, value in self.regency.items()})


def bequeath(
    config: Config, estate: Inheritance, posts: list[tuple[int, float]], pid_file: int, lifeline_end: int
) -> Bequest:
    """Everything, ready to be left to a successor."""
    named = {field.name: getattr(estate, field.name) for field in dataclasses.fields(estate)}
    del named["segment"]
    kept = {
        row.name: getattr(config.pgmux, row.name)
        for row in rows_of(Settings).values()
        if not row.option.reload
    }
    left = {name: _bequeathed(value) for name, value in named.items()}
    return Bequest(config.segment_path, posts, pid_file, lifeline_end, left, kept)


def bequeath_to_stranger(bequest: Bequest, regency: Regency) -> Bequest:
    """The same for a successor that has another layout, once a regent has been appointed."""
    estate = {name: bequest.estate[name] for name in _WITHOUT_SEGMENT}
    estate["harbours"] = bequest.estate["landings"]
    told = {field.name: _bequeathed(getattr(regency, field.name)) for field in dataclasses.fields(regency)}
    posts = [(0, 0.0)] * len(bequest.posts)
    return dataclasses.replace(bequest, estate=estate, posts=posts, regency=told)


def become_successor(bequest: Bequest) -> None:
    """Execute the installed code in our place; does not return. Raises CannotBequeath, and nothing is changed."""
    import pickle

    fd = os.memfd_create("pgmux bequest", 0)
    with open(fd, "wb", closefd=False) as file:
        pickle.dump(bequest, file)
    left = [fd, bequest.pid_file, *_descriptors(bequest.estate)]
    if bequest.regency is None:
        left.append(bequest.lifeline_end)
    else:
        left += _descriptors(bequest.regency)
    for each in left:
        os.set_inheritable(each, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: str(fd)})
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)
        raise CannotBequeath(f"{sys.executable} cannot be executed: {error.strerror}") from None


def examine_successor(config: Config, before_asking: Callable[[], None]) -> tuple[str, bool]:
    """The version of the installed code, when it can take over, and whether it has another layout.

    Raises CannotBequeath with the reason why not. Asks it twice at most, which may take ASKING_TIMEOUT_SECONDS each.
    """
    before_asking()
    told = _ask_installed_code("-c", _ABOUT_ITSELF).split()
    if len(told) != 3 or told[0] != str(FORMAT):
        raise CannotBequeath(
            "the installed version leaves things to its successors in another way: restart pgmux"
        )
    if config.path is not None:
        before_asking()
        _ask_installed_code("-m", "pgmux", "check", "-c", config.path)
    return told[2], told[1] != str(LAYOUT_VERSION)


def about_itself() -> str:
    """What an older pgmux wants to know of the installed one."""
    return f"{FORMAT} {LAYOUT_VERSION} {installed_version()}"


def installed_version() -> str:
    """The version of the code that is installed now, which need not be the one that runs."""
    from importlib.metadata import PackageNotFoundError, version  # two megabytes, for an upgrade alone

    with contextlib.suppress(PackageNotFoundError):
        return version("pgmux")
    return "0+unknown"


def _ask_installed_code(*arguments: str) -> str:
    """What a Python of ours prints. Raises CannotBequeath with what it complains of."""
    import subprocess

    try:
        answer = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True, text=True, timeout=ASKING_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBequeath(f"the installed pgmux does not answer: {error}") from None
    if answer.returncode != 0:
        complaint = answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.returncode}"
        if complaint.startswith("Traceback"):
            complaint = complaint.splitlines()[-1]
        raise CannotBequeath(f"the installed pgmux would not run: {complaint}")
    return answer.stdout


class _Socket(int):
    """A descriptor that was a socket's."""


class _Mailbox(tuple[int, int]):
    """The descriptors of a mailbox, inside and outside."""


def _bequeathed(value: Any) -> Any:
    """A field's value with descriptors in place of what holds them."""
    match value:
        case socket.socket():
            return _Socket(value.fileno())
        case Mailbox():
            return _Mailbox(value.filenos())
        case list():
            return [_bequeathed(each) for each in value]
        case _:
            return value


def _inherited(value: Any) -> Any:
    """The inverse."""
    match value:
        case _Socket():
            return socket.socket(fileno=int(value))
        case _Mailbox():
            return Mailbox(value)
        case list():
            return [_inherited(each) for each in value]
        case _:
            return value


def _descriptors(estate: dict[str, Any]) -> list[int]:
    """Every descriptor that is left to the successor."""
    plain = [*estate.get("bells", ()), *(fd for _, fd in estate.get("vault", {}).values())]
    if "lifeline" in estate:
        plain.append(estate["lifeline"])
    return plain + [fd for value in estate.values() for fd in _held(value)]


def _held(value: Any) -> list[int]:
    match value:
        case _Socket():
            return [int(value)]
        case _Mailbox():
            return list(value)
        case list():
            return [fd for each in value for fd in _held(each)]
        case _:
            return []
