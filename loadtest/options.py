"""The command line of `python -m loadtest`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.arms import ARMS, MAX_CLIENTS
from loadtest.baseline import BASELINE
from loadtest.scenarios import SCENARIOS, Scenario, find_scenario

_DESCRIPTION = """\
Measures poolers side by side in front of a PostgreSQL that answers at once (nullpg), so that the pooler and
not PostgreSQL is what is measured: transactions per second, latency, processor time per transaction, memory.
Arms take turns, round after round; what counts are ratios within a round. See loadtest/README.md. The claims of
docs/performance.md, each with its table and its plot: python -m loadtest.claims --help.
"""


@dataclass(frozen=True)
class Options:
    """What the user chose."""

    scenarios: tuple[Scenario, ...]
    arms: tuple[str, ...] | None  # None: each scenario's own
    rounds: int | None  # None: each scenario's own
    seconds: int
    idle_clients: int
    unix: bool
    quick: bool
    backend: str  # null, or a PostgreSQL's major version
    programs: dict[str, Path]  # by kind of arm
    output: Path | None
    baseline: Path
    record: bool  # this measurement becomes the baseline


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
        "--scenario",
        type=_scenarios,
        metavar="NAME,…",
        help="only these, NAME@CLIENTS with so many (default: all)",
    )
    parser.add_argument(
        "--clients",
        type=_counts,
        metavar="N,…",
        help="every chosen load scenario with each of these numbers of clients (such as 1,10,40,120,500,2000,10000)",
    )
    parser.add_argument(
        "--arms", type=_names_of(ARMS), metavar="NAME,…", help="these arms in every scenario that they can do"
    )
    parser.add_argument(
        "--rounds", type=_positive, help="how often each arm runs (default: 5, or fewer where that is enough)"
    )
    parser.add_argument("--seconds", type=_positive, help="length of a run (default: 4)")
    parser.add_argument(
        "--idle-clients",
        type=_positive,
        help="clients of the scenario idle (default: 10000, 2000 with --quick)",
    )
    parser.add_argument(
        "--backend",
        metavar="null|15|16|18|…",
        type=_backend,
        default="null",
        help="what is behind the poolers: nullpg (default), or a PostgreSQL of this major version",
    )
    parser.add_argument("--odyssey", type=_program, metavar="PATH", help="Odyssey's program, for its arms")
    parser.add_argument(
        "--pgbouncer", type=_program, metavar="PATH", help="instead of the installed PgBouncer"
    )
    parser.add_argument(
        "--unix", action="store_true", help="to the backend over its Unix socket instead of TCP, for all arms"
    )
    parser.add_argument("--output", type=Path, help="the JSON file (default: loadtest/results/<date>.json)")
    parser.add_argument(
        "--baseline",
        type=Path,
        default=BASELINE,
        metavar="FILE",
        help="the measurement to compare with (default: loadtest/results/baseline.json)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="put it there, for what was measured in it: later ones are compared with that",
    )
    chosen = parser.parse_args(arguments)
    idle_clients = chosen.idle_clients or (2000 if chosen.quick else MAX_CLIENTS)
    if idle_clients > MAX_CLIENTS:
        parser.error(f"--idle-clients: the poolers are configured for {MAX_CLIENTS}")
    scenarios = chosen.scenario or tuple(
        each for each in SCENARIOS.values() if each.is_quick or not chosen.quick
    )
    named = {"odyssey": chosen.odyssey, "pgbouncer": chosen.pgbouncer}
    return Options(
        scenarios=_with_clients(scenarios, chosen.clients),
        arms=chosen.arms,
        rounds=chosen.rounds,
        seconds=chosen.seconds or (1 if chosen.quick else 4),
        idle_clients=idle_clients,
        unix=chosen.unix,
        quick=chosen.quick,
        backend=chosen.backend,
        programs={kind: path for kind, path in named.items() if path},
        output=chosen.output,
        baseline=chosen.baseline,
        record=chosen.record,
    )


def _epilog() -> str:
    width = max(map(len, SCENARIOS))
    scenarios = "\n".join(
        f"  {'*' if each.is_quick else ' '} {name:<{width}}  {each.what}" for name, each in SCENARIOS.items()
    )
    return f"""\
scenarios (those of --quick with a star):
{scenarios}

arms: {", ".join(ARMS)}

examples:
  python -m loadtest --quick                                   a first look
  python -m loadtest                                           everything, about fifteen minutes
  python -m loadtest --scenario simple --arms pgbouncer,pgmux-1 --rounds 9
  python -m loadtest --scenario simple,tpcb --clients 1,10,500 --backend 16
"""


def _names_of(known: Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return chosen

    return names


def _scenarios(text: str) -> tuple[Scenario, ...]:
    found = []
    for name in dict.fromkeys(name.strip() for name in text.split(",")):
        scenario = find_scenario(name)
        if scenario is None:
            raise argparse.ArgumentTypeError(
                f"{name!r} is none of {', '.join(SCENARIOS)}, nor one of them with @CLIENTS"
            )
        found.append(scenario)
    return tuple(found)


def _with_clients(scenarios: tuple[Scenario, ...], counts: tuple[int, ...] | None) -> tuple[Scenario, ...]:
    """Each load scenario once for each number of clients; those that have a number in their name once in all."""
    if counts is None:
        return scenarios
    plain = dict.fromkeys(
        SCENARIOS.get(each.name.split("@")[0], each) if each.measure == "load" else each for each in scenarios
    )
    return tuple(
        scenario
        for each in plain
        for scenario in ([each.at(count) for count in counts] if each.measure == "load" else [each])
    )


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(_positive(part.strip().replace("_", "")) for part in text.split(","))
    if max(counts) > MAX_CLIENTS:
        raise argparse.ArgumentTypeError(f"the poolers are configured for {MAX_CLIENTS} clients at most")
    return counts


def _backend(text: str) -> str:
    if text != "null" and not text.isdigit():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither null nor a major version of PostgreSQL, such as 16"
        )
    return text


def _program(text: str) -> Path:
    path = Path(text).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a program")
    return path


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
