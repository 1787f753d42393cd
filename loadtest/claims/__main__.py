"""`python -m loadtest.claims`: measures claims, prints their tables, writes their rows and plots."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from loadtest.arms import MAX_CLIENTS
from loadtest.claims import churn, forking, hidden, idleness, multitude, snapshots, workers
from loadtest.claims.claim import Claim, Recorded
from loadtest.claims.stage import Stage
from loadtest.debian import find_pgbouncer
from loadtest.idle import files_for, raise_open_files
from loadtest.machine import look_around
from loadtest.program import pass_on_niceness
from pgmux.demo.installations import find_installation
from pgmux.demo.terminal import Progress, print_table
from pgmux.errors import PgmuxError

CLAIMS = {
    each.CLAIM.number: each.CLAIM
    for each in (idleness, forking, churn, multitude, hidden, snapshots, workers)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    options = _parser().parse_args(arguments)
    try:
        raise_open_files(files_for(MAX_CLIENTS))
        pass_on_niceness(os.getpid())
        for number in options.claims or CLAIMS:
            _show(CLAIMS[number], options)
    except PgmuxError as error:
        print(f"loadtest.claims: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nloadtest.claims: stopped; the claim under way is not written", file=sys.stderr)
        return 1
    return 0


def _show(claim: Claim, options: argparse.Namespace) -> None:
    if options.draw:
        recorded = claim.recorded()
    else:
        recorded = _measured(claim, options)
        claim.record(recorded)
    print_table(f"claim {claim.number}: {claim.says}", *claim.table(recorded.rows), "")
    claim.draw(recorded.rows)
    print(f"{claim.results}\n{claim.picture}\n", flush=True)


def _measured(claim: Claim, options: argparse.Namespace) -> Recorded:
    found = find_pgbouncer()
    versions = {"postgresql": find_installation(options.postgres).version}
    if found is not None:
        versions["pgbouncer"] = found.version
    circumstances = look_around(versions)
    progress = Progress(claim_steps(claim))
    try:
        rows = claim.measure(Stage(options.seconds, options.rounds, options.postgres, progress))
    finally:
        progress.clear()
    return Recorded(circumstances, rows)


def claim_steps(claim: Claim) -> int:
    """How many steps its progress line counts, about."""
    return {1: 16, 2: 13, 3: 46, 4: 16, 5: 2, 6: 32, 7: 24}[claim.number]


def _parser() -> argparse.ArgumentParser:
    claims = "\n".join(f"  {number}  {claim.says}" for number, claim in CLAIMS.items())
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.claims",
        description="Measures the claims of docs/performance.md, here and now: a table, and a plot in docs/claims.",
        epilog=f"claims:\n{claims}\n\nexamples:\n  python -m loadtest.claims 3\n  python -m loadtest.claims --draw",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "claims", nargs="*", type=int, choices=list(CLAIMS), metavar="N", help="(default: all)"
    )
    parser.add_argument("--seconds", type=float, default=4, help="of each run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many (default: 3)")
    parser.add_argument("--postgres", metavar="MAJOR", help="PostgreSQL's version (default: the newest here)")
    parser.add_argument(
        "--draw", action="store_true", help="measure nothing: tables and plots of what was measured"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
