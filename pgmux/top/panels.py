"""The panels and their columns, one table: heads, cells, sorting, the help and `--once` are made from it."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pgmux.top.lines import BackendLine, ClientLine, Observation, PoolLine, WorkerLine


class Column(NamedTuple):
    """One column: what it sorts by, how that is written, and what it means."""

    name: str
    of: Callable[[Any], Any]  # a line's value; None sorts below all
    show: Callable[[Any], str]  # the value as text
    help: str
    is_text: bool = False  # to the left; numbers stand to the right

    def cell(self, line: object) -> str:
        """What stands in this column of a line."""
        value = self.of(line)
        return "" if value is None else self.show(value)


class Panel(NamedTuple):
    """One table of the view."""

    name: str  # also its key in the help, and its id
    title: str
    lines: Callable[[Observation], Sequence[Any]]
    columns: tuple[Column, ...]
    sorted_by: str  # at first, by a column's name
    is_descending: bool = True


def show_count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def show_duration(seconds: float) -> str:
    """Three digits at most: "820µs", "14ms", "3.2s", "12m", "5h", "3d"; "" for none."""
    if seconds <= 0:
        return ""
    for unit, size, limit in (("µs", 1e-6, 1e-3), ("ms", 1e-3, 1.0)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    if seconds < 120:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    for unit, size, limit in (("m", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def show_size(count: float) -> str:
    """Bytes in the unit that leaves three digits or four: "940", "812k", "35M", "1.2G"."""
    if count < 1e3:
        return f"{count:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6)):
        if count < size * 1e3:
            return f"{count / size:.0f}{unit}"
    return f"{count / 1e9:.1f}G"


def show_percent(value: float) -> str:
    """Percent of one core."""
    return f"{value:.0f}%"


def _us(microseconds: int) -> float:
    return microseconds / 1e6


_POOLS: Final = (
    Column("database", lambda line: line.database, str, "what clients ask for", is_text=True),
    Column("user", lambda line: line.user, str, "who logs in to PostgreSQL", is_text=True),
    Column("clients", lambda line: line.clients, show_count, "connected"),
    Column("active", lambda line: line.active, show_count, "clients that have a backend now"),
    Column("waiting", lambda line: line.waiting, show_count, "clients that wait for a backend"),
    Column("maxwait", lambda line: line.longest_wait, show_duration, "the longest of these waits so far"),
    Column(
        "wait p50",
        lambda line: _us(line.traffic.wait_p50_us),
        show_duration,
        "half of all transactions waited less",
    ),
    Column(
        "wait p99",
        lambda line: _us(line.traffic.wait_p99_us),
        show_duration,
        "99 of 100 transactions waited less",
    ),
    Column("tps", lambda line: line.traffic.transactions, show_count, "transactions a second"),
    Column("qps", lambda line: line.traffic.queries, show_count, "queries a second"),
    Column(
        "xact p99",
        lambda line: _us(line.traffic.transaction_p99_us),
        show_duration,
        "99 of 100 transactions were shorter",
    ),
    Column("bytes/s", lambda line: line.traffic.bytes, show_size, "to and from clients"),
    Column("backends", lambda line: line.backends, show_count, "connections to PostgreSQL"),
    Column("free", lambda line: line.idle, show_count, "backends that nobody has"),
    Column("size", lambda line: line.size, show_count, "backends that the pool may have"),
    Column(
        "why",
        lambda line: line.why,
        str,
        "clients wait, in a word that SHOW WAITS explains; or why the last log-in to PostgreSQL failed",
        is_text=True,
    ),
)
_WORKERS: Final = (
    Column("worker", lambda line: line.key, str, "its number"),
    Column("pid", lambda line: line.pid, str, "its process; 0 = none now"),
    Column("clients", lambda line: line.clients, show_count, "that it holds"),
    Column("cpu", lambda line: line.cpu, show_percent, "of one core"),
    Column("rss", lambda line: line.rss, show_size, "resident memory, shared pages included"),
    Column("age", lambda line: line.age, show_duration, "since it was forked"),
    Column("restarts", lambda line: line.restarts, show_count, "predecessors that died"),
    Column("drains", lambda line: line.drains, show_count, "predecessors that left in order, drained"),
    Column("silence", lambda line: line.silence, show_duration, "since its heart last beat"),
)
_CLIENTS: Final = (
    Column("for", lambda line: line.since, show_duration, "in this state so long"),
    Column("state", lambda line: line.state, str, "active: has a backend; waiting: for one", is_text=True),
    Column("address", lambda line: line.address, str, "of the client", is_text=True),
    Column("application", lambda line: line.application, str, "application_name at log-in", is_text=True),
    Column("pool", lambda line: line.pool, str, "database/user", is_text=True),
    Column("backend", lambda line: line.backend_pid, str, "PostgreSQL's pid"),
    Column("pinned by", lambda line: line.pins, str, "why it keeps its backend longer", is_text=True),
    Column("worker", lambda line: line.worker, str, "that holds it"),
    Column("transactions", lambda line: line.transactions, show_count, "so far"),
    Column("connected", lambda line: line.connected, show_duration, "so long"),
)
_BACKENDS: Final = (
    Column("pid", lambda line: line.pid, str, "PostgreSQL's process"),
    Column(
        "phase",
        lambda line: line.phase,
        str,
        "of the lease: opening, free, leased, granted, closing",
        is_text=True,
    ),
    Column("for", lambda line: line.since, show_duration, "leased, or free, so long"),
    Column("pool", lambda line: line.pool, str, "database/user", is_text=True),
    Column("client", lambda line: line.client, str, "that has it: address and application", is_text=True),
    Column("worker", lambda line: line.worker, str, "that has the lease"),
    Column("leases", lambda line: line.leases, show_count, "so far"),
    Column("age", lambda line: line.age, show_duration, "since it was opened"),
    Column("slot", lambda line: line.key, str, "its place in the table of leases"),
)


def _pools(observation: Observation) -> list[PoolLine]:
    return observation.pools


def _workers(observation: Observation) -> list[WorkerLine]:
    return observation.workers


def _clients(observation: Observation) -> list[ClientLine]:
    return observation.clients


def _backends(observation: Observation) -> list[BackendLine]:
    return observation.backends


PANELS: Final = (
    Panel("pools", "Pools", _pools, _POOLS, sorted_by="tps"),
    Panel("workers", "Workers", _workers, _WORKERS, sorted_by="worker", is_descending=False),
    Panel("clients", "Longest transactions and waits", _clients, _CLIENTS, sorted_by="for"),
    Panel("backends", "Backends", _backends, _BACKENDS, sorted_by="for"),
)


def order(panel: Panel, lines: Sequence[Any], by: str, *, is_descending: bool, text: str = "") -> list[Any]:
    """The lines that hold `text` in any cell, sorted by a column; equal ones by their key."""
    [column] = [column for column in panel.columns if column.name == by]
    wanted = text.lower()
    kept = [
        line
        for line in lines
        if not wanted or any(wanted in each.cell(line).lower() for each in panel.columns)
    ]
    kept.sort(key=lambda line: line.key)
    kept.sort(key=lambda line: _rank(column.of(line)), reverse=is_descending)
    return kept


def _rank(value: Any) -> tuple[bool, Any]:
    return (value is not None, value.lower() if isinstance(value, str) else value)
