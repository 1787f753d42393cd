"""Runs a program that ends when we do, even if we are killed.

`python leash.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…` becomes that account, asks the kernel to send SIGNAL
when its parent dies, and then becomes the program: one process, the program's own. It is a file to be
executed, because the same in a `preexec_fn` would run Python between fork and exec of a process that may have
threads, and because a change of account forgets the wish for a signal. Source: prctl(2), PR_SET_PDEATHSIG.
The "parent" is the thread that started it: start programs from a thread that lives as long as they shall.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # executed as a file of its own, this one finds no package
    from pgmux.demo.account import Account

_PR_SET_PDEATHSIG = 1


def leashed(
    command: Sequence[str], on_our_death: signal.Signals = signal.SIGINT, account: Account | None = None
) -> list[str]:
    """The command line that runs `command` on a leash to us, under an account if one is given."""
    uid, gid = (-1, -1) if account is None or account.is_ours else (account.uid, account.gid)
    leash = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    return [*leash, str(os.getpid()), str(int(on_our_death)), str(uid), str(gid), *command]


def _run(arguments: list[str]) -> None:
    import ctypes

    parent, death_signal, uid, gid = map(int, arguments[:4])
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew our wish
        sys.exit(1)
    os.execv(arguments[4], arguments[4:])


if __name__ == "__main__":
    _run(sys.argv[1:])
