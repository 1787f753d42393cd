"""docs/performance.md, written from what was measured: the figures of the last baseline, and the seven claims.

    python -m loadtest.claims.document > docs/performance.md        (make docs/performance.md)

Numbers come from loadtest/results; only words stand here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from loadtest.baseline import BASELINE, read_baseline
from loadtest.claims.__main__ import CLAIMS
from loadtest.claims.claim import Claim
from loadtest.figures import Verdict
from loadtest.machine import Circumstances
from loadtest.report import Result
from loadtest.scenarios import SCENARIOS
from loadtest.summary import Summary
from pgmux.errors import PgmuxError

STREAMS = BASELINE.with_name("postgresql.json")  # the same before a real PostgreSQL: what is streamed
NEWER = BASELINE.with_name(
    "pgbouncer-newer.json"
)  # the same against a PgBouncer that carries named statements
ODYSSEY = BASELINE.with_name("odyssey.json")  # with Odyssey among the arms

_OPENING = """\
# Performance

`make docs/performance.md` writes this page from what was measured last, in this repository's `loadtest/results`; nothing
in it is typed by hand but the words. What is measured, and how, and how to read it: [loadtest/README.md]({readme}).

    make bench-quick        a first look, less than two minutes
    make bench              everything below but the claims
    make claims N=3         a claim of the field, measured here and now: its table, and its plot

A pooler's own cost is a few microseconds, a machine's mood is more. So competitors take turns, what counts is the
ratio within a round, and each ratio is given with the lowest and the highest of its rounds: where two of these
overlap, nothing is proved. Behind the poolers stands, unless it says otherwise, a backend that answers at once.
"""

# Why a figure is not reached, when it is not; by its name.
_REASONS = {
    "CPU, simple, 1 worker / PgBouncer": "kernel",
    "CPU, extended, 1 worker / PgBouncer": "kernel",
    "CPU, tpcb, 1 worker / PgBouncer": "kernel",
    "CPU, simple, 2 workers / PgBouncer": "hand_over",
    "CPU, extended, 2 workers / PgBouncer": "hand_over",
    "CPU, tpcb, 2 workers / PgBouncer": "hand_over",
    "CPU, prepared, 1 worker / PgBouncer": "old",
    "CPU, 10,000 clients / 10 clients": "cold",
    "throughput of a 1 GB result / direct (PostgreSQL)": "copies",
    "throughput of COPY out / direct (PostgreSQL)": "copies",
    "idle clients, above PgBouncer + 15 MB a worker": "interpreter",
    "CPU, prepared / simple through pgmux": "minutes",
    "CPU per connection, SCRAM / PgBouncer": "proof",
    "CPU per connection, TLS / PgBouncer": "handshake",
}
_WORDS = {
    "kernel": (
        "Nine tenths of a transaction's processor time are the kernel's: two receives and two sends over loopback TCP, "
        "which the floor makes too, one by one. What pgmux saves is the returns from them; its own part is less than a "
        "microsecond, and PgBouncer's is not much more. So the figure is what this machine asks for a system call, and "
        "moved between 0.56 and 0.82 with its mood."
    ),
    "minutes": (
        "The two are measured minutes apart, and the machine is another by then. In turns, eight pairs of 2 s, it was "
        "1.06 in the median, between 0.81 and 1.23."
    ),
    "hand_over": (
        "With two workers half of the batches are half as long, and a backend that changes worker costs "
        "an `epoll_ctl` or two (counted by strace: 2.9 system calls for a transaction, one worker 2.2). "
        "All four programs of a run share two cores here, so a worker is put aside while it holds "
        "leases, and then others wait or take over: with cores of their own this happens less often."
    ),
    "old": (
        "Debian 12's PgBouncer 1.18 carries no named statements in transaction mode; the row below compares "
        "with its simple protocol, and a table further down with a newer one."
    ),
    "cold": (
        "With 10,000 clients each socket is cold when its turn comes: what grows is the kernel's part, and PgBouncer's "
        "grows more (the row `simple@10000` against `simple@10`)."
    ),
    "interpreter": (
        "A Python interpreter with gevent and pgmux's own modules is some 30 MB before the first client, "
        "which 15 MB for one worker cannot hold; a worker more costs 7 MB, a client less than 900 bytes, "
        "so by these numbers four workers stay within it."
    ),
    "proof": (
        "Three quarters of such a connection's processor time are the kernel's with both, and pgmux's is the smaller. Of "
        "the rest pgmux uses half as much again: the messages of SCRAM are taken apart and put together as objects "
        "of Python, if in compiled code (perf: 13 % of the worker's time). Next: in buffers of C."
    ),
    "handshake": (
        "Three quarters of it are spent in user space by both, on the handshake's signature and key exchange: the same "
        "code, OpenSSL's."
    ),
    "copies": (
        "A pooler copies every byte twice more, into its own memory and out of it, and on this machine "
        "it has to do so on the same two cores as the server and the client. The rows come as fast as "
        "the pooler's one core can copy."
    ),
}


_ON_LOAD = """\
How far apart two poolers are depends on the load. With few clients every event is served by itself, and what a
transaction costs is system calls, of which all need the same; with many, what is ready is served in one batch, and
pgmux sends a batch by one call. The rows `simple@10`, `simple`, `simple@500` show it. pgbench (the row of that
name) is a slower client than crowd, and leaves the pooler in between. CPU for a connection or a transaction holds
what the pooler does periodically, too: where a run has few of them, as where each costs the client a proof or a
handshake, that shows.
"""


def document() -> Iterator[str]:
    """The page, line by line. Raises PgmuxError where something was never measured."""
    baseline = read_baseline(BASELINE)
    if baseline is None:
        raise PgmuxError("no baseline: python -m loadtest --record")
    streams, newer, odyssey = (
        read_baseline(path) if path.exists() else None for path in (STREAMS, NEWER, ODYSSEY)
    )
    yield _OPENING.format(readme="../loadtest/README.md")
    yield from _figures(baseline, [each for each in (streams, newer) if each is not None])
    yield from _loads("Before a backend that answers at once", baseline)
    if newer is not None:
        yield from _loads("The same, against a newer PgBouncer", newer)
    if odyssey is not None:
        yield from _loads("Beside Odyssey", odyssey)
    if streams is not None:
        yield from _loads("Before a real PostgreSQL", streams)
    yield "## The claims of the field"
    yield ""
    yield "What poolers are for, each measured here with a real PostgreSQL where one is concerned (`make claims`)."
    yield ""
    for claim in CLAIMS.values():
        yield from _claim(claim)


def _figures(baseline: Result, others: Sequence[Result]) -> Iterator[str]:
    yield from ("## The figures that pgmux has set itself", "", _where(baseline.circumstances), "")
    known = {verdict.name: verdict for verdict in baseline.figures}
    for verdict in (verdict for other in others for verdict in other.figures):
        if verdict.value is not None and known[verdict.name].value is None:
            known[verdict.name] = verdict
    yield from _table(("", "wanted", "measured", ""), [_figure(verdict) for verdict in known.values()])
    yield from ("", "What is not reached, or not measured, and why:", "")
    names: dict[str, list[str]] = {}
    for verdict in known.values():
        if not verdict.reached and verdict.name in _REASONS:
            names.setdefault(_REASONS[verdict.name], []).append(verdict.name)
    for reason, concerned in names.items():
        yield f"- *{'; '.join(concerned)}*: {_WORDS[reason]}"
    yield ""


def _figure(verdict: Verdict) -> tuple[str, ...]:
    sign = "≥" if verdict.is_floor else "≤"
    words = {True: "reached", False: "**not reached**", None: "not measured here"}
    value = "" if verdict.value is None else f"{verdict.value:,.2f}"
    if verdict.value is not None and verdict.value >= 100:
        value = f"{verdict.value:,.0f}"
    elif verdict.value is not None and value == f"{verdict.limit:.2f}" and verdict.value != verdict.limit:
        value = f"{verdict.value:.3f}"  # on which side of the limit
    return verdict.name, f"{sign} {verdict.limit:g} {verdict.unit}".strip(), value, words[verdict.reached]


def _loads(title: str, result: Result) -> Iterator[str]:
    yield from (f"## {title}", "", _where(result.circumstances), "")
    others = median(each.strangers_share for each in result.summaries)
    yield (
        f"Runs of 1 to 4 s; the backend is {result.method.target}, over {result.method.backend_transport}; "
        f"other programs used {others:.0%} of the machine meanwhile, in the median. CPU is the pooler's for one "
        "transaction, against PgBouncer's in the same round."
    )
    yield ""
    header = (
        "scenario",
        "",
        "tps",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs",
        "of PgBouncer",
        "MB/s",
        "backend µs",
        "errors",
    )
    order = {name: place for place, name in enumerate(SCENARIOS)}
    rows = sorted(result.summaries, key=lambda each: order.get(each.scenario, len(order)))
    yield from _table(header, [_load(each) for each in rows])
    yield ""
    if any(each.scenario == "simple@500" for each in result.summaries):
        yield _ON_LOAD


def _load(of: Summary) -> tuple[str, ...]:
    ratio = "" if of.ratio is None else f"{of.ratio:.2f} [{of.ratio_low:.2f}–{of.ratio_high:.2f}]"
    moved = "" if of.bytes_per_second is None else f"{of.bytes_per_second / 1e6:,.0f}"
    of_direct = f" ({of.tps_ratio:.2f} of direct)" if moved and of.tps_ratio is not None else ""
    return (
        of.scenario,
        of.arm,
        f"{of.tps:,.0f}" if of.tps >= 10 else f"{of.tps:.2f}",
        *("" if value is None else f"{value / 1000:,.2f}" for value in (of.p50_us, of.p99_us, of.p999_us)),
        "" if of.total_us is None else f"{of.total_us:,.1f}",
        ratio,
        moved + of_direct,
        f"{of.backend_us:,.1f}",
        str(of.errors),
    )


def _claim(claim: Claim) -> Iterator[str]:
    recorded = claim.recorded()
    yield from (f"### {claim.number}. {claim.says}", "")
    yield from (f"![{claim.says}](claims/{claim.picture.name})", "")
    if claim.remark:
        yield from (claim.remark, "")
    header, lines = claim.table(recorded.rows)
    yield from _table(header, lines)
    yield from ("", _where(recorded.circumstances), "")


def _where(circumstances: Circumstances) -> str:
    machine = circumstances.machine
    kind = "virtual, " if machine.is_virtual else ""
    versions = ", ".join(
        f"{name} {version}"
        for name, version in circumstances.versions.items()
        if name in ("python", "pgmux", "pgbouncer", "postgresql", "odyssey")
    )
    return (
        f"*{machine.processor}, {machine.cores} cores ({kind}load {machine.load_average:.1f} from other "
        f"programs before it began), Linux {machine.kernel}; {versions}; {circumstances.date[:10]}.*"
    )


def _table(header: Iterable[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for at, row in enumerate([tuple(header), *rows]):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
        if at == 0:
            yield "|" + "---|" * len(row)


def main() -> int:
    """Prints the page."""
    try:
        print("\n".join(document()))
    except PgmuxError as error:
        print(f"loadtest.claims.document: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
