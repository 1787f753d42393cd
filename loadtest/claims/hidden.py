"""Claim 5: the hazard of hidden state, and who carries it: the same small programs three ways.

The programs are those of the tests (tests/hidden/situations.py); how they are compared is docs/hidden-state.md's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import Stage
from loadtest.claims.style import COLOURS
from loadtest.debian import find_pgbouncer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _measure(stage: Stage) -> list[Row]:
    from tests.hidden.comparison import AS_DIRECT, bounced, compare, multiplexed, prepare_database
    from tests.servers import Postgres

    with Postgres() as postgres:
        prepare_database(postgres)
        stage.tell("hidden state: pgmux")
        ours = compare(postgres, lambda: multiplexed(postgres))
        stage.tell("hidden state: PgBouncer")
        theirs = compare(postgres, lambda: bounced(postgres)) if find_pgbouncer() else {}
    return [
        {
            "state": title,
            "pgmux": ours[title] == AS_DIRECT,
            "pgbouncer": theirs.get(title) == AS_DIRECT,
            "pgmux_said": ours[title],
            "pgbouncer_said": theirs.get(title, ""),
        }
        for title in ours
    ]


def _table(rows: list[Row]) -> Table:
    header = ("what the program relies on", "direct", "pgmux", "PgBouncer")
    return header, [(row["state"], "✓", row["pgmux_said"], row["pgbouncer_said"]) for row in rows]


def _plot(rows: list[Row], figure: Figure) -> None:
    axes = figure.subplots()
    ways = ("direct", "pgmux", "pgbouncer")
    for y, row in enumerate(reversed(rows)):
        for x, way in enumerate(ways):
            kept = way == "direct" or row[way]
            axes.scatter(
                x,
                y,
                marker="o" if kept else "x",
                s=46 if kept else 34,
                color=COLOURS[way] if kept else "#c0392b",
                linewidths=1.6,
            )
    axes.set_yticks(range(len(rows)), [row["state"].replace("`", "") for row in reversed(rows)], fontsize=8)
    kept_by = [len(rows), *(sum(row[way] for row in rows) for way in ways[1:])]
    axes.set_xticks(
        range(3),
        [f"{way}\n{kept} of {len(rows)}" for way, kept in zip(ways, kept_by, strict=True)],
        fontsize=9,
    )
    axes.xaxis.tick_top()
    axes.set_xlim(-0.6, 2.6)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(True, axis="y", color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)


CLAIM = Claim(
    5,
    "hidden-state",
    "What a session keeps on its backend is lost, or another's in the next transaction; pgmux carries it.",
    _measure,
    _table,
    _plot,
    "A tick, or a dot in the plot: both clients were told exactly what PostgreSQL tells. "
    "[How this is compared, and what is not kept](hidden-state.md).",
    size=(8, 7.5),
)
