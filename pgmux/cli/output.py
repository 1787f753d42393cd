"""Where the command's words go: answers to standard output, complaints to standard error.

No colours, so NO_COLOR and pipes need no care.
"""

import os
import sys
from collections.abc import Iterable

from pgmux.errors import ConfigError, PgmuxError, Problem


def print_answer(text: str) -> None:
    """Print what the user asked for; a reader who leaves early, as `head` does, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more as it exits: that must not fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_error(error: PgmuxError) -> None:
    """Print why the command failed. Problems of a configuration begin with their place, as editors expect."""
    text = str(error) if isinstance(error, ConfigError) else f"pgmux: {error}"
    print(text, file=sys.stderr)


def print_warnings(warnings: Iterable[Problem]) -> None:
    """Print what is doubtful, but no obstacle."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
