"""The estate: what the supervisor makes before the first fork, or takes over from its predecessor, for all workers.

Everything here is undone when the supervisor ends: `cleanup` is told how, as it is made.
"""

import contextlib
import fcntl
import os
import socket
import time
from typing import Any, TextIO

from pgmux.config import Config
from pgmux.errors import PgmuxError
from pgmux.session.ticket_keys import TicketKeys
from pgmux.shm.segment import Segment
from pgmux.shm.workers import make_bells
from pgmux.supervisor.listeners import bind_shared, bind_tcp, bind_unix, close_all
from pgmux.supervisor.succession import Bequest
from pgmux.worker.entrance import open_doors
from pgmux.worker.inheritance import Inheritance
from pgmux.worker.mailbox import Mailbox
from pgmux.worker.office import import_metrics
from pgmux.worker.tls import open_tls


def make_estate(config: Config, cleanup: contextlib.ExitStack) -> tuple[Inheritance, int]:
    """A new one, and the lifeline's end that only the supervisor holds. Raises PgmuxError and OSError."""
    settings, workers = config.pgmux, config.worker_count()
    open_doors(config, mock_key := os.urandom(32))  # each worker opens its own; trouble shows now
    open_tls(config, ticket_keys := TicketKeys(os.urandom(64), time.monotonic()))
    listeners: list[list[socket.socket]] = [[] for _ in range(workers)]
    for address in settings.listen:
        for mine, listener in zip(listeners, bind_tcp(address, workers), strict=True):
            mine.append(listener)
            cleanup.callback(listener.close)
    shared = [bind_unix(config.unix_socket)] if config.unix_socket else []
    cleanup.callback(close_all, shared)
    control = bind_unix(config.control_socket, 0o600, "control_socket")
    cleanup.callback(close_all, [control])
    metrics = bind_shared(settings.metrics_listen, "metrics_listen") if settings.metrics_listen else None
    cleanup.callback(close_all, [metrics] if metrics else [])
    if metrics:
        import_metrics()
    return _furnish(
        config, cleanup,
        listeners=listeners, shared_listeners=shared, mock_key=mock_key, ticket_keys=ticket_keys,
        control_listener=control, metrics_listener=metrics,
    )  # fmt: skip


def _furnish(config: Config, cleanup: contextlib.ExitStack, **doors: Any) -> tuple[Inheritance, int]:
    """A segment, and all that hangs on it, are new. `doors`: the fields of Inheritance that are not."""
    settings, workers = config.pgmux, config.worker_count()
    segment = Segment.create(
        config.segment_path,
        workers=workers,
        backends=settings.max_backends,
        pools=settings.max_pools,
        clients=settings.max_client_conn,
        statements=settings.max_prepared_statements,
    )
    cleanup.callback(_unlink_quietly, config.segment_path)
    lifeline, lifeline_end = os.pipe()
    estate = Inheritance(
        segment=segment,
        bells=make_bells(workers),
        mailboxes=[Mailbox() for _ in range(workers + 1)],
        ear_mailboxes=[Mailbox() for _ in range(workers)],
        landings=[Mailbox() for _ in range(workers)],
        lifeline=lifeline,
        **doors,
    )
    return estate, lifeline_end


def take_over(bequest: Bequest, config: Config, cleanup: contextlib.ExitStack) -> tuple[Inheritance, int]:
    """What our predecessor had, whose process we are; where it had another layout, with a segment of our own."""
    fields = bequest.fields()
    if bequest.regency is None:
        estate = Inheritance(segment=Segment.attach(bequest.segment_path, writable=True), **fields)
        lifeline_end = bequest.lifeline_end
        cleanup.callback(_unlink_quietly, config.segment_path)
    else:
        estate, lifeline_end = _furnish(config, cleanup, **fields)
    office = [each for each in (estate.control_listener, estate.metrics_listener) if each]
    for listeners in (*estate.listeners, estate.shared_listeners, office):
        cleanup.callback(close_all, listeners)
    if estate.metrics_listener is not None:
        import_metrics()
    return estate, lifeline_end


def lock_runtime_dir(config: Config, bequest: Bequest | None, cleanup: contextlib.ExitStack) -> TextIO:
    """One pgmux a runtime_dir: the file with our process id, which holds the lock. Raises PgmuxError."""
    directory = config.pgmux.runtime_dir
    path = f"{directory}/pgmux.pid"
    inherited = None if bequest is None else bequest.pid_file  # and with it the lock
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        # Held, and with it the lock, until the end.
        pid_file = open(path if inherited is None else inherited, "a+", encoding="ascii")  # noqa: SIM115
    except OSError as error:
        raise PgmuxError(f"cannot use runtime_dir {directory}: {error.strerror}") from None
    cleanup.callback(pid_file.close)
    try:
        fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid_file.seek(0)
        pid = pid_file.read().strip() or "?"
        raise PgmuxError(f"another pgmux (pid {pid}) uses runtime_dir {directory}: stop it") from None
    pid_file.truncate(0)
    pid_file.write(f"{os.getpid()}\n")
    pid_file.flush()
    cleanup.callback(_unlink_quietly, path)
    return pid_file


def _unlink_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
