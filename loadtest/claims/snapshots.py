"""Claim 6: one lock against lock-light. Readers make snapshots while others take and give back.

Real processes on the lease table and on a model of the ProcArray; then a simulation of more cores than are here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from loadtest.claims.claim import Claim, Row, Table
from loadtest.claims.stage import Stage
from loadtest.claims.style import COLOURS, plain_log, tidy
from loadtest.snapshots.racing import race_leases, race_model
from loadtest.snapshots.simulation import simulate_array, simulate_leases

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RACES = ((0, 1), (1, 1), (2, 1), (4, 1), (8, 1), (0, 2), (2, 2), (4, 4), (8, 8))  # writers, readers
_CORES = (2, 8, 16, 32, 64, 128, 256)  # half of them write
_SIMULATED_NS = 2e6
_TABLES = {"the lock": COLOURS["lock"], "the lease table": COLOURS["pgmux"]}


def _measure(stage: Stage) -> list[Row]:
    rows: list[Row] = []
    ways = (("the lock", race_model, simulate_array), ("the lease table", race_leases, simulate_leases))
    for writers, readers in _RACES:
        for name, race, _ in ways:
            stage.tell(f"{writers} writers, {readers} readers: {name}")
            raced = [race(writers, readers, stage.seconds) for _ in range(stage.rounds)]
            best = sorted(raced, key=lambda each: each.p99_ns)[len(raced) // 2]
            rows.append({"way": name, "simulated": False, **asdict(best)})
    for cores in _CORES:
        for name, _, simulate in ways:
            stage.tell(f"simulated, {cores} cores: {name}")
            told = simulate(cores // 2, cores // 2, _SIMULATED_NS)
            rows.append(
                {
                    "way": name,
                    "simulated": True,
                    "writers": cores // 2,
                    "readers": cores // 2,
                    **asdict(told),
                }
            )
    return rows


def _table(rows: list[Row]) -> Table:
    header = (
        "",
        "writers",
        "readers",
        "way",
        "snapshots a second",
        "changes a second",
        "snapshot p50 ns",
        "p99 ns",
        "p99.9 ns",
    )
    return header, [
        (
            "simulated" if row["simulated"] else "real",
            str(row["writers"]),
            str(row["readers"]),
            row["way"],
            f"{row['snapshots_per_s']:,.0f}",
            f"{row['changes_per_s']:,.0f}",
            f"{row['p50_ns']:,.0f}",
            f"{row['p99_ns']:,.0f}",
            f"{row['p999_ns']:,.0f}" if "p999_ns" in row else "",
        )
        for row in rows
    ]


def _plot(rows: list[Row], figure: Figure) -> None:
    real, rate, tail = figure.subplots(1, 3)
    for way, colour in _TABLES.items():
        of_way = [row for row in rows if row["way"] == way]
        raced = [row for row in of_way if not row["simulated"] and row["readers"] == 1]
        simulated = [row for row in of_way if row["simulated"]]
        positions = range(len(raced))
        real.plot(positions, [row["p50_ns"] for row in raced], color=colour, marker="o", label=f"{way}, p50")
        real.plot(
            positions,
            [row["p999_ns"] for row in raced],
            color=colour,
            marker="o",
            linestyle=":",
            label="p99.9",
        )
        real.set_xticks(positions, [str(row["writers"]) for row in raced])
        cores = [row["writers"] + row["readers"] for row in simulated]
        rate.plot(
            cores, [row["snapshots_per_s"] / 1e6 for row in simulated], color=colour, marker="o", label=way
        )
        tail.plot(cores, [row["p99_ns"] / 1000 for row in simulated], color=colour, marker="o", label=way)
    for axes in (rate, tail):
        plain_log(axes, "x")
        axes.set_xticks(_CORES, [str(cores) for cores in _CORES])
    plain_log(tail, "y")
    plain_log(real, "y")
    rate.set_ylim(bottom=0)
    tidy(real, "real, 1 reader: a snapshot", "writers, on this machine's cores", "ns")
    tidy(rate, "simulated: snapshots", "cores, half of them write", "million a second")
    tidy(tail, "simulated: a snapshot's p99", "cores, half of them write", "µs")


CLAIM = Claim(
    6,
    "snapshots",
    "Under one lock, who changes the table stalls who reads it; without one, neither notices the other.",
    _measure,
    _table,
    _plot,
    "The lease table is pgmux's own, taken and released by its own code. The lock is a model of "
    "PostgreSQL's ProcArray: one dense array under a lock that behaves like an LWLock "
    "([procarray.h](../loadtest/snapshots/procarray.h)). 128 places, 100 always taken. A snapshot of the "
    "lease table reads a line for each place, and is slower than the dense array while nobody writes; it "
    "does not grow when somebody does. With more processes than cores, a process that holds the lock is "
    "put aside with it. **The many cores are simulated**, and the simulation knows only what memory "
    "lines cost: 100 ns from another core's cache, 5 µs to wake a sleeper ([its parameters and what it "
    "leaves out](../loadtest/snapshots/simulation.py)).",
    size=(13, 4.2),
)
