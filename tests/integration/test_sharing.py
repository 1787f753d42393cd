"""One pool for all workers: whoever opened a backend, all use it, and no limit is ever exceeded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import Crowd, connect
from tests.integration.inside import Inside
from tests.integration.load import Load
from tests.integration.routes import by_socket
from tests.servers import Postgres, wait_until
from tests.wire import Wire, frontend

PID = "SELECT pg_backend_pid()"
SLACK_S = 0.002  # so long a worker may serve its own clients before another's that came earlier


def test_five_backends_serve_two_hundred_busy_clients_of_four_workers(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=5)
    with Census(postgres) as census, Load(postgres, pgmux, clients=200, seconds=4) as load:
        served = load.wait()
    by_worker = Inside(pgmux).counts("transactions")
    assert (census.most, len(census.seen)) == (5, 5)
    assert census.samples > 100
    assert sum(by_worker) >= served
    assert min(by_worker) > served / 100, f"transactions by worker: {by_worker}"


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_pool_has_the_same_size_for_any_number_of_workers(
    make_pgmux: MakePgmux, postgres: Postgres, workers: int
) -> None:
    pgmux = make_pgmux(workers=workers, default_pool_size=3)
    with Census(postgres) as census, Load(postgres, pgmux, 40, 1, "-M", "extended") as load:
        assert load.wait() > 40
    assert census.most == 3
    assert len(Inside(pgmux).counts("transactions")) == workers
    assert min(Inside(pgmux).counts("transactions")) > 0


def test_a_backend_opened_through_one_worker_is_used_by_all(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=1)
    with Census(postgres) as census:
        clients = Inside(pgmux).a_client_on_each_worker().values()
        answers = {client.query(PID).value for _ in range(3) for client in clients}
        close(clients)
    assert len(answers) == 1
    assert len(census.seen) == 1
    assert sum(Inside(pgmux).counts("backends_opened")) == 1


def test_a_transaction_keeps_its_backend_while_others_come_and_go(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2)
    with connect(pgmux) as steady:

        def visitor(number: int) -> Iterator[None]:
            with connect(pgmux) as client:
                while True:
                    assert client.query(PID).value != mine
                    yield

        steady.query("BEGIN")
        mine = steady.query(PID).value
        with Crowd(6, visitor) as crowd:
            for _ in range(5):
                crowd.wait_for_rounds(3)
                assert steady.query(PID).value == mine
        assert steady.query("COMMIT").status == "I"


def test_clients_of_all_workers_are_served_in_the_order_of_their_coming(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=1)
    postgres.sql("CREATE SEQUENCE turn", "app", "app")
    inside = Inside(pgmux)
    holder = pgmux.wire()
    holder.startup()
    holder.query("BEGIN")
    waiting = [*inside.a_client_on_each_worker().values(), *inside.a_client_on_each_worker().values()]
    for place, client in enumerate(waiting, start=1):
        client.send(frontend.query("SELECT nextval('turn')"))
        inside.wait_for_waiting(place)
    parked = time.monotonic()
    wait_until(lambda: time.monotonic() - parked > 10 * SLACK_S, what="the end of what may be unfair")
    holder.query("COMMIT")
    turns = [client.read_until(b"Z").value for client in waiting]
    close([holder, *waiting])
    postgres.sql("DROP SEQUENCE turn", "app", "app")
    assert turns == [b"%d" % turn for turn in range(1, 9)]


# Several pools


def test_an_idle_backend_of_another_pool_makes_room(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=5, max_backends=2)
    with Census(postgres) as census, connect(pgmux) as one, connect(pgmux) as other:
        use_at_once(one, other)
        census.wait_for(2)
        before = time.monotonic()
        with connect(pgmux, database="postgres") as client:
            assert client.query("SELECT current_database()").value == b"postgres"
        assert time.monotonic() - before < 2
        census.wait_for(2)
    assert census.most == 2
    assert len(census.seen) == 3


def test_many_pools_take_turns_with_the_backends_there_are(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=3, max_backends=3)
    pools = [(database, user) for database in ("app", "postgres") for user in ("app", "postgres")]
    clients = [[connect(pgmux, database=database, user=user) for _ in range(3)] for database, user in pools]
    with Census(postgres) as census:
        for turn in range(100):
            use_at_once(*clients[turn % len(pools)])
    close(chain(*clients))
    assert census.most == 3
    assert not pgmux.log_contains("ERROR")


def test_a_pool_without_a_backend_gets_one_though_others_have_waiting_clients(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2, max_backends=2)

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as client:
            while True:
                client.query("SELECT pg_sleep(0.001)")
                yield

    with Crowd(8, member) as crowd:
        crowd.wait_for_rounds(5)
        with Census(postgres) as census, connect(pgmux, database="postgres") as client:
            assert client.query("SELECT current_database()").value == b"postgres"
            crowd.wait_for_rounds(5)
    assert census.most == 2


def test_pools_of_which_each_has_waiting_clients_take_turns_when_there_is_one_backend_too_few(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2, max_backends=2)
    databases = ["app", "postgres", "template1"]

    def member(number: int) -> Iterator[None]:
        with connect(pgmux, database=databases[number % 3]) as client:
            while True:
                client.query("SELECT pg_sleep(0.001)")
                yield

    with Census(postgres) as census, Crowd(9, member) as crowd:
        for _ in range(3):
            crowd.wait_for_rounds(3)
    assert census.most == 2


def test_a_database_has_a_limit_of_its_own(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    databases = {"app": by_socket(postgres, max_backends=2), "*": by_socket(postgres)}
    pgmux = make_pgmux(workers=2, databases=databases)
    with Census(postgres) as census, Load(postgres, pgmux, clients=20, seconds=1) as load:
        load.wait()
    assert census.most == 2
    with Census(postgres) as census, Load(postgres, pgmux, clients=20, seconds=1, dbname="postgres") as load:
        load.wait()
    assert census.most > 4


def test_an_idle_backend_of_the_same_database_makes_room_for_another_user(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, databases={"app": by_socket(postgres, max_backends=2)})
    with Census(postgres) as census, connect(pgmux) as one, connect(pgmux) as other:
        use_at_once(one, other)
        census.wait_for(2)
        with connect(pgmux, user="postgres") as client:
            assert client.query("SELECT current_user").value == b"postgres"
    assert census.most == 2


def test_a_user_may_have_a_pool_size_of_his_own(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2, users={"app": {"pool_size": 2}}, default_pool_size=7)
    with Census(postgres) as census, Load(postgres, pgmux, clients=20, seconds=1) as load:
        load.wait()
    assert census.most == 2


def use_at_once(*clients: Wire) -> None:
    """Has these clients use a backend each at the same time, so that there must be as many."""
    for client in clients:
        client.send(frontend.query("BEGIN"))
    for client in clients:
        client.read_until(b"Z")
    for client in clients:
        client.query("COMMIT")


def close(clients: Iterable[Wire]) -> None:
    """Ends them all: pgmux need not wait for them when it stops."""
    for client in clients:
        client.close()
