"""A Report as a person reads it: what is alarming first, then what was found, then what to do."""

from collections.abc import Iterator, Sequence

from pgmux.aligned import INDENT, align
from pgmux.doctor.alarms import IDLE_IN_TRANSACTION_S
from pgmux.doctor.facts import Backend, Report
from pgmux.doctor.words import duration, many, size

MOST_ROWS = 10  # of one table
ORDER = ("active", "idle in transaction", "idle in transaction (aborted)", "fastpath function call", "idle")


def render_report(report: Report) -> str:
    """The whole text, without a final line break."""
    sections = (
        _about_server(report),
        _about_alarms(report),
        _about_states(report),
        _about_idleness(report),
        _about_snapshots(report),
        _about_transactions(report),
        _about_pool(report),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)


def _about_server(report: Report) -> Iterator[str]:
    server = report.server
    where = "not on this machine, so its memory cannot be measured"
    if server.is_on_this_machine:
        where = f"on this machine, {many(server.cores or 0, 'CPU core')}"
    yield f"PostgreSQL {server.version} at {server.address}: {where}"
    if report.pooler is not None:
        pooler = report.pooler
        yield f"pgmux here: {many(pooler.workers, 'worker')}, {many(pooler.clients, 'client')}"
    else:
        yield f"pgmux's clients are not shown: {report.pooler_missing}"
    hidden = sum(backend.state == "hidden" for backend in report.backends)
    if hidden:
        yield f"{many(hidden, 'backend')} of other users cannot be seen into: GRANT pg_monitor TO this user"


def _about_alarms(report: Report) -> Iterator[str]:
    if not report.alarms:
        yield "Nothing is alarming."
        return
    yield "ALARMING"
    for alarm in report.alarms:
        yield f"{INDENT}! {alarm.text}"
        yield f"{INDENT}  {alarm.remedy}"


def _about_states(report: Report) -> Iterator[str]:
    server, backends = report.server, report.backends
    limit = f"max_connections {server.max_connections} less {server.reserved} reserved"
    yield f"BACKENDS  {len(backends)} of {server.for_clients} that clients can have ({limit})"
    if not backends:
        return
    states = sorted({backend.state for backend in backends}, key=_rank)
    header = ("state", "backends", "of pgmux", "memory", "private", "longest")
    rows = [_state_row(state, [one for one in backends if one.state == state]) for state in states]
    yield from align(header, [*rows, _state_row("all", backends)], texts=(0,))
    if server.is_on_this_machine:
        yield f"{INDENT}memory: shared pages counted in part (PSS); private: what is given back when they end"


def _state_row(state: str, backends: Sequence[Backend]) -> tuple[str, ...]:
    longest = max(backend.state_s for backend in backends)
    return (
        state,
        str(len(backends)),
        str(sum(backend.is_pgmuxs for backend in backends)),
        size(_sum([backend.pss for backend in backends])),
        size(_sum([backend.private for backend in backends])),
        "" if state == "all" else duration(longest),
    )


def _about_idleness(report: Report) -> Iterator[str]:
    idle = [backend for backend in report.backends if backend.state == "idle" and not backend.is_pgmuxs]
    share = len(idle) / report.server.max_connections
    yield "IDLENESS"
    if not idle:
        yield f"{INDENT}No backend is idle but those of pgmux's pools."
        return
    memory = _sum([backend.private for backend in idle])
    cost = f" and {size(memory)} that nobody else uses" if memory is not None else ""
    yield f"{INDENT}{many(len(idle), 'idle backend')}: {share:.0%} of max_connections{cost}"
    yield f"{INDENT}Each is a process that every snapshot looks at, and a place that nobody else can have."
    groups: dict[tuple[str, str, str], list[Backend]] = {}
    for backend in idle:
        host = backend.client.address.rpartition(":")[0] or backend.client.address
        place = f"{backend.database}/{backend.user}"
        groups.setdefault((backend.client.application, host, place), []).append(backend)
    rows = [
        (str(len(group)), duration(max(one.state_s for one in group)), *who)
        for who, group in sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_ROWS]
    ]
    header = ("idle", "longest", "application", "address", "database/user")
    yield from align(header, rows, texts=(2, 3, 4))
    yield from _rest(len(groups))


def _about_snapshots(report: Report) -> Iterator[str]:
    yield "OLDEST SNAPSHOTS  VACUUM removes no row version that one of them can still see"
    if not report.holders:
        yield f"{INDENT}Nobody holds one."
        return
    rows = []
    for holder in report.holders[:MOST_ROWS]:
        who = str(holder.client) if holder.client is not None else holder.kind
        held = "" if holder.held_s is None else duration(holder.held_s)
        rows.append((f"{holder.snapshot_age:,}", held, holder.name, holder.state, who, holder.query[:50]))
    header = ("transactions", "held", "by", "state", "client", "last query")
    yield from align(header, rows, texts=(2, 3, 4, 5))
    yield from _rest(len(report.holders))


def _about_transactions(report: Report) -> Iterator[str]:
    found = [backend for backend in report.backends if backend.state.startswith("idle in transaction")]
    yield "IDLE IN TRANSACTION  each has a backend, its locks and perhaps a snapshot, and does nothing"
    if not found:
        yield f"{INDENT}Nobody is."
    rows = []
    for backend in sorted(found, key=lambda one: -one.state_s)[:MOST_ROWS]:
        blocks = sum(backend.pid in other.blocked_by for other in report.backends)
        place = f"{backend.database}/{backend.user}"
        idle, since = duration(backend.state_s), duration(backend.transaction_s or 0)
        rows.append(
            (idle, since, str(blocks), f"pid {backend.pid}", place, str(backend.client), backend.query[:50])
        )
    header = ("idle", "transaction", "blocks", "by", "database/user", "client", "last query")
    if rows:
        yield from align(header, rows, texts=(3, 4, 5, 6))
        yield from _rest(len(found))
    if not report.server.idle_in_transaction_timeout_s:
        limit = f"idle_in_transaction_session_timeout is off; {IDLE_IN_TRANSACTION_S:.0f} s would be a limit"
        yield f"{INDENT}{limit}"


def _about_pool(report: Report) -> Iterator[str]:
    advice = report.advice
    yield f"A POOL  max_backends = {advice.max_backends} would do"
    yield f"{INDENT}because {advice.why}"
    if advice.saved_backends:
        memory = f" and {size(advice.saved_bytes)}" if advice.saved_bytes is not None else ""
        yield f"{INDENT}It would save {many(advice.saved_backends, 'backend')}{memory}."
    else:
        yield f"{INDENT}It would save nothing now."
    waiting = sum(pool.waiting for pool in report.pooler.pools) if report.pooler is not None else 0
    if waiting:
        yield (
            f"{INDENT}But {many(waiting, 'client')} of pgmux {'waits' if waiting == 1 else 'wait'} now: no more "
            "transactions are open at once than its pools allow. SHOW WAITS says for what."
        )
    rows = [
        (f"{use.database}/{use.user}", str(use.backends), str(use.busy_at_most), str(use.pool_size))
        for use in advice.pools[:MOST_ROWS]
    ]
    if rows:
        yield from align(("database/user", "backends", "busy at most", "pool_size"), rows, texts=(0,))
        yield from _rest(len(advice.pools))


def _rest(count: int) -> Iterator[str]:
    if count > MOST_ROWS:
        yield f"{INDENT}and {count - MOST_ROWS} more"


def _rank(state: str) -> int:
    return ORDER.index(state) if state in ORDER else len(ORDER)


def _sum(values: Sequence[int | None]) -> int | None:
    """Of those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
