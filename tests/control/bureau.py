"""A clerk with a segment of its own and no pgmux around it: what it says, it has from the segment."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgmux.config import Config, read_config
from pgmux.control.answers import Columns, Reply, Rows
from pgmux.control.clerk import Clerk
from pgmux.control.commands import Right
from pgmux.control.console import Console
from pgmux.control.figures import Figures
from pgmux.control.operator import Operator
from pgmux.control.request import Request, RequestError, parse_words
from pgmux.shm.counters import NAMES, CounterTable
from pgmux.shm.survey import Standing
from tests.shm.world import World
from tests.wire import Replies, split_messages

_COUNTERS_AT = 8 + 8 * 4 + 9 * 8  # in the header
_WAIT_AT = len(NAMES) * 8  # the histograms follow the counters
_PHASE_AT = 46  # in a client's record

CONFIG = """
[pgmux]
auth_type = "trust"
default_pool_size = 7
[databases.app]
host = ["db.example", "db2.example"]
port = 5433
max_backends = 9
max_client_conn = 90
[databases.other]
host = "/tmp"
dbname = "real"
user = "forced"
pool_size = 3
[users.alice]
pool_size = 4
max_client_conn = 40
"""


class Levers:
    """Notes what was asked of it."""

    worker = 0

    def __init__(self) -> None:
        self.pulled: list[tuple[Any, ...]] = []

    def reload(self) -> None:
        self.pulled.append(("reload",))

    def set(self, key: str, text: str) -> None:
        self.pulled.append(("set", key, text))

    def upgrade(self) -> None:
        self.pulled.append(("upgrade",))

    def shut_down(self, mode: int) -> None:
        self.pulled.append(("shut down", mode))

    def kill_client_of_before(self, record: int, number: int) -> None:
        self.pulled.append(("kill client of before", record, number))

    def kill_client(self, worker: int, record: int, number: int) -> None:
        self.pulled.append(("kill client", worker, record, number))


class Asker:
    """Whom the test plays. `while_waiting` is called at each look whether a command is done."""

    name = "the test"

    def __init__(self, right: Right = Right.ADMIN) -> None:
        self.right = right
        self.ways_given = 0
        self.waited_for: list[str] = []
        self.while_waiting: Callable[[], None] = self._get_tired

    def give_way(self) -> None:
        self.ways_given += 1

    def wait_until(
        self, is_done: Callable[[], bool], what: Callable[[], str], within_seconds: float | None = None
    ) -> bool:
        for _ in range(100):
            if is_done():
                return True
            self.waited_for.append(what())
            self.while_waiting()
        return False

    def _get_tired(self) -> None:
        raise RequestError("57014", "the test does not wait")


class Bureau:
    """The clerk, and what it sees."""

    def __init__(self, folder: Path, **sizes: int) -> None:
        self.world = World(folder, **sizes)
        self.config: Config = read_config(CONFIG, {})
        self.figures = Figures(self.world.pools, lambda: self.config, lambda: ["alice", "bob"])
        self.counters = CounterTable(self.world.segment)
        self.levers = Levers()
        self.log: list[tuple[str, Request]] = []
        operator = Operator(self.figures, self.levers)
        self.clerk = Clerk(self.figures, operator, lambda name, request: self.log.append((name, request)))
        self.asker = Asker()

    def ask(self, *words: str) -> list[Reply]:
        """All replies. Raises RequestError."""
        return list(self.clerk.answer(parse_words(words), self.asker))

    def show(self, what: str) -> list[dict[str, Any]]:
        """The rows of a SHOW, by the columns' names."""
        columns, *replies, _ = self.ask("show", what)
        assert isinstance(columns, Columns)
        names = [column.name for column in columns.columns]
        rows = [row for reply in replies if isinstance(reply, Rows) for row in reply.rows]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def admit(self, pool: int, worker: int = 0) -> int:
        """A client that has logged in. Gives its record."""
        record = self.world.clients.try_claim(worker)
        assert record is not None
        self.world.clients.name_user(record, b"alice")
        self.world.clients.introduce(record, b"192.0.2.1", 4000)
        self.world.clients.admit(record, b"4711", pool, b"psql")
        with open(self.world.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            (clients_at,) = struct.unpack_from("=Q", memory, _COUNTERS_AT - 8)
            memory[clients_at + record * self._bytes_of("client") + _PHASE_AT] = Standing.IDLE
        return record

    def observe(self, pool: int, bucket: int, count: int) -> None:
        """Writes a count into worker 0's histogram of waits. The offsets are those of shm/layout.pxd."""
        with open(self.world.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            (counters_at,) = struct.unpack_from("=Q", memory, _COUNTERS_AT)
            at = counters_at + pool * self._bytes_of("counters") + _WAIT_AT + bucket * 8
            struct.pack_into("=Q", memory, at, count)

    def _bytes_of(self, record: str) -> int:
        return self.world.segment.sizes()[record][0]

    def console(self, right: Right = Right.ADMIN) -> Talk:
        """A console, of one who has that right."""
        self.asker.right = right
        return Talk(Console(self.clerk, self.asker))


class Talk:
    """A client's end of a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def ask(self, *data: bytes) -> Replies:
        """What comes back."""
        messages, rest = split_messages(b"".join(self.console.feed(b"".join(data))), "server")
        assert rest == b""
        return Replies(messages)
