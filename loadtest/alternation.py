"""What it costs that two clients have different settings: they ask by turns on one backend of a real PostgreSQL.

    python -m loadtest.alternation [--rounds N]

A pooler that carries settings must bring the backend from the one client's to the other's before each query. Both
clients log in with the same settings, and with different ones, round about; the figure is the median latency of
the rounds with different settings by that of the rounds with equal ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtest.arms import ARMS, Place
from loadtest.client import Address, Client, log_in
from loadtest.postgres import PostgresBackend

_ARMS = ("pgbouncer", "pgmux-1")
_TURNS = 500  # queries of each client, a round
_ZONES = ("Asia/Tokyo", "America/Lima")


def ask_by_turns(address: Address, *, differ: bool, turns: int = _TURNS) -> float:
    """The median latency of a SELECT 1 of two clients, microseconds."""
    with ExitStack() as stack:
        clients = [stack.enter_context(log_in(address)) for _ in range(2)]
        for number, client in enumerate(clients):
            which = number if differ else 0
            client.query(f"SET application_name TO 'application {which}'")
            client.query(f"SET TimeZone TO '{_ZONES[which]}'")
        return statistics.median(sorted(_took(client) for _ in range(turns) for client in clients))


def _took(client: Client) -> float:
    before = time.perf_counter()
    client.query("SELECT 1")
    return (time.perf_counter() - before) * 1_000_000


def compare(address: Address, rounds: int) -> tuple[float, float]:
    """(equal, different): medians of so many rounds each, microseconds."""
    ask_by_turns(address, differ=True)  # the first log-ins of a backend and its time zones' files
    pairs = [(ask_by_turns(address, differ=False), ask_by_turns(address, differ=True)) for _ in range(rounds)]
    return statistics.median(equal for equal, _ in pairs), statistics.median(other for _, other in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each pooler."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.alternation", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="of equal and of different settings each (9)")
    rounds = parser.parse_args(arguments).rounds
    with TemporaryDirectory(prefix="pgmux-alternation-") as name, PostgresBackend(None, 5) as backend:
        for arm_name in _ARMS:
            folder = Path(name) / arm_name
            folder.mkdir()
            with ARMS[arm_name](Place(backend.address, 1, folder)) as arm:
                equal, different = compare(arm.address, rounds)
            print(
                f"{arm_name:10} {arm.version:10} equal {equal:6.1f} us  different {different:6.1f} us"
                f"  ratio {different / equal:.2f}"
            )


if __name__ == "__main__":
    main()
