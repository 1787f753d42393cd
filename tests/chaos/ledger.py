"""A ledger in PostgreSQL, and tellers that transfer money in it through whatever comes.

Each transfer has a number of its own and is tried once. What a teller was told has been committed is written
down here, in the test: afterwards all of it must be there, and nothing twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress

from tests.servers import Postgres
from tests.wire import LoginRefusedError, Replies, Wire, WireClosedError, frontend

ACCOUNTS = 50
_SCHEMA = f"""
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO account SELECT n, 1000 FROM generate_series(1, {ACCOUNTS}) n;
CREATE TABLE transfer (number text NOT NULL, source int, target int, amount int);
"""
LOST = (WireClosedError, ConnectionResetError, BrokenPipeError, ConnectionRefusedError)
EXCUSES = {  # what a client may be told while servers die
    "57P01": "PostgreSQL's fast stop, or a terminated backend",
    "57P02": "PostgreSQL crashes",
    "57P03": "PostgreSQL cannot be reached, starts or stops",
    "08006": "a backend died without a word",
    "53300": "somebody is too many",
    "57014": "cancelled",
    "40P01": "a deadlock",
    "25P02": "the transaction had failed before",
}


class RefusedError(Exception):
    """A statement was answered by an error that has its excuse."""


class Ledger:
    """What is true of the ledger, as far as tellers were told."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.acknowledged: set[str] = set()
        self.excused: dict[str, int] = {}  # SQLSTATE: how often
        postgres.sql(_SCHEMA, "app", "app")

    def audit(self) -> None:
        """Every acknowledged transfer is there, none twice, and no money was made or lost."""
        counted = dict(self._postgres.sql("SELECT number, count(*) FROM transfer GROUP BY 1", "app", "app"))
        missing = self.acknowledged - counted.keys()
        assert not missing, f"{len(missing)} acknowledged transfers are missing: {sorted(missing)[:5]}"
        doubled = {number for number, times in counted.items() if times > 1}
        assert not doubled, f"transfers that were made twice: {sorted(doubled)[:5]}"
        [(wealth,)] = self._postgres.sql("SELECT sum(balance) FROM account", "app", "app")
        assert wealth == ACCOUNTS * 1000
        wrong = self._postgres.sql(
            "SELECT id FROM account a WHERE balance <> 1000"
            " + coalesce((SELECT sum(amount) FROM transfer WHERE target = a.id), 0)"
            " - coalesce((SELECT sum(amount) FROM transfer WHERE source = a.id), 0)",
            "app", "app",
        )  # fmt: skip
        assert wrong == [], f"accounts that no list of transfers explains: {wrong}"

    def excuse(self, sqlstate: str) -> None:
        """Note an error that was told. Raises AssertionError for one that nobody can have earned."""
        assert sqlstate in EXCUSES, f"a client was told {sqlstate}"
        self.excused[sqlstate] = self.excused.get(sqlstate, 0) + 1


class Teller:
    """One client of the ledger. Its life is a member of a Crowd."""

    def __init__(self, ledger: Ledger, number: int, seed: int, approach: Callable[[], Wire]) -> None:
        self._ledger = ledger
        self._number = number
        self._chance = random.Random(f"{seed}-{number}")
        self._approach = approach
        self._done = 0

    def live(self) -> Iterator[None]:
        """Comes again whenever it was lost. A round is a deed, done or not."""
        while True:
            try:
                with self._approach() as client:
                    client.startup(application_name=f"teller {self._number}")
                    self._ask(client, frontend.query("PREPARE mine AS SELECT $1::text"))
                    for _ in range(self._chance.randrange(1, 40)):
                        self._act(client)
                        yield
                    if self._chance.random() < 0.5:
                        client.terminate()
            except (*LOST, RefusedError):
                yield
            except LoginRefusedError as refusal:
                self._ledger.excuse(refusal.sqlstate)
                yield

    def _act(self, client: Wire) -> None:
        deeds = (self._transfer, self._transfer_at_once, self._transfer_extended, self._look, self._leave)
        deed = self._chance.choices(deeds, (4, 3, 4, 4, 1))[0]
        try:
            deed(client)
        except RefusedError:
            with suppress(RefusedError):
                self._ask(client, frontend.query("ROLLBACK"))

    def _transfer(self, client: Wire) -> None:
        """Statement by statement, and an echo in the middle."""
        number, *statements = self._next_transfer()
        self._ask(client, frontend.query("BEGIN"))
        for statement in statements:
            self._ask(client, frontend.query(statement))
        self._expect_echo(client)
        told = self._ask(client, frontend.query("COMMIT"))
        if told.tags == ["COMMIT"]:
            self._ledger.acknowledged.add(number)

    def _transfer_at_once(self, client: Wire) -> None:
        """In one text, which is one transaction."""
        number, *statements = self._next_transfer()
        self._ask(client, frontend.query("; ".join(statements)))
        self._ledger.acknowledged.add(number)

    def _transfer_extended(self, client: Wire) -> None:
        """By a pipeline, which the Sync commits."""
        number, *statements = self._next_transfer()
        messages = []
        for at, statement in enumerate(statements):
            name = f"s{at}"
            messages += [frontend.parse(statement, name), frontend.bind((), name), frontend.execute()]
            messages.append(frontend.close_statement(name))
        told = self._ask(client, *messages, frontend.sync())
        assert len(told.tags) == len(statements)
        self._ledger.acknowledged.add(number)

    def _look(self, client: Wire) -> None:
        """What is said back must be what was said; what was set must be ours."""
        self._expect_echo(client)
        told = self._ask(client, frontend.query("SHOW application_name"))
        assert told.value == f"teller {self._number}".encode()
        mine = f"{self._number}:{self._done}"
        told = self._ask(client, frontend.query(f"EXECUTE mine('{mine}')"))
        assert told.value == mine.encode()

    def _leave(self, client: Wire) -> None:
        """Without a word: in a transaction, or in the middle of a query."""
        if self._chance.random() < 0.5:
            self._ask(client, frontend.query("BEGIN"))
            self._ask(client, frontend.query("UPDATE account SET balance = 0 WHERE id = 1"))
        else:
            client.send(frontend.query("SELECT pg_sleep(0.05); UPDATE account SET balance = 0 WHERE id < 1"))
        if self._chance.random() < 0.5:
            client.reset()
        else:
            client.close()
        raise ConnectionResetError("we left")

    def _expect_echo(self, client: Wire) -> None:
        self._done += 1
        mine = f"{self._number}/{self._done}"
        told = self._ask(client, frontend.extended("SELECT $1::text", [mine.encode()]))
        assert told.value == mine.encode(), f"asked for {mine}, got {told.value!r}"

    def _ask(self, client: Wire, *messages: bytes) -> Replies:
        """The replies up to ReadyForQuery. Raises RefusedError, or WireClosedError, for an error with its excuse."""
        client.send(*messages)
        told = Replies()
        while not told or told[-1].type != b"Z":
            told.append(client.read_message())
            if told[-1].type == b"E":
                self._ledger.excuse(told.sqlstate)
        if told.errors:
            raise RefusedError(told.sqlstate)
        return told

    def _next_transfer(self) -> tuple[str, ...]:
        self._done += 1
        number = f"{self._number}.{self._done}"
        source, target = sorted(self._chance.sample(range(1, ACCOUNTS + 1), 2))
        amount = self._chance.randrange(1, 100)
        return (
            number,
            f"UPDATE account SET balance = balance - {amount} WHERE id = {source}",
            f"UPDATE account SET balance = balance + {amount} WHERE id = {target}",
            f"INSERT INTO transfer VALUES ('{number}', {source}, {target}, {amount})",
        )
