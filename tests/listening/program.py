"""A pgmux whose workers can be told from outside what their clients listen to.

Every worker has a socket `listen-N.sock` in the runtime_dir, to which a test says what the relay will say
when it sees a LISTEN commit. One line a request, one an answer, when it is done:

    NUMBER subscribe RECORD POOL CHANNEL,CHANNEL,…      channels in hexadecimal digits
    NUMBER catch_up RECORD
    NUMBER

PGMUX_TEST_PROBE_SECONDS in the environment is how long a listening backend may be silent.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TypeAlias

import gevent
from gevent import socket
from gevent.queue import SimpleQueue
from gevent.server import StreamServer

from pgmux.cli.main import main
from pgmux.supervisor import crew
from pgmux.worker import ear
from pgmux.worker.main import Worker

Answers: TypeAlias = "SimpleQueue[str]"


class ListeningWorker(Worker):
    """A worker that takes a test's word for what its clients did."""

    def run(self) -> None:
        path = f"{self._staff.config.pgmux.runtime_dir}/listen-{self.number}.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        StreamServer(listener, self._serve).start()
        super().run()

    def _serve(self, connection: Any, address: object) -> None:
        answers: Answers = SimpleQueue()
        gevent.spawn(_send, answers, connection)
        for line in connection.makefile("r"):
            number, verb, record, *words = line.rstrip("\n").split(" ")
            done = Answer(answers, number)
            client = self._staff.relay.client(int(record))
            if client is None:
                continue  # it has gone meanwhile
            if verb == "catch_up":
                self._staff.listening.catch_up(int(record), done)
            else:
                pool, names = words
                channels = frozenset(bytes.fromhex(name) for name in names.split(",") if name)
                client.channels = channels or None
                self._staff.listening.subscribe(int(record), int(pool), channels, done)


class Answer:
    """Says that a request is done, and does not wait until the test reads it: who calls it is the mailbox's reader."""

    def __init__(self, answers: Answers, number: str) -> None:
        self._answers = answers
        self._number = number

    def __call__(self) -> None:
        self._answers.put(self._number)


def _send(answers: Answers, connection: Any) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(f"{answers.get()}\n".encode())


if __name__ == "__main__":
    if seconds := os.environ.get("PGMUX_TEST_PROBE_SECONDS"):
        ear.PROBE_SECONDS = float(seconds)
    vars(crew)["Worker"] = ListeningWorker
    sys.exit(main())
