"""Thousands of clients that log in and then do nothing: what a pooler's memory is measured with.

By hand, `python -m loadtest.idle --port 6432 --clients 5000` holds them until Enter or Ctrl-C.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from loadtest.client import Address, Client
from pgmux.errors import PgmuxError

_AT_ONCE = 64  # on their way at the same time: below the backlog of every pooler's listening socket
_SPARE_FILES = 1000


def raise_open_files(wanted: int) -> None:
    """Lets this process, and those it starts from now on, have `wanted` files open at once.

    Raises PgmuxError where the system does not allow that. Source: getrlimit(2), RLIMIT_NOFILE.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))  # root may
        except (ValueError, OSError) as error:
            raise PgmuxError(
                f"{wanted} files must be open at once, and the hard limit is {hard}: "
                "raise it (ulimit -Hn) or choose fewer clients"
            ) from error
    elif soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def files_for(clients: int) -> int:
    """Open files that a process needs which holds so many clients."""
    return clients + _SPARE_FILES


class IdleClients:
    """`count` clients of one address, logged in when the with statement is entered, closed when it is left.

    Raises PgmuxError with the server's words if one is refused.
    """

    def __init__(self, address: Address, count: int) -> None:
        self._address = address
        self._count = count
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        try:
            while len(self._clients) < self._count:
                self._log_in(min(_AT_ONCE, self._count - len(self._clients)))
        except BaseException as error:
            connected = len(self._clients)
            self._close()
            if isinstance(error, OSError | PgmuxError):
                raise PgmuxError(f"about the {connected}th of {self._count} clients: {error}") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def query(self, text: str) -> None:
        """Every client asks this once, and is idle again."""
        for batch in self._batches():
            for client in batch:
                client.send_query(text)
            for client in batch:
                client.wait_until_ready()

    def _log_in(self, count: int) -> None:
        batch = []
        for _ in range(count):
            client = Client(self._address)
            self._clients.append(client)
            batch.append(client)
            client.send_startup()
        for client in batch:
            client.wait_until_ready()

    def _batches(self) -> Iterator[list[Client]]:
        for start in range(0, len(self._clients), _AT_ONCE):
            yield self._clients[start : start + _AT_ONCE]

    def _close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.idle", description="Holds idle clients.")
    parser.add_argument("--host", default="127.0.0.1", help="name, address, or a Unix socket's folder")
    parser.add_argument("--port", type=int, default=6432)
    parser.add_argument("--clients", type=int, default=5000)
    options = parser.parse_args()
    try:
        raise_open_files(files_for(options.clients))
        with IdleClients(Address(options.host, options.port), options.clients):
            print(f"{options.clients} clients are logged in and idle; Enter ends them", flush=True)
            with suppress(KeyboardInterrupt):
                sys.stdin.readline()
    except PgmuxError as error:
        print(f"loadtest.idle: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
