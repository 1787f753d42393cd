"""What is measured: one row for each scenario, and one table of who cannot take part in which.

A scenario's `measure` names what is done in a run. "load": clients against arms that all stay up, in turn. The
others start an arm anew for each run and alone, because they look at it from its beginning: its backends, its memory,
what it cost to start, its instructions. A load scenario exists with any number of clients, as NAME@CLIENTS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from loadtest.load import Load

Measure = Literal["load", "backends", "idle", "start", "instructions"]

_PLAIN = ("direct", "floor", "pgbouncer", "pgmux-1", "pgmux-2")
_POOLERS = ("pgbouncer", "pgmux-1", "pgmux-2")
_MOVERS = ("direct", "pgbouncer", "pgmux-1")


@dataclass(frozen=True)
class Scenario:
    """One thing to measure."""

    name: str
    what: str  # one line, for people
    load: Load
    measure: Measure = "load"
    pool_size: int = 20
    arms: tuple[str, ...] = _PLAIN  # unless the user names others
    rounds: int = 5  # unless the user says how many
    quick_rounds: int = 2
    is_quick: bool = False  # one of those of --quick
    notes: tuple[str, ...] = field(default=())  # printed below its table

    def at(self, clients: int) -> Scenario:
        """The same with another number of clients."""
        return replace(self, name=f"{self.name}@{clients}", load=replace(self.load, clients=clients))


_SIMPLE = Load("select.sql")
_BY_PGBENCH = Load("select.sql", player="pgbench", clients=32)
_CONNECTING = replace(_BY_PGBENCH, threads=2, connects_each_time=True, logged_share=0)
_PGBENCH_NOTE = (
    "pgbench connects one client at a time on each of its 2 threads; connect is the mean time to "
    "connect and log in, and its log does not hold it: no percentiles"
)
_MEMORY_NOTE = (
    "each page counted once, the segment file's blocks included; per client = (held - empty) / "
    "clients; busy once: the same after every client asked one SELECT 1"
)

_ROWS = (
    Scenario("simple", "SELECT 1, simple protocol", _SIMPLE, is_quick=True),
    Scenario(
        "extended",
        "SELECT with a parameter, extended protocol, unnamed statement",
        Load("parameter.sql", "extended"),
    ),
    Scenario(
        "prepared",
        "the same, a named statement prepared once by each client",
        Load("parameter.sql", "prepared"),
        is_quick=True,
    ),
    Scenario(
        "tpcb",
        "BEGIN, four statements, END, each sent when the one before is answered",
        Load("tpcb.sql"),
        is_quick=True,
    ),
    Scenario("pgbench", "SELECT 1, simple protocol, with pgbench as the clients", _BY_PGBENCH),
    Scenario("simple@10", "SELECT 1, 10 clients", Load("select.sql", clients=10), arms=_POOLERS),
    Scenario("simple@500", "SELECT 1, 500 clients", Load("select.sql", clients=500), arms=_POOLERS),
    Scenario(
        "simple@10000",
        "SELECT 1, 10,000 clients",
        Load("select.sql", clients=10_000),
        arms=_POOLERS,
        rounds=3,
        quick_rounds=1,
    ),
    Scenario(
        "connect",
        "a new connection for each SELECT 1, trust",
        replace(_SIMPLE, connects_each_time=True),
        arms=("direct", "pgbouncer", "pgmux-1", "pgmux-2"),
        is_quick=True,
    ),
    Scenario(
        "scram-connect",
        "a new connection for each SELECT 1, SCRAM-SHA-256",
        replace(_CONNECTING, with_password=True),
        arms=_POOLERS,
        notes=(_PGBENCH_NOTE,),
    ),
    Scenario("tls", "SELECT 1 over TLS 1.3", replace(_BY_PGBENCH, over_tls=True), arms=_POOLERS),
    Scenario(
        "tls-connect",
        "a new TLS connection, its handshake in full, for each SELECT 1",
        replace(_CONNECTING, over_tls=True),
        arms=_POOLERS,
        notes=("the certificate's key is on curve P-256, the cheapest there is to sign with", _PGBENCH_NOTE),
    ),
    Scenario(
        "megabyte",
        "a row of 1 MB",
        Load("megabyte.sql", clients=8, bytes_each_time=1_000_000),
        arms=_MOVERS,
    ),
    Scenario(
        "copy-out",
        "COPY TO STDOUT, 100,000 rows of 100 bytes",
        Load("copy_out.sql", clients=4, bytes_each_time=10_000_000),
        arms=_MOVERS,
    ),
    Scenario(
        "copy-in",
        "COPY FROM STDIN, 10 MB",
        Load("copy_in.sql", clients=4, copy_bytes=10_000_000, bytes_each_time=10_000_000),
        arms=_MOVERS,
    ),
    Scenario(
        "stream",
        "one client, a result of 1 GB in rows of 10 kB",
        Load("gigabyte.sql", clients=1, bytes_each_time=1_000_000_000),
        arms=_MOVERS,
        rounds=3,
        quick_rounds=1,
    ),
    Scenario(
        "backends",
        "200 busy clients on pool_size 5: the most backends at any instant",
        Load("select.sql", clients=200),
        measure="backends",
        pool_size=5,
        arms=("pgbouncer", "pgbouncer-2", "pgmux-4"),
        rounds=2,
        quick_rounds=1,
        is_quick=True,
    ),
    Scenario(
        "idle",
        "memory of clients that are logged in and idle",
        _SIMPLE,
        measure="idle",
        arms=_POOLERS,
        rounds=2,
        quick_rounds=1,
        is_quick=True,
        notes=(_MEMORY_NOTE,),
    ),
    Scenario(
        "start",
        "processor time from the command to the answer of the first query",
        _SIMPLE,
        measure="start",
        arms=("pgbouncer", "pgmux-1", "pgmux-4"),
        rounds=3,
        quick_rounds=1,
        is_quick=True,
    ),
    Scenario(
        "instructions",
        "of the relay in user space for a SELECT 1, 8 clients (callgrind)",
        replace(_SIMPLE, clients=8),
        measure="instructions",
        arms=("pgmux-1",),
        rounds=1,
        quick_rounds=1,
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ROWS}


def find_scenario(name: str) -> Scenario | None:
    """The scenario of a name, with NAME@CLIENTS as many clients as that says; None if there is none."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    match = re.fullmatch(r"([a-z-]+)@([1-9]\d{0,5})", name)
    scenario = SCENARIOS.get(match[1]) if match else None
    if match is None or scenario is None or scenario.measure != "load":
        return None
    return scenario.at(int(match[2]))


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
    ("floor", "scram-connect"): Inability("floor does not log in: it greets whoever comes"),
    ("floor", "megabyte"): Inability("floor keeps nothing that a socket does not take"),
    ("floor", "copy-out"): Inability("floor keeps nothing that a socket does not take"),
    ("floor", "copy-in"): Inability("floor keeps nothing that a socket does not take"),
    ("floor", "stream"): Inability("floor keeps nothing that a socket does not take"),
    ("floor", "backends"): Inability("floor opens its backends at its start"),
    ("floor", "idle"): Inability("floor keeps nothing of its clients"),
    ("floor", "tls"): Inability("floor has no TLS"),
    ("floor", "tls-connect"): Inability("floor has no TLS"),
    ("direct", "scram-connect"): Inability("the backends are set up with trust"),
    ("direct", "tls"): Inability("the backends have no TLS"),
    ("direct", "tls-connect"): Inability("the backends have no TLS"),
    ("direct", "backends"): Inability("without a pooler every client is a backend"),
    ("direct", "idle"): Inability("nullpg's memory says nothing about PostgreSQL's"),
    ("direct", "start"): Inability("there is nothing to start"),
    ("direct", "instructions"): Inability("there is no relay"),
    ("floor", "instructions"): Inability("only pgmux's relay is counted"),
    ("pgbouncer", "instructions"): Inability("only pgmux's relay is counted"),
    ("odyssey", "instructions"): Inability("only pgmux's relay is counted"),
    ("odyssey", "scram-connect"): Inability("this measurement sets Odyssey up with trust alone"),
}


def why_not(kind: str, version: str, scenario: str) -> str | None:
    """Why a program of this version cannot take part in a scenario; None if it can."""
    inability = CANNOT.get((kind, scenario.split("@")[0]))
    if inability is None:
        return None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    if inability.until is not None and numbers >= inability.until:
        return None
    return inability.reason
