"""What the supervisor tells systemd: by itself, and by a whole pgmux."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pgmux.supervisor.notify import Notifier
from tests.fix_pgmux import MakePgmux
from tests.servers import wait_until
from tests.systemd.manager import Manager

Told = Callable[..., Notifier]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as manager:
        yield manager


@pytest.fixture
def told(manager: Manager) -> Iterator[Told]:
    """Makes a Notifier that tells `manager`, unless it is told otherwise."""
    with ExitStack() as stack:

        def make(watchdog_seconds: float = 0.0, address: str = manager.environ["NOTIFY_SOCKET"]) -> Notifier:
            return stack.enter_context(closing(Notifier(address, watchdog_seconds)))

        yield make


def test_ready_says_how_pgmux_fares(manager: Manager, told: Told) -> None:
    told().ready("2 of 2 workers")
    assert manager.collect() == [{"READY": "1", "STATUS": "2 of 2 workers"}]


def test_before_what_takes_a_while_the_watchdog_is_fed(manager: Manager, told: Told) -> None:
    told().keep_waiting()
    assert manager.collect() == []  # there is none
    told(watchdog_seconds=30).keep_waiting()
    assert manager.collect() == [{"WATCHDOG": "1"}]


def test_a_reload_says_when_it_began_and_that_it_has_ended(manager: Manager, told: Told) -> None:
    notifier = told()
    notifier.reloading()
    notifier.ready("as new")
    began, ended = manager.collect()
    assert began["RELOADING"] == "1"
    assert began["MONOTONIC_USEC"].isdecimal()
    assert ended["READY"] == "1"


def test_a_name_in_the_abstract_namespace_is_found(told: Told) -> None:
    name = f"@pgmux-test-{os.getpid()}"
    with Manager(name) as manager:
        told(address=name).stopping("bye")
        assert manager.collect() == [{"STOPPING": "1", "STATUS": "bye"}]


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/notify"])
def test_where_nobody_listens_nothing_happens(told: Told, address: str) -> None:
    notifier = told(10.0, address)
    notifier.ready("well")
    notifier.tick(100.0, 1, "well")


def test_a_full_socket_costs_a_notification_and_no_time(manager: Manager, told: Told) -> None:
    notifier = told()
    for number in range(10_000):  # a manager that does not read
        notifier.ready(f"{number}")
    assert 0 < len(manager.collect()) < 10_000


def test_the_watchdog_is_fed_four_times_a_period_while_a_heart_beats(manager: Manager, told: Told) -> None:
    notifier = told(watchdog_seconds=8.0)
    for second in range(10):
        notifier.tick(now=100.0 + second, last_beat=second + 1, status="")
    assert manager.count("WATCHDOG=1") == 5


def test_the_watchdog_is_not_fed_when_no_heart_has_beaten_since(manager: Manager, told: Told) -> None:
    notifier = told(watchdog_seconds=8.0)
    for second in range(10):
        notifier.tick(now=100.0 + second, last_beat=1, status="")
    assert manager.count("WATCHDOG=1") == 1


def test_the_status_is_told_when_it_has_changed_and_not_too_often(manager: Manager, told: Told) -> None:
    notifier = told()
    for step in range(20):
        notifier.tick(now=100.0 + step, last_beat=0, status="idle" if step < 10 else "busy")
    assert manager.statuses() == ["idle", "busy"]
    notifier.tick(now=120.5, last_beat=0, status="busier")
    notifier.tick(now=121.0, last_beat=0, status="busiest")
    assert manager.statuses() == ["idle", "busy", "busier"]


@pytest.mark.parametrize(
    ("environ", "is_fed"),
    [
        ({"WATCHDOG_USEC": "4000000"}, True),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "77"}, True),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "78"}, False),  # meant for another process
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
def test_the_environment_says_whether_there_is_a_watchdog(
    manager: Manager, environ: dict[str, str], is_fed: bool
) -> None:
    with closing(Notifier.from_environment({**manager.environ, **environ}, pid=77)) as notifier:
        notifier.tick(now=100.0, last_beat=1, status="")
    assert manager.count("WATCHDOG=1") == is_fed


# A whole pgmux


def test_a_pgmux_tells_its_life_from_ready_to_stopping(make_pgmux: MakePgmux, manager: Manager) -> None:
    pgmux = make_pgmux(workers=2, max_backends=7, environ=manager.environ)
    wait_until(lambda: manager.count("READY=1"), what="READY=1")
    assert manager.statuses()[0] == "2 of 2 workers, 0 clients, 0 of 7 backends"
    with pgmux.connect() as client:
        client.execute("SELECT 1")
        wait_until(
            lambda: "2 of 2 workers, 1 clients, 1 of 7 backends" in manager.statuses(),
            what="the client's status",
        )
    assert manager.count("WATCHDOG=1") == 0  # no watchdog was asked for
    pgmux.stop()
    assert manager.count("STOPPING=1") == 1


def test_a_reload_is_told_whether_it_succeeds_or_fails(make_pgmux: MakePgmux, manager: Manager) -> None:
    pgmux = make_pgmux(environ=manager.environ)
    wait_until(lambda: manager.count("READY=1") == 1, what="READY=1")
    pgmux.write_configuration(query_wait_timeout="3s")
    pgmux.signal(signal.SIGHUP)
    wait_until(lambda: manager.count("READY=1") == 2, what="the end of the reload")
    pgmux.write_configuration(query_wait_timeout="no duration")
    pgmux.signal(signal.SIGHUP)
    wait_until(lambda: manager.count("READY=1") == 3, what="the end of the failed reload")
    assert manager.count("RELOADING=1") == 2
    assert manager.statuses()[-1].startswith("not reloaded")


def test_a_workers_heart_feeds_the_watchdog(make_pgmux: MakePgmux, tmp_path: Path) -> None:
    with Manager(tmp_path / "watchdog", watchdog_seconds=2.0) as manager:
        make_pgmux(environ=manager.environ)
        wait_until(lambda: manager.count("WATCHDOG=1") >= 3, what="three feedings")


@pytest.mark.slow
def test_workers_that_all_hang_starve_the_watchdog(make_pgmux: MakePgmux, tmp_path: Path) -> None:
    with Manager(tmp_path / "watchdog", watchdog_seconds=2.0) as manager:
        pgmux = make_pgmux(workers=2, environ=manager.environ)
        wait_until(lambda: manager.count("WATCHDOG=1"), what="the first feeding")
        for pid in pgmux.worker_pids():
            pgmux.kill_worker(pid, signal.SIGSTOP)
        fed = manager.count("WATCHDOG=1")
        pgmux.wait_for_log("has not moved for 10s: killing it", timeout=30)
        assert manager.count("WATCHDOG=1") <= fed + 1  # for what had beaten before it was stopped
        wait_until(lambda: manager.count("WATCHDOG=1") > fed + 1, what="the successors' hearts")
