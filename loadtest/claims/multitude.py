"""Claim 4: ten thousand clients on a hundred backends, all of them asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import (
    MakeArm,
    Stage,
    backend_processes,
    middle,
    pgbouncers,
    pgmux_with,
    postgres_memory,
)
from loadtest.claims.style import colour_of, plain_log, tidy
from loadtest.load import Load
from loadtest.measure import LoadRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKENDS = 100
COUNTS = (10, 100, 1000, 10_000)
_THINK_MS = {False: 0.0, True: 2000.0}  # 10,000 clients ask 5,000 times a second, or as fast as they can
_WAYS: dict[str, MakeArm] = {"pgbouncer": pgbouncers(1), "pgmux-1": pgmux_with(1), "pgmux-2": pgmux_with(2)}


def _measure(stage: Stage) -> list[Row]:
    rows = []
    with stage.postgres(len(_WAYS) * BACKENDS) as backend:
        for thinks in (False, True):
            for count in COUNTS if not thinks else COUNTS[-1:]:
                load = Load("account.sql", clients=count, think_ms=_THINK_MS[thinks])
                for name, make in _WAYS.items():
                    with stage.arm(make, backend, BACKENDS) as arm:
                        stage.play(load, arm, backend, 0.5)
                        stage.tell(f"{count} clients{', thinking' if thinks else ''}: {name}")
                        runs = [stage.play(load, arm, backend) for _ in range(stage.rounds)]
                        rows.append(_row(name, count, thinks, runs))
                        rows[-1]["backends"] = backend_processes(backend)
                        rows[-1]["postgres_mb"] = postgres_memory(backend) / 1e6
    return rows


def _row(name: str, count: int, thinks: bool, runs: list[LoadRun]) -> Row:
    return {
        "way": name,
        "clients": count,
        "thinks": thinks,
        "tps": middle(runs, lambda run: run.tps),
        "p50_us": middle(runs, lambda run: run.p50_us),
        "p99_us": middle(runs, lambda run: run.p99_us),
        "p999_us": middle(runs, lambda run: run.p999_us),
        "pooler_us": middle(runs, lambda run: run.total_us),
        "pooler_mb": middle(runs, lambda run: run.memory) / 1e6,
        "fewest": min(run.fewest or 0 for run in runs),
        "most": max(run.most or 0 for run in runs),
        "errors": sum(run.errors for run in runs),
    }


def _table(rows: list[Row]) -> Table:
    header = (
        "clients",
        "way",
        "backends",
        "tps",
        "p50 ms",
        "p99 ms",
        "pooler's CPU µs/tx",
        "pooler MB",
        "per client, fewest–most",
        "errors",
    )
    return header, [
        (
            f"{row['clients']:,}{' that think 2 s' if row['thinks'] else ''}",
            row["way"],
            str(row["backends"]),
            f"{row['tps']:,.0f}",
            f"{row['p50_us'] / 1000:,.2f}",
            f"{row['p99_us'] / 1000:,.2f}",
            f"{row['pooler_us']:.1f}",
            f"{row['pooler_mb']:.0f}",
            f"{row['fewest']:,}–{row['most']:,}",
            str(row["errors"]),
        )
        for row in rows
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    cost, tail, memory = figure.subplots(1, 3)
    for way in _WAYS:
        of_way = [row for row in rows if row["way"] == way and not row["thinks"]]
        counts = [row["clients"] for row in of_way]
        style = {
            "color": colour_of(way),
            "marker": "o",
            "label": way,
            "linestyle": "--" if way == "pgmux-2" else "-",
        }
        cost.plot(counts, [row["pooler_us"] for row in of_way], **style)
        tail.plot(counts, [row["p99_us"] / 1000 for row in of_way], **style)
        memory.plot(counts, [row["pooler_mb"] for row in of_way], **style)
    for axes in (cost, tail, memory):
        plain_log(axes, "x")
    plain_log(tail, "y")
    cost.set_ylim(bottom=0)
    memory.set_ylim(bottom=0)
    tidy(cost, "the pooler's CPU", "clients that ask without a pause", "µs per transaction")
    tidy(tail, "p99", "clients that ask without a pause", "ms")
    tidy(memory, "the pooler's memory", "clients", "MB")


CLAIM = Claim(
    4,
    "multitude",
    "10,000 clients on 100 backends: it holds.",
    _measure,
    _table,
    _plot,
    "All clients ask for single rows of a table, through 100 backends at most, as fast as they are "
    "answered; at last 10,000 that ask once in two seconds each. The p99 of those without a pause is the "
    "queue's: 10,000 in line for what two cores do.",
    size=(12, 4),
)
