"""Claim 3: who connects and disconnects slows down those who are already at work; behind a pooler far less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.arms import Arm
from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import DIRECT, MakeArm, Stage, middle, pgbouncers, pgmux_with
from loadtest.claims.style import colour_of, tidy
from loadtest.crowd import Crowd, Told
from loadtest.load import Load
from loadtest.measure import LoadRun
from loadtest.postgres import PostgresBackend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (0, 100, 200, 400, 800)  # connections a second that are wanted
_CHURNERS = 40
_READER = Load("account.sql", "prepared", clients=2, think_ms=2)  # not saturated: latency, not throughput
_WAYS: dict[str, MakeArm] = {"direct": DIRECT, "pgbouncer": pgbouncers(1), "pgmux-2": pgmux_with(2)}


def _measure(stage: Stage) -> list[Row]:
    rows = []
    with stage.postgres(200) as backend:
        for rate in RATES:
            found: dict[str, list[tuple[LoadRun, float]]] = {name: [] for name in _WAYS}
            for number in range(stage.rounds):
                for name, make in _WAYS.items():
                    stage.tell(f"{rate} connections a second, round {number + 1}: {name}")
                    with stage.arm(make, backend) as arm:
                        stage.play(_READER, arm, backend, 0.3)
                        found[name].append(_read_beside(stage, rate, arm, backend))
            rows += [_row(name, rate, pairs) for name, pairs in found.items()]
    return rows


def _read_beside(stage: Stage, rate: int, arm: Arm, backend: PostgresBackend) -> tuple[LoadRun, float]:
    """The reader's run, and how many connections a second there were beside it."""
    if not rate:
        return stage.play(_READER, arm, backend), 0.0
    churn = Load("select.sql", clients=_CHURNERS, connects_each_time=True, think_ms=_CHURNERS * 1000 / rate)
    with Crowd().background(churn, arm.address, stage.seconds + 1) as told:
        run = stage.play(_READER, arm, backend)
    churned: Told = told()
    return run, churned.transactions / churned.seconds


def _row(name: str, rate: int, pairs: list[tuple[LoadRun, float]]) -> Row:
    runs = [run for run, _ in pairs]
    return {
        "way": name,
        "wanted_per_s": rate,
        "connections_per_s": sum(churned for _, churned in pairs) / len(pairs),
        "p50_us": middle(runs, lambda run: run.p50_us),
        "p99_us": middle(runs, lambda run: run.p99_us),
        "p999_us": middle(runs, lambda run: run.p999_us),
    }


def _table(rows: list[Row]) -> Table:
    header = ("connections a second beside it", "way", "reader's p50 ms", "p99 ms", "p99.9 ms")
    return header, [
        (
            f"{row['connections_per_s']:,.0f}",
            row["way"],
            *(f"{row[field] / 1000:.2f}" for field in ("p50_us", "p99_us", "p999_us")),
        )
        for row in rows
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    for axes, (field, title) in zip(
        figure.subplots(1, 2), (("p50_us", "a reader's p50"), ("p99_us", "a reader's p99")), strict=True
    ):
        for way in _WAYS:
            of_way = [row for row in rows if row["way"] == way]
            axes.plot(
                [row["connections_per_s"] for row in of_way],
                [row[field] / 1000 for row in of_way],
                color=colour_of(way),
                marker="o",
                label=way,
            )
        axes.set_ylim(bottom=0)
        tidy(axes, title, "connections a second beside it", "ms")


CLAIM = Claim(
    3,
    "churn",
    "Connecting and disconnecting clients stall queries of others; through a pooler far less.",
    _measure,
    _table,
    _plot,
    "Two clients read single rows, each with a pause of 2 ms, while 40 others connect, ask once and "
    "leave, as often as the first column says they managed of what was wanted. On few cores what stalls "
    "the reader is the processor that forks use; the lock that PostgreSQL takes for each of them is "
    "claim 6.",
)
