"""The table of docs/hidden-state.md: what becomes of each kind of session state in transaction mode.

    python -m tests.hidden.comparison > docs/hidden-state.md        (make docs/hidden-state.md)

Every situation is run directly, through pgmux and through PgBouncer, whose backends are made to change between
transactions as far as each can be told to. The PgBouncer is the one on PATH, else Debian's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from loadtest.debian import find_pgbouncer
from pgmux import __version__
from tests.hidden.client import NOTHING, Client
from tests.hidden.situations import ROLE, SITUATIONS, TABLES, Program
from tests.pgbouncer.bouncer import Bouncer
from tests.servers import Pgmux, Postgres

BACKENDS = 3
ROAMING: dict[str, Any] = {
    "workers": 2,
    "roam": True,
    "default_pool_size": BACKENDS,
    "min_pool_size": BACKENDS,
    "max_pinned_percent": 100,
    "last_value_reserve": "20s",  # whose turn it is may take longer than an application
}
AS_DIRECT = "✓"
_LONGEST = 70  # of what is quoted
_KEPT = 200  # prepared statements, PgBouncer's own default since 1.24

Told = tuple[list[str], list[str]]


class Server(Protocol):
    """Whoever speaks PostgreSQL's protocol at a TCP address."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


def prepare_database(postgres: Postgres) -> None:
    """Makes the tables, functions and the role that the situations find."""
    if not postgres.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'"):
        postgres.sql(f"CREATE ROLE {ROLE}")
        postgres.sql(f"GRANT {ROLE} TO app")
    postgres.sql(TABLES, "app", "app")


@contextmanager
def multiplexed(postgres: Postgres) -> Iterator[Server]:
    """A new pgmux."""
    with Pgmux(postgres, **ROAMING) as pgmux:
        yield pgmux


def run_by_turns(program: Program, server: Server) -> Told:
    """What the two clients are told."""
    clients = [Client(server.host, server.port, number) for number in (1, 2)]
    turns = [program(client) for client in clients]
    while turns:
        for turn in turns.copy():
            if next(turn, turn) is turn:
                turns.remove(turn)
    for client in clients:
        client.leave()
    return clients[0].told, clients[1].told


def verdict(expected: Told, said: Told) -> str:
    """AS_DIRECT, or the first thing that was different, in a few words of Markdown."""
    if said == expected:
        return AS_DIRECT
    for mine, others, got in zip(expected, reversed(expected), said, strict=True):
        for place, (wanted, answer) in enumerate(zip(mine, [*got, *[NOTHING] * len(mine)], strict=False)):
            if answer != wanted:
                other = others[place] if place < len(others) else wanted
                return _difference(wanted, answer, other)
    return "said more than PostgreSQL"


def _difference(wanted: str, answer: str, other: str) -> str:
    if answer.startswith("ERROR"):
        code, _, message = answer.removeprefix("ERROR ").partition(": ")
        return f"{code} {_shortened(message)}"
    if answer in (NOTHING, "no answer", "connection closed"):
        return answer
    if wanted.startswith("ERROR"):
        return f"no error {wanted.split()[1].rstrip(':')}, but `{_shortened(answer)}`"
    whose = "**the other client's** " if answer == other != wanted else ""
    return f"{whose}`{_shortened(answer)}` instead of `{_shortened(wanted)}`"


def _shortened(text: str) -> str:
    text = text.replace("|", "\\|")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@contextmanager
def bounced(postgres: Postgres) -> Iterator[Server]:
    """A new PgBouncer that has all its backends and uses them one after another."""
    with Bouncer(
        f"[databases]\n* = host={postgres.host} port={postgres.port} user=app\n[pgbouncer]\npool_mode = transaction\n"
        f"default_pool_size = {BACKENDS}\nserver_round_robin = 1\nserver_tls_sslmode = disable\n"
        + (f"max_prepared_statements = {_KEPT}\n" if _keeps_statements() else "")
    ) as bouncer:
        clients = [Client(bouncer.host, bouncer.port, number) for number in range(BACKENDS)]
        for word in ("BEGIN", "COMMIT"):
            for client in clients:
                client.ask(word)
        for client in clients:
            client.leave()
        yield bouncer


def _keeps_statements() -> bool:
    """Whether this PgBouncer knows of prepared statements: since 1.21."""
    found = find_pgbouncer()
    return found is not None and tuple(map(int, found.version.split(".")[:2])) >= (1, 21)


def compare(postgres: Postgres, pooler: Callable[[], AbstractContextManager[Server]]) -> dict[str, str]:
    """The verdict on each situation, each with a pooler of its own."""
    verdicts = {}
    for title, program in SITUATIONS.items():
        expected = run_by_turns(program, postgres)
        with pooler() as server:
            verdicts[title] = verdict(expected, run_by_turns(program, server))
    return verdicts


def main() -> None:
    """Prints the document."""
    found = find_pgbouncer()
    bouncer = found.version if found else "not installed here"
    with Postgres() as postgres:
        prepare_database(postgres)
        ours = compare(postgres, lambda: multiplexed(postgres))
        theirs = compare(postgres, lambda: bounced(postgres)) if found else {}
        version = postgres.version
    print(
        _DOCUMENT.format(
            postgres=version,
            pgmux=__version__,
            bouncer=bouncer,
            backends=BACKENDS,
            kept=f", `max_prepared_statements = {_KEPT}`" if _keeps_statements() else "",
            ours=sum(cell == AS_DIRECT for cell in ours.values()),
            theirs=sum(cell == AS_DIRECT for cell in theirs.values()),
            all=len(SITUATIONS),
            rows="\n".join(row(title, ours[title], theirs.get(title, "")) for title in SITUATIONS),
            costs=_COSTS,
        ),
        end="",
    )


def row(title: str, ours: str, theirs: str) -> str:
    """A line of the table."""
    return f"| {title} | {ours} | {theirs} |"


_COSTS = """
## What it costs

Ratios within one run, pgmux with one worker, PgBouncer 1.18, two virtual cores, 2026-11-26; `python -m loadtest` and
`python -m loadtest.alternation` measure them.

| | wanted | found |
|---|---|---|
| CPU per transaction, prepared statements against the simple protocol, in turns | 1.10 | 1.06 (0.81 to 1.23) |
| the same against the simple protocol through PgBouncer | 0.90 | 0.79 |
| a `SELECT 1` whose text is looked at, against the look compiled out: instructions of the relay | 1.03 | 1.014 |
| latency of two clients by turns with other application_name and TimeZone, against equal | 1.25 | 1.16 (1.12 to 1.33) |
| the same through PgBouncer (1.18 and 1.24.1), in the same eight runs | | 1.69 (1.54 to 1.75) |
| shared memory for 100 backends with 200 statements each | 4 MB | 1.9 MB |

The settings of two clients by turns ride with a lone SELECT, in its transaction and without an answer of their own:
to a query of 17 µs, asked of PostgreSQL directly, that adds 7.5 µs there, and SETs in front of it in one message 15,
most of it for the second answer. Such a SELECT is sent by the extended protocol, so `log_statement` writes it as
`execute <unnamed>`, and its `now()` is that of the settings, microseconds before. What is more than a SELECT, or begins
a transaction, has SETs in front.
"""
_DOCUMENT = """\
# Session state in transaction mode

`make docs/hidden-state.md` writes this file. Each line is a program that two clients run by turns, with the same names
for different contents: directly, and through each pooler ([the programs](../tests/hidden/situations.py)). A tick: both
were told, to the last value and error, what PostgreSQL {postgres} told them. Otherwise: the first answer that differed.

- pgmux {pgmux}: transaction mode, 2 workers, {backends} backends, `roam = true`: every transaction is on another one
  unless it is pinned (`max_pinned_percent = 100`, `last_value_reserve = "20s"`).
- PgBouncer {bouncer}: transaction mode, {backends} backends, `server_round_robin = 1`{kept}.

As with PostgreSQL itself: pgmux {ours}, PgBouncer {theirs} of {all}.

| | pgmux {pgmux} | PgBouncer {bouncer} |
|---|---|---|
{rows}

What pgmux does not keep:

- *What a library's function does* to its session, or one that is called by an operator, is announced by no text. It is
  not carried, and the next client may meet it: the audit (`audit_interval`) finds a sample of it, tells whose
  transaction left it, and cleans the backend. What functions with a source do is known (and what CALL and DO do): the
  catalog is asked which of them say `set_config`, `pg_advisory_lock` or the like, and which tables and views lead to
  one by a trigger, a default, a check, a policy, a rule, a partition or a cascade; a text that names any of these is
  followed by a question what it has left. Until the answer is there every transaction is; so it is again when a
  CREATE or ALTER of a function, trigger, view and the like was seen. What is made past pgmux, or by an ALTER TABLE, is
  known within a minute (with the next audit). With `audit_interval = 0` nothing is asked, and none of this is known.
- *lastval() and currval()* are told in the INSERT's transaction and soon after it (PDO's `lastInsertId()`): the client
  keeps its backend for a moment (`last_value_reserve`). Asked later, or when `max_pinned_percent` of the pool are kept
  already, or with `on_pin = "reject"`, they are PostgreSQL's 55000 "not yet defined in this session"; never another
  client's value. That a pool's clients ask is known once one has: that one may be told 55000 too, unless it asks in the
  INSERT's transaction (where, this first time, an INSERT that takes no value leaves those of another client). From then
  on, where another client had the backend before, a text that may advance a sequence has DISCARD SEQUENCES put in front
  of it. What a function or a column's default recalls is not seen. `INSERT … RETURNING` needs nothing of all that.
{costs}"""


if __name__ == "__main__":
    main()
