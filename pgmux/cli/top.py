"""`pgmux top`: the live view on a terminal, one look as text anywhere else."""

import sys
import time

from pgmux.cli.output import print_answer
from pgmux.config import Config, load
from pgmux.errors import ConfigError, PgmuxError
from pgmux.top.observer import Observer
from pgmux.top.plain import render_plain

SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 60.0


class UsageError(PgmuxError):
    """The user asked for what cannot be."""

    exit_code = 2


class NoTextualError(PgmuxError):
    """The library of the live view is not installed."""


def watch(path: str | None, seconds: float, *, is_once: bool) -> int:
    """Run the command. Raises NotRunningError, UsageError, ConfigError, NoTextualError."""
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise UsageError(f"--interval must be between {SHORTEST_SECONDS} and {LONGEST_SECONDS:.0f} seconds")
    segment, control_socket = _find_places(path)
    observer = Observer(segment)
    observer.look()  # whatever is wrong is said before the terminal is taken
    if is_once or not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        time.sleep(seconds)  # rates need two looks
        print_answer(render_plain(observer.look()))
        return 0
    try:
        from pgmux.top.app import TopApp
        from pgmux.top.steering import Steering
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise NoTextualError("the live view needs textual: pip install 'pgmux[top]'; or use --once") from None
    TopApp(observer, Steering(control_socket), seconds).run()
    return 0


def _find_places(path: str | None) -> tuple[str, str]:
    """Segment and control socket of the configuration; without one, when none was named, the default ones."""
    try:
        config = load(path)
    except ConfigError:
        if path is not None:
            raise
        config = Config()
    return config.segment_path, config.control_socket
