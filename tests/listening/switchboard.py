"""Clients that listen, seen from a test: it subscribes them, and reads what they are told.

with Switchboard(make_pgmux(command=LISTENING_PGMUX)) as switchboard:
    client = switchboard.connect()
    switchboard.subscribe(client, "news")
    assert notifications(client, 1) == [("news", "hello")]
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from itertools import count
from typing import Any

from pgmux.shm.ears import Ears
from tests.integration.crowd import connect
from tests.integration.inside import Inside
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire
from tests.wire.messages import Message

LISTENING_PGMUX = (sys.executable, "-m", "tests.listening.program")
WITHIN_S = 20.0
LONGEST = "é" * 3999 + "."  # 7,999 bytes: PostgreSQL allows less than 8,000


class Line:
    """The connection to one worker's `listen-N.sock`. Several threads may use it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        self._done: set[int] = set()
        self._received = b""
        self._is_connected = False

    def send(self, request: str) -> None:
        """Raises OSError when the worker is gone."""
        with self._lock:
            if not self._is_connected:
                wait_until(self._has_connected, what=f"a worker at {self._path}")
            self._socket.setblocking(True)
            self._socket.sendall(f"{request}\n".encode())

    def is_done(self, number: int) -> bool:
        """Whether a request was answered. Raises ConnectionResetError when the worker is gone."""
        with self._lock:
            if number not in self._done:
                self._collect()
            return number in self._done

    def close(self) -> None:
        self._socket.close()

    def _collect(self) -> None:
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while data := self._socket.recv(65536):
                self._received += data
            raise ConnectionResetError(f"the worker at {self._path} is gone")
        *lines, self._received = self._received.split(b"\n")
        self._done.update(map(int, lines))

    def _has_connected(self) -> bool:
        with suppress(FileNotFoundError, ConnectionRefusedError):
            self._socket.connect(self._path)
            self._is_connected = True
        return self._is_connected


class Request:
    """Something that a worker was asked to do for a client."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number

    def is_done(self) -> bool:
        return self._line.is_done(self._number)

    def wait(self, timeout: float = WITHIN_S) -> None:
        wait_until(self.is_done, timeout, "a worker to confirm what its client listens to")


class Switchboard(Inside):
    """One running pgmux whose clients' channels the test decides."""

    def __init__(self, pgmux: Pgmux) -> None:
        super().__init__(pgmux)
        self.pgmux = pgmux
        self._ears = Ears(self._segment)
        self._lines: dict[int, Line] = {}  # by the process id of the worker
        self._numbers = count(1)
        self._lock = threading.Lock()

    def close(self) -> None:
        for line in self._lines.values():
            line.close()

    def connect(self, **login: Any) -> Wire:
        """A client that has logged in."""
        client = self._pgmux.wire()
        client.startup(**login)
        return client

    def connect_to(self, worker: int) -> Wire:
        """Such a client, of a certain worker."""
        while True:
            client = self.connect()
            if self.worker_of(client) == worker:
                return client
            client.terminate()

    def connect_quietly(self) -> Wire:
        """Such a client, one of so many that no test wants to print what each said."""
        return connect(self.pgmux)

    def log_contains(self, pattern: str) -> bool:
        """Whether a line of pgmux's log matches a regular expression."""
        return self.pgmux.log_contains(pattern)

    def ask(self, client: Wire, *channels: str | bytes) -> Request:
        """Has a client listen to exactly these channels; the request says when it does."""
        record = self._clients.read(client.pid - 1)
        assert record is not None
        assert record["worker"] is not None
        names = [channel.encode() if isinstance(channel, str) else channel for channel in channels]
        hexadecimal = ",".join(name.hex() for name in names)
        return self._request(record["worker"], f"subscribe {record['client']} {record['pool']} {hexadecimal}")

    def subscribe(self, client: Wire, *channels: str | bytes) -> None:
        """The same, and waits until it does."""
        self.ask(client, *channels).wait()

    def a_subscriber_on_each_worker(self, **login: Any) -> dict[int, Wire]:
        """By worker's number: a client that listens to "news", and to "only" its number."""
        clients = self.a_client_on_each_worker(**login)
        for number, client in clients.items():
            self.subscribe(client, "news", f"only {number}")
        return clients

    def catch_up(self, client: Wire) -> Request:
        """Asks for word when a client has been told all that is committed now."""
        return self._request(self.worker_of(client), f"catch_up {client.pid - 1}")

    def ears(self) -> list[dict[str, Any]]:
        """Every ear there is."""
        return [dict(ear) for ear in self._ears.snapshot()]

    def holder(self) -> int:
        """The worker that holds the one ear there is, once there is one with a backend."""
        (ear,) = wait_until(
            lambda: [ear for ear in self._ears.snapshot() if ear["backend_pid"]],
            what="an ear with a backend",
        )
        assert ear["worker"] is not None
        return ear["worker"]

    def channels(self) -> int:
        """To how many channels PostgreSQL was told to listen, in all databases."""
        return sum(ear["channels"] for ear in self._ears.snapshot())

    def listening(self) -> int:
        """How many clients listen."""
        workers = range(self._segment.worker_count)
        return sum(self._pools.workers.read(worker)["listening"] for worker in workers)

    def _request(self, worker: int, words: str) -> Request:
        line = self._line(worker)
        number = next(self._numbers)
        line.send(f"{number} {words}")
        return Request(line, number)

    def _line(self, worker: int) -> Line:
        pid = wait_until(lambda: self.pid_of(worker), what=f"worker {worker}")
        with self._lock:
            if pid not in self._lines:
                self._lines[pid] = Line(f"{self._pgmux.folder}/run/listen-{worker}.sock")
            return self._lines[pid]


def notification(message: Message) -> tuple[str, str]:
    """(channel, payload) of a NotificationResponse."""
    assert message.type == b"A", f"no notification: {message}"
    return message["channel"], message["payload"]


def notifications(client: Wire, number: int) -> list[tuple[str, str]]:
    """The next so many notifications; anything else fails the test."""
    return [notification(client.read_message()) for _ in range(number)]


def notify(postgres: Postgres, channel: str, payload: str = "", dbname: str = "app") -> None:
    """Has a session of its own notify."""
    with postgres.connect(dbname) as notifier:
        notifier.execute("SELECT pg_notify(%s, %s)", (channel, payload))
