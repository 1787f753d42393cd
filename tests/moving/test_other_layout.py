"""A version takes over that lays out shared memory in another way: two segments for a while, and no client notices."""

from __future__ import annotations

import signal

import psycopg
import pytest

from pgmux.supervisor.main import UPGRADE
from tests.integration.census import Census
from tests.integration.crowd import Crowd, connect, in_transactions
from tests.integration.inside import Inside
from tests.integration.test_cancel import LONG, running, wait_for_running
from tests.integration.test_death import serves_with_all_its_backends
from tests.moving.test_two_segments import worker_of
from tests.moving.test_upgrade import under_tls
from tests.moving.upgradable import ALL_HAS_COME, Upgradable, regent_of
from tests.servers import Postgres, wait_until
from tests.servers.certificates import Authority
from tests.wire import WireClosedError, frontend


def test_clients_take_their_sessions_along(upgradable: Upgradable, postgres: Postgres) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    supervisor, before = pgmux.supervisor_pid, set(pgmux.worker_pids())
    with pgmux.wire(unix=True) as local, connect(pgmux, application_name="mine") as client:
        local.startup()
        client.query("PREPARE mine AS SELECT 1")
        client.query("SET work_mem = '77MB'")
        backends = set(postgres.backend_pids(user="app"))
        upgradable.upgrade(pgmux)
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert client.query("EXECUTE mine").value == b"1"
        assert client.query("SHOW work_mem").value == b"77MB"
        assert local.query("SHOW work_mem").value != b"77MB"
        assert client.query("SHOW application_name").value == b"mine"
        assert set(postgres.backend_pids(user="app")) >= backends
        assert "app" in pgmux.ctl("show", "clients")
    assert pgmux.supervisor_pid == supervisor
    assert not before & set(pgmux.worker_pids())
    assert pgmux.stop(signal.SIGTERM) == 0


@pytest.mark.timeout(180)
def test_a_busy_crowd_notices_nothing(upgradable: Upgradable, postgres: Postgres) -> None:
    pgmux = upgradable.make(default_pool_size=4, log_level="info")

    with Census(postgres) as census, Crowd(50, in_transactions(pgmux)) as crowd:
        crowd.wait_for_rounds(3)
        upgradable.upgrade(pgmux)
        pgmux.wait_for_log(ALL_HAS_COME, 60)
        crowd.wait_for_rounds(3)
    assert census.most == 4


def test_who_is_in_a_transaction_ends_it_where_it_began(upgradable: Upgradable, postgres: Postgres) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        backend = busy.query("BEGIN; SELECT pg_backend_pid()").value
        upgradable.upgrade(pgmux)
        assert idle.query("SELECT 1").value == b"1"
        assert busy.query("SELECT pg_backend_pid()").value == backend
        assert not pgmux.log_contains(ALL_HAS_COME)
        assert busy.query("COMMIT").status == "I"
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert busy.query("SELECT 2").value == b"2"
    serves_with_all_its_backends(pgmux, 2)


@pytest.mark.parametrize("backends", [1, 2], ids=["one may be opened", "one has gone over"])
def test_who_stays_is_served_though_all_backends_that_stay_are_held(
    upgradable: Upgradable, postgres: Postgres, backends: int
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux) as listener:
        serves_with_all_its_backends(pgmux, backends)
        listener.query("LISTEN news")
        with Census(postgres) as census:
            busy.query("BEGIN")
            upgradable.upgrade(pgmux)
            with connect(pgmux) as newcomer:
                assert newcomer.query("SELECT 1").value == b"1"
                assert listener.query("SELECT 2").value == b"2"
                assert newcomer.query("SELECT 3").value == b"3"
            assert busy.query("COMMIT").status == "I"
        assert census.most <= 3  # the ear is counted apart
        listener.query("UNLISTEN *")
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert listener.query("SELECT 4").value == b"4"


def test_a_client_under_tls_is_served_where_it_is_until_it_leaves(
    upgradable: Upgradable, authority: Authority
) -> None:
    pgmux = upgradable.make(**under_tls(authority))
    with pgmux.connect(sslmode="require", prepare_threshold=None) as client, connect(pgmux) as plain:
        upgradable.upgrade(pgmux)
        for number in range(20):
            assert client.execute("SELECT %s::int", [number]).fetchone() == (number,)
            assert plain.query(f"SELECT {number}").value == b"%d" % number
        assert not pgmux.log_contains(ALL_HAS_COME)
    pgmux.wait_for_log(ALL_HAS_COME, 30)


def test_a_client_under_tls_is_sent_off_when_drain_timeout_is_over(
    upgradable: Upgradable, authority: Authority
) -> None:
    pgmux = upgradable.make(**under_tls(authority), drain_timeout="1s")
    with pgmux.connect(sslmode="require", prepare_threshold=None) as client, connect(pgmux) as plain:
        upgradable.upgrade(pgmux)
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("SELECT 1")
        assert plain.query("SELECT 2").value == b"2"


def test_a_cancel_request_finds_whom_it_means_on_either_side(
    upgradable: Upgradable, postgres: Postgres
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as client, connect(pgmux) as idle:
        client.query("BEGIN")
        upgradable.upgrade(pgmux)
        for _ in range(2):  # with the worker of before, then with its successor's
            client.send(frontend.query(LONG))
            wait_for_running(postgres, LONG)
            client.cancel()
            assert client.read_until(b"Z").sqlstate == "57014"
            client.query("ROLLBACK")
            pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert idle.query("SELECT 1").value == b"1"


def test_a_worker_of_before_that_dies_takes_only_its_own_clients(
    upgradable: Upgradable, postgres: Postgres
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    inside = Inside(pgmux)
    clients = inside.a_client_on_each_worker()
    victim = inside.pid_of(0)
    for client in clients.values():
        client.query("BEGIN")
    upgradable.upgrade(pgmux)
    clients[0].send(frontend.query(LONG))
    wait_for_running(postgres, LONG)
    pgmux.kill_worker(victim)
    wait_until(lambda: not postgres.sql(running(LONG)), what="the end of a query that nobody waits for")
    with pytest.raises(WireClosedError):
        clients[0].read_message()
    with connect(pgmux) as newcomer:
        assert newcomer.query("SELECT 1").value == b"1"
    assert clients[1].query("COMMIT").status == "I"
    pgmux.wait_for_log(ALL_HAS_COME, 30)
    assert clients[1].query("SELECT 2").value == b"2"
    serves_with_all_its_backends(pgmux, 2)


def test_without_its_regent_the_side_of_before_is_given_up(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    before = set(pgmux.worker_pids())
    with connect(pgmux) as busy, connect(pgmux, application_name="idle") as idle:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        wait_until(lambda: worker_of(pgmux, "idle") is not None, what="the idle client to have gone over")
        pgmux.kill_worker(regent_of(pgmux))
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert not before & set(pgmux.worker_pids())
        with pytest.raises(WireClosedError):
            busy.read_message()
        assert idle.query("SELECT 1").value == b"1"
    serves_with_all_its_backends(pgmux, 2)


@pytest.mark.parametrize("moment", [r"regent \(pid", "are to come", "is ready", "draining"])
def test_at_whatever_moment_the_regent_dies_newcomers_are_served_within_the_limits(
    upgradable: Upgradable, postgres: Postgres, moment: str
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux), Census(postgres) as census:
        busy.send(frontend.query(LONG))
        wait_for_running(postgres, LONG)
        upgradable.begin_to_upgrade(pgmux)
        pgmux.wait_for_log(moment, 60)
        pgmux.kill_worker(regent_of(pgmux))
        pgmux.wait_for_log(ALL_HAS_COME, 60)
        wait_until(lambda: not postgres.sql(running(LONG)), what="the end of a query that nobody waits for")
        serves_with_all_its_backends(pgmux, 2)
    assert census.most == 2


def test_what_a_backend_does_for_nobody_is_cancelled_when_the_regent_has_died(
    upgradable: Upgradable, postgres: Postgres
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with (
        connect(pgmux) as busy,
        connect(pgmux, application_name="idle") as idle,
        Census(postgres) as census,
    ):
        busy.send(frontend.query(LONG))
        wait_for_running(postgres, LONG)
        upgradable.upgrade(pgmux)
        wait_until(lambda: worker_of(pgmux, "idle") is not None, what="the idle client to have gone over")
        pgmux.kill_worker(regent_of(pgmux))
        with pytest.raises(WireClosedError):
            busy.read_message()
        wait_until(lambda: not postgres.sql(running(LONG)), what="the end of a query that nobody waits for")
        assert idle.query("SELECT 1").value == b"1"
        serves_with_all_its_backends(pgmux, 2)
    assert census.most == 2


def test_both_sides_finish_their_transactions_when_pgmux_is_stopped(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        pgmux.signal(signal.SIGTERM)
        pgmux.wait_for_log("finishing transactions")
        assert busy.query("COMMIT").status == "I"
        assert busy.read_to_the_end().sqlstate == "57P01"
    assert pgmux.wait_until_stopped() == 0


def test_one_upgrade_waits_for_the_one_before(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        pgmux.signal(UPGRADE)
        pgmux.wait_for_log("not upgraded, nothing has changed: clients of the version before the last", 20)
        assert busy.query("COMMIT").status == "I"
