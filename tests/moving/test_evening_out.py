"""Clients that one worker took in while another was away are shared out later, unnoticed."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.inside import Inside
from tests.servers import wait_until
from tests.wire import Wire


def spread(inside: Inside, clients: list[Wire]) -> Counter[int]:
    """How many clients each worker has."""
    return Counter(inside.worker_of(client) for client in clients)


def test_who_stood_in_for_another_shares_its_clients_with_it_later(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    inside = Inside(pgmux)
    inside.wait_until_all_serve()
    stopped = inside.pid_of(0)
    with ExitStack() as crowd:
        pgmux.kill_worker(stopped, signal.SIGSTOP)
        try:
            wait_until(lambda: 0 in inside.absent(), what="a worker that is away")
            clients = [crowd.enter_context(connect(pgmux)) for _ in range(40)]
        finally:
            pgmux.kill_worker(stopped, signal.SIGCONT)
        assert spread(inside, clients) == {1: 40}
        for number, client in enumerate(clients):
            client.query(f"SET application_name = 'client {number}'")
            client.query(f"PREPARE mine AS SELECT {number}")
        busy = next(client for client in clients if inside.worker_of(client) == 1)
        busy.query("BEGIN")
        wait_until(lambda: abs(spread(inside, clients)[0] - 20) <= 4, what="as many on either worker")
        assert inside.worker_of(busy) == 1
        busy.query("COMMIT")
        for number, client in enumerate(clients):
            assert client.query("SHOW application_name").value == b"client %d" % number
            assert client.query("EXECUTE mine").value == b"%d" % number


def test_who_is_not_far_ahead_keeps_its_clients(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    inside = Inside(pgmux)
    inside.wait_until_all_serve()
    with ExitStack() as crowd:
        clients = [crowd.enter_context(connect(pgmux)) for _ in range(12)]
        for client in [each for each in clients if inside.worker_of(each) == 0][2:]:
            client.close()
            clients.remove(client)
        before = spread(inside, clients)
        inside.wait_until_all_serve(12)  # heartbeats, of four a second
        assert spread(inside, clients) == before
