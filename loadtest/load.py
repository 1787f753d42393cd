"""What clients do in a run, and what comes of it, whichever program plays the clients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from loadtest.client import Address

Player = Literal["crowd", "pgbench"]


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    script: str  # a file in scripts/
    protocol: str = "simple"  # simple | extended | prepared
    clients: int = 40
    player: Player = "crowd"  # pgbench where a password or TLS is wanted
    threads: int = 1  # of pgbench
    connects_each_time: bool = False
    over_tls: bool = False
    with_password: bool = False  # the arms are set up for SCRAM, not trust
    copy_bytes: int = 0  # what COPY FROM STDIN is fed; 0 = nothing
    bytes_each_time: int = 0  # of rows or COPY in a transaction; 0 = not worth a word
    think_ms: float = 0  # the mean pause between two transactions of a client
    logged_share: float = 0.05  # of pgbench's transactions, 0 to 1, for the percentiles; 0 = no log


@dataclass(frozen=True)
class Report:
    """What one run gave. Latencies are of whole transactions, a connection of their own included."""

    transactions: int
    tps: float
    p50_us: float | None  # None when no transaction fell into the sample
    p99_us: float | None
    p999_us: float | None
    connect_us: (
        float | None
    )  # to connect and log in, where every transaction connects: crowd's median, pgbench's mean
    fewest: int | None  # transactions of the client that was served least; None: pgbench does not tell
    most: int | None
    errors: int  # clients that gave up, and transactions that failed
    first_error: str
    cpu_s: float  # of the player itself


class Generator(Protocol):
    """A program that plays clients."""

    def ready(
        self, load: Load, address: Address, seconds: float
    ) -> AbstractContextManager[Callable[[], Report]]:
        """Gives, when all is set up, what makes the run; the clients leave when the block is left."""
