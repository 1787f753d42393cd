"""Claim 2: a connection to PostgreSQL is a fork and a log-in; a connection to a pooler is a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import DIRECT, MakeArm, Stage, middle, pgbouncers, pgmux_with
from loadtest.claims.style import bars, tidy
from loadtest.load import Load
from loadtest.measure import LoadRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CONNECTING = Load("select.sql", clients=16, connects_each_time=True)
_WAYS: dict[str, MakeArm] = {
    "direct": DIRECT,
    "pgbouncer": pgbouncers(1),
    "pgmux-1": pgmux_with(1),
    "pgmux-2": pgmux_with(2),
}


def _measure(stage: Stage) -> list[Row]:
    with stage.postgres(200) as backend:
        found: dict[str, list[LoadRun]] = {name: [] for name in _WAYS}
        for number in range(stage.rounds):
            for name, make in _WAYS.items():
                stage.tell(f"connections, round {number + 1}: {name}")
                with stage.arm(make, backend) as arm:
                    stage.play(_CONNECTING, arm, backend, 0.5)
                    found[name].append(stage.play(_CONNECTING, arm, backend))
    return [
        {
            "way": name,
            "connections_per_s": middle(runs, lambda run: run.tps),
            "connect_us": middle(runs, lambda run: run.connect_us),
            "p50_us": middle(runs, lambda run: run.p50_us),
            "p99_us": middle(runs, lambda run: run.p99_us),
            "pooler_us": 0 if name == "direct" else middle(runs, lambda run: run.total_us),
            "postgres_us": middle(runs, lambda run: run.backend_us),
        }
        for name, runs in found.items()
    ]


def _table(rows: list[Row]) -> Table:
    header = (
        "way",
        "connections a second",
        "connect, query and leave: p50 ms",
        "p99 ms",
        "pooler's CPU µs",
        "PostgreSQL's CPU µs",
    )
    return header, [
        (
            row["way"],
            f"{row['connections_per_s']:,.0f}",
            f"{row['p50_us'] / 1000:.2f}",
            f"{row['p99_us'] / 1000:.2f}",
            f"{row['pooler_us']:.0f}" if row["pooler_us"] else "",
            f"{row['postgres_us']:,.0f}",
        )
        for row in rows
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    rate, tail = figure.subplots(1, 2)
    names = [row["way"] for row in rows]
    bars(
        rate,
        names,
        [row["connections_per_s"] for row in rows],
        [f"{row['connections_per_s']:,.0f}" for row in rows],
    )
    bars(tail, names, [row["p99_us"] / 1000 for row in rows], [f"{row['p99_us'] / 1000:.1f}" for row in rows])
    tidy(rate, "connections a second", "", "connect, SELECT 1, leave", legend=False)
    tidy(tail, "p99 of one of them", "", "ms", legend=False)


CLAIM = Claim(
    2,
    "forking",
    "A new connection to PostgreSQL is a fork and a log-in of a millisecond; a pooled one costs a fraction of it.",
    _measure,
    _table,
    _plot,
    "16 clients connect, ask `SELECT 1` and leave, again and again, without a password.",
)
