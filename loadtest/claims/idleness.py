"""Claim 1: idle connections cost memory, and a query beside them more the more they are; behind a pooler, nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from loadtest.arms import Arm
from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import DIRECT, Stage, backend_processes, middle, pgmux_with, postgres_memory
from loadtest.claims.style import COLOURS, plain_log, tidy
from loadtest.idle import IdleClients
from loadtest.load import Load
from loadtest.memory import read_memory
from loadtest.postgres import PostgresBackend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = (10, 100, 300, 1000)
POOL_SIZE = 20
_READERS = Load("account.sql", "prepared", clients=4)
_PAGED_IN = "SELECT balance FROM accounts WHERE id = 7"  # what every idle client has asked once


def _measure(stage: Stage) -> list[Row]:
    rows = []
    for name, make in (("direct", DIRECT), ("pgmux", pgmux_with(2))):
        for count in COUNTS:
            with stage.postgres(max(COUNTS)) as backend, stage.arm(make, backend, POOL_SIZE) as arm:
                stage.tell(f"{count} idle clients, {name}")
                rows.append(_measure_one(stage, backend, arm, name, count))
    return rows


def _measure_one(stage: Stage, backend: PostgresBackend, arm: Arm, name: str, count: int) -> Row:
    with ExitStack() as stack:
        idle = stack.enter_context(IdleClients(arm.address, count))
        idle.query(_PAGED_IN)
        memory = postgres_memory(backend)
        pooler = 0 if arm.pid is None else read_memory(arm.pid, arm.segment).total
        processes = backend_processes(backend)
        runs = [stage.play(_READERS, arm, backend) for _ in range(stage.rounds)]
    return {
        "way": name,
        "clients": count,
        "processes": processes,
        "memory_mb": memory / 1e6,
        "pooler_mb": pooler / 1e6,
        "postgres_us": middle(runs, lambda run: run.backend_us),
        "p50_us": middle(runs, lambda run: run.p50_us),
        "p99_us": middle(runs, lambda run: run.p99_us),
    }


def _table(rows: list[Row]) -> Table:
    header = (
        "idle clients",
        "way",
        "PostgreSQL processes",
        "PostgreSQL MB",
        "pooler MB",
        "PostgreSQL's CPU µs per query",
    )
    return header, [
        (
            f"{row['clients']:,}",
            row["way"],
            f"{row['processes']:,}",
            f"{row['memory_mb']:,.0f}",
            f"{row['pooler_mb']:,.0f}" if row["pooler_mb"] else "",
            f"{row['postgres_us']:.1f}",
        )
        for row in sorted(rows, key=lambda row: (row["clients"], row["way"]))
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    memory, cost = figure.subplots(1, 2)
    for way in ("direct", "pgmux"):
        of_way = [row for row in rows if row["way"] == way]
        counts = [row["clients"] for row in of_way]
        style = {"color": COLOURS[way], "marker": "o", "label": way}
        memory.plot(counts, [row["memory_mb"] + row["pooler_mb"] for row in of_way], **style)
        cost.plot(counts, [row["postgres_us"] for row in of_way], **style)
    for axes in (memory, cost):
        plain_log(axes, "x")
        axes.set_ylim(bottom=0)
    tidy(memory, "memory of PostgreSQL and the pooler", "idle clients", "MB")
    tidy(cost, "a query beside them", "idle clients", "PostgreSQL's CPU, µs per query")


CLAIM = Claim(
    1,
    "idleness",
    "Idle connections are not free: each is a process with memory of its own. Behind pgmux they are records.",
    _measure,
    _table,
    _plot,
    "Clients have asked one query each and are idle; four others read single rows meanwhile. What hardly "
    "shows is the old cost of snapshots: since version 14 PostgreSQL makes one without a look at idle "
    "backends. What differs on the right is near what a busy machine's mood makes.",
)
