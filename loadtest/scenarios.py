"""What is measured: one row for each scenario, and one table of who cannot take part in which.

A scenario's `measure` names what is done in a run. "load": pgbench against arms that all stay up, in turn.
"backends" and "idle" start an arm anew for each run and alone, because they look at its backends and at its
memory from the beginning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from loadtest.pgbench import Load

Measure = Literal["load", "backends", "idle"]


@dataclass(frozen=True)
class Scenario:
    """One thing to measure."""

    name: str
    what: str  # one line, for people
    load: Load
    measure: Measure = "load"
    pool_size: int = 20
    # unless the user names others
    arms: tuple[str, ...] = ("direct", "floor", "pgbouncer", "pgmux-1", "pgmux-2")
    rounds: int = 5  # unless the user says how many
    quick_rounds: int = 2
    notes: tuple[str, ...] = field(default=())  # printed below its table


_SELECT = Load("select.sql")

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("select", "SELECT 1, simple protocol", _SELECT),
        Scenario(
            "extended",
            "SELECT with a parameter, extended protocol, unnamed statement",
            Load("parameter.sql", "extended"),
        ),
        Scenario(
            "prepared",
            "the same, a named statement prepared once by each client",
            Load("parameter.sql", "prepared"),
        ),
        Scenario(
            "tpcb",
            "BEGIN, four statements, END, each sent when the one before is answered",
            Load("tpcb.sql", logged_share=0.2),
        ),
        Scenario(
            "connect",
            "a new connection for each SELECT 1",
            Load("select.sql", threads=2, connects_each_time=True, logged_share=0),
            notes=(
                "pgbench connects one client at a time on each of its 2 threads; connect is the mean time to "
                "connect and log in, and its log does not hold it: no percentiles",
            ),
        ),
        Scenario(
            "tls",
            "SELECT 1 over TLS 1.3",
            Load("select.sql", over_tls=True),
            arms=("pgbouncer", "pgmux-1", "pgmux-2"),
        ),
        Scenario(
            "tls-connect",
            "a new TLS connection, its handshake in full, for each SELECT 1",
            Load("select.sql", threads=2, connects_each_time=True, logged_share=0, over_tls=True),
            arms=("pgbouncer", "pgmux-1", "pgmux-2"),
            notes=("the certificate's key is on curve P-256, the cheapest there is to sign with",),
        ),
        Scenario(
            "backends",
            "200 busy clients on pool_size 5: the most backends at any instant",
            Load("select.sql", clients=200),
            measure="backends",
            pool_size=5,
            arms=("pgbouncer", "pgmux-4"),
            rounds=2,
            quick_rounds=1,
        ),
        Scenario(
            "idle",
            "memory of clients that are logged in and idle",
            _SELECT,
            measure="idle",
            arms=("pgbouncer", "pgmux-1", "pgmux-2"),
            rounds=2,
            quick_rounds=1,
            notes=(
                "each page counted once, the segment file's blocks included; per client = (held - empty) / "
                "clients; busy once: the same after every client asked one SELECT 1",
            ),
        ),
    )
}


@dataclass(frozen=True)
class Inability:
    """Why a program cannot take part in a scenario, and from which of its versions on it can."""

    reason: str
    until: tuple[int, ...] | None = None


CANNOT: dict[tuple[str, str], Inability] = {
    ("pgbouncer", "prepared"): Inability(
        "PgBouncer carries named statements in transaction mode from 1.21 on", until=(1, 21)
    ),
    ("floor", "prepared"): Inability("floor carries nothing from backend to backend"),
    ("floor", "connect"): Inability("floor does not log in: it greets whoever comes"),
    ("floor", "backends"): Inability("floor opens its backends at its start"),
    ("floor", "idle"): Inability("floor keeps nothing of its clients"),
    ("floor", "tls"): Inability("floor has no TLS"),
    ("floor", "tls-connect"): Inability("floor has no TLS"),
    ("direct", "tls"): Inability("nullpg has no TLS"),
    ("direct", "tls-connect"): Inability("nullpg has no TLS"),
    ("direct", "backends"): Inability("without a pooler every client is a backend"),
    ("direct", "idle"): Inability("nullpg's memory says nothing about PostgreSQL's"),
}


def why_not(kind: str, version: str, scenario: str) -> str | None:
    """Why a program of this version cannot take part in a scenario; None if it can."""
    inability = CANNOT.get((kind, scenario))
    if inability is None:
        return None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    if inability.until is not None and numbers >= inability.until:
        return None
    return inability.reason
