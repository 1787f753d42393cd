"""The command line of `python -m loadtest`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.arms import ARMS, MAX_CLIENTS
from loadtest.scenarios import SCENARIOS

_DESCRIPTION = """\
Measures poolers side by side in front of a PostgreSQL that answers at once (nullpg), so that the pooler and
not PostgreSQL is what is measured: transactions per second, latency, processor time per transaction, memory.
Arms take turns, round after round; what counts are ratios within a round. See loadtest/README.md.
"""


@dataclass(frozen=True)
class Options:
    """What the user chose."""

    scenarios: tuple[str, ...]
    arms: tuple[str, ...] | None  # None: each scenario's own
    rounds: int | None  # None: each scenario's own
    seconds: int
    idle_clients: int
    unix: bool
    quick: bool
    target: str
    output: Path | None


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """The command line; exits with 2 and a message when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description=_DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of 1 s: less than two minutes, and less exact"
    )
    parser.add_argument(
        "--scenario", type=_names_of(SCENARIOS), metavar="NAME,…", help="only these scenarios (default: all)"
    )
    parser.add_argument(
        "--arms", type=_names_of(ARMS), metavar="NAME,…", help="these arms in every scenario that they can do"
    )
    parser.add_argument(
        "--rounds", type=_positive, help="how often each arm runs (default: 5, or fewer where that is enough)"
    )
    parser.add_argument("--seconds", type=_positive, help="length of a run (default: 4)")
    parser.add_argument(
        "--idle-clients", type=_positive, default=5000, help="clients of the scenario idle (default: 5000)"
    )
    parser.add_argument("--target", choices=["null"], default="null", help="what is behind the poolers")
    parser.add_argument(
        "--unix", action="store_true", help="to the backend over its Unix socket instead of TCP, for all arms"
    )
    parser.add_argument("--output", type=Path, help="the JSON file (default: loadtest/results/<date>.json)")
    chosen = parser.parse_args(arguments)
    if chosen.idle_clients > MAX_CLIENTS:
        parser.error(f"--idle-clients: the poolers are configured for {MAX_CLIENTS}")
    return Options(
        scenarios=chosen.scenario or tuple(SCENARIOS),
        arms=chosen.arms,
        rounds=chosen.rounds,
        seconds=chosen.seconds or (1 if chosen.quick else 4),
        idle_clients=chosen.idle_clients,
        unix=chosen.unix,
        quick=chosen.quick,
        target=chosen.target,
        output=chosen.output,
    )


def _epilog() -> str:
    width = max(map(len, SCENARIOS))
    scenarios = "\n".join(f"  {name:<{width}}  {each.what}" for name, each in SCENARIOS.items())
    return f"""\
scenarios:
{scenarios}

arms: {", ".join(ARMS)}

examples:
  python -m loadtest --quick                                   a first look
  python -m loadtest                                           everything, about eight minutes
  python -m loadtest --scenario select --arms pgbouncer,pgmux-1 --rounds 9
"""


def _names_of(known: Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return chosen

    return names


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
