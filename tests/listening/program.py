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
from typing import Any

from gevent import socket
from gevent.server import StreamServer

from pgmux.cli.main import main
from pgmux.supervisor import crew
from pgmux.worker import ear
from pgmux.worker.main import Worker


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
        for line in connection.makefile("r"):
            number, verb, record, *words = line.rstrip("\n").split(" ")
            done = Answer(connection, number)
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
    """Says that a request is done."""

    def __init__(self, connection: Any, number: str) -> None:
        self._connection = connection
        self._number = number

    def __call__(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.sendall(f"{self._number}\n".encode())


if __name__ == "__main__":
    if seconds := os.environ.get("PGMUX_TEST_PROBE_SECONDS"):
        ear.PROBE_SECONDS = float(seconds)
    vars(crew)["Worker"] = ListeningWorker
    sys.exit(main())
