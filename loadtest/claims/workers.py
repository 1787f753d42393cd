"""Claim 7: one pool over 1, 2, 4, 8 workers; backends stay, and processor time per transaction is flat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import MakeArm, Stage, middle, pgbouncers, pgmux_with
from loadtest.claims.style import COLOURS, tidy
from loadtest.load import Load
from loadtest.measure import LoadRun
from loadtest.nullpg import NullBackend
from pgmux.errors import PgmuxError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = (1, 2, 4, 8)
POOL_SIZE = 20
_CLOSING_S = 10
_LOAD = Load("select.sql", clients=200)


def _measure(stage: Stage) -> list[Row]:
    rows = []
    with stage.nullpg() as backend:
        for count in COUNTS:
            ways: dict[str, MakeArm] = {
                "pgbouncer": pgbouncers(count, divides_pool=False),
                "pgmux": pgmux_with(count),
            }
            found: dict[str, list[tuple[LoadRun, int]]] = {name: [] for name in ways}
            for number in range(stage.rounds):
                for name, make in ways.items():
                    stage.tell(f"{count} processes, round {number + 1}: {name}")
                    _wait_until_empty(backend)
                    with stage.arm(make, backend, POOL_SIZE) as arm:
                        stage.play(_LOAD, arm, backend, 0.5)
                        found[name].append((stage.play(_LOAD, arm, backend), backend.take_peak()))
            rows += [_row(name, count, pairs) for name, pairs in found.items()]
    return rows


def _wait_until_empty(backend: NullBackend) -> None:
    """Until the arm before has closed all its backends."""
    deadline = time.monotonic() + _CLOSING_S
    while backend.take_peak() > 0:
        if time.monotonic() > deadline:
            raise PgmuxError("backends of an arm that has ended are still there")
        time.sleep(0.05)


def _row(name: str, count: int, pairs: list[tuple[LoadRun, int]]) -> Row:
    runs = [run for run, _ in pairs]
    return {
        "way": name,
        "processes": count,
        "backends": max(peak for _, peak in pairs),
        "cpu_us": middle(runs, lambda run: run.total_us),
        "tps": middle(runs, lambda run: run.tps),
        "p99_us": middle(runs, lambda run: run.p99_us),
        "fewest": min(run.fewest or 0 for run in runs),
        "most": max(run.most or 0 for run in runs),
    }


def _table(rows: list[Row]) -> Table:
    header = (
        "workers or processes",
        "way",
        "backends, pool_size 20",
        "CPU µs/tx",
        "tps",
        "p99 ms",
        "per client, fewest–most",
    )
    return header, [
        (
            str(row["processes"]),
            row["way"],
            str(row["backends"]),
            f"{row['cpu_us']:.1f}",
            f"{row['tps']:,.0f}",
            f"{row['p99_us'] / 1000:.1f}",
            f"{row['fewest']:,}–{row['most']:,}",
        )
        for row in rows
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    backends, cost = figure.subplots(1, 2)
    for way in ("pgbouncer", "pgmux"):
        of_way = [row for row in rows if row["way"] == way]
        label = {"pgbouncer": "PgBouncer × n, so_reuseport", "pgmux": "pgmux, n workers"}[way]
        style = {"color": COLOURS[way], "marker": "o", "label": label}
        positions = range(len(of_way))
        backends.plot(positions, [row["backends"] for row in of_way], **style)
        cost.plot(positions, [row["cpu_us"] for row in of_way], **style)
    for axes in (backends, cost):
        axes.set_xticks(range(len(COUNTS)), [str(count) for count in COUNTS])
        axes.set_ylim(bottom=0)
    tidy(backends, f"backends in PostgreSQL, pool_size = {POOL_SIZE}", "processes", "most at once")
    tidy(cost, "the pooler's CPU", "processes", "µs per transaction")


CLAIM = Claim(
    7,
    "workers",
    "One pool over any number of workers: PostgreSQL sees the backends that were configured, and no more.",
    _measure,
    _table,
    _plot,
    "200 clients on a pool of 20, before a backend that answers at once and counts its sessions. Each PgBouncer "
    "has a pool of its own, so n of them open n times as many backends. The cost of a transaction is flat only as "
    "long as workers have cores to run on: with more of them than cores each batch is shorter, and backends go "
    "from worker to worker.",
)
