"""What is alarming, in one table: each row looks at one matter and says what to do about it."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pgmux.doctor.facts import Alarm, Report
from pgmux.doctor.words import duration, many

IDLE_IN_TRANSACTION_S: Final = 60.0
OLD_SNAPSHOT_S: Final = 600.0
OLD_SNAPSHOT_AGE: Final = 1_000_000  # transactions
NEARLY_FULL: Final = 0.85  # of the connections that clients can have
MOSTLY_IDLE: Final = 0.5  # of max_connections
FEW: Final = 20  # idle backends that nobody need mind
LONG_WAIT_S: Final = 5.0  # for one of pgmux's backends


class Check(NamedTuple):
    """One row: a name for programs, and what it finds."""

    name: str
    look: Callable[[Report], Iterator[tuple[str, str]]]  # texts and remedies


def _find_idle_in_transaction(report: Report) -> Iterator[tuple[str, str]]:
    """A backend is idle in a transaction for more than a minute."""
    for backend in report.backends:
        if backend.state.startswith("idle in transaction") and backend.state_s > IDLE_IN_TRANSACTION_S:
            yield (
                f"pid {backend.pid} has been idle in a transaction for {duration(backend.state_s)}: "
                f"{backend.client}",
                f"end it (SELECT pg_terminate_backend({backend.pid})), mend the application, or set "
                "idle_in_transaction_session_timeout in PostgreSQL",
            )


def _find_blockers(report: Report) -> Iterator[tuple[str, str]]:
    """A backend that is idle in a transaction blocks others by its locks."""
    idle = {backend.pid: backend for backend in report.backends if backend.state.startswith("idle in tr")}
    for pid, backend in idle.items():
        blocked = sum(pid in other.blocked_by for other in report.backends)
        if blocked:
            yield (
                f"pid {pid} does nothing, and its locks block {many(blocked, 'backend')}: {backend.client}",
                f"SELECT pg_terminate_backend({pid})",
            )


def _find_old_snapshots(report: Report) -> Iterator[tuple[str, str]]:
    """A snapshot is held for more than 10 minutes, or is more than a million transactions old."""
    for holder in report.holders:
        is_long = holder.held_s is not None and holder.held_s > OLD_SNAPSHOT_S
        if not is_long and holder.snapshot_age <= OLD_SNAPSHOT_AGE:
            continue
        age = many(holder.snapshot_age, "transaction")
        who = f": {holder.client}" if holder.client is not None else ""
        long = f" for {duration(holder.held_s)}" if holder.held_s is not None else ""
        yield (
            f"{holder.kind} {holder.name} holds a snapshot{long}, {age} old{who}",
            "VACUUM removes nothing that is younger: end it if nobody needs it",
        )


def _find_full(report: Report) -> Iterator[tuple[str, str]]:
    """85 of 100 connections that clients can have are taken."""
    used, limit = len(report.backends), report.server.for_clients
    if used >= NEARLY_FULL * limit:
        yield (
            f"{used} of the {limit} connections that clients can have are taken",
            f"a pool of {report.advice.max_backends} would do; see below",
        )


def _find_idleness(report: Report) -> Iterator[tuple[str, str]]:
    """More than half of max_connections is spent on idle backends."""
    idle = sum(backend.state == "idle" and not backend.is_pgmuxs for backend in report.backends)
    if idle >= FEW and idle > MOSTLY_IDLE * report.server.max_connections:
        yield (
            f"{idle} of max_connections = {report.server.max_connections} are spent on idle backends",
            f"a pool of {report.advice.max_backends} would do; see below",
        )


def _find_trouble(report: Report) -> Iterator[tuple[str, str]]:
    """pgmux cannot log in to PostgreSQL for one of its pools."""
    for pool in report.pooler.pools if report.pooler else ():
        if pool.trouble:
            yield (
                f"pgmux cannot log in for the pool {pool.database}/{pool.user}: {pool.trouble}",
                "its log says more; it tries again by itself",
            )


def _find_waits(report: Report) -> Iterator[tuple[str, str]]:
    """A client of pgmux has waited for a backend for more than 5 seconds."""
    for pool in report.pooler.pools if report.pooler else ():
        if pool.longest_wait_s > LONG_WAIT_S:
            yield (
                f"a client has waited {duration(pool.longest_wait_s)} for a backend of the pool "
                f"{pool.database}/{pool.user}; waiting: {pool.waiting}",
                f"look for long transactions, or raise its pool_size = {pool.pool_size}",
            )


CHECKS: Final = (
    Check("idle_in_transaction", _find_idle_in_transaction),
    Check("blocked_by_idle", _find_blockers),
    Check("old_snapshot", _find_old_snapshots),
    Check("connections_nearly_full", _find_full),
    Check("mostly_idle", _find_idleness),
    Check("pool_trouble", _find_trouble),
    Check("long_wait", _find_waits),
)


def find_alarms(report: Report) -> tuple[Alarm, ...]:
    """Whatever is alarming in a report whose own `alarms` are still empty."""
    return tuple(Alarm(check.name, text, remedy) for check in CHECKS for text, remedy in check.look(report))
