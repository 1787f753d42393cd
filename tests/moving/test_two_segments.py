"""What the operator says while clients of a version with another layout are still to come: it means them too."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.integration.crowd import connect
from tests.integration.test_control_socket import Line, show
from tests.integration.test_operator import Doing
from tests.moving.upgradable import ALL_HAS_COME, Upgradable, regent_of
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, frontend

# An option that the version before refuses, and its successor does not.
_KNOWS_NO_RESET_QUERY = """
import pgmux.config.not_yet as not_yet
not_yet.NOT_YET = (not_yet.NotYet("server_reset_query", lambda value: value == "SELECT 1", "it is not known here"),)
"""


def is_paused(pgmux: Pgmux) -> bool:
    """Whether SHOW STATE says so."""
    return ("paused", "yes") in [(row["key"], row["value"]) for row in show(pgmux, "state")]


def rows_of(pgmux: Pgmux, name: str) -> list[dict[str, Any]]:
    """The clients of that application_name, as SHOW CLIENTS has them."""
    with Line(pgmux) as line:  # no program is started: this is asked again and again
        columns, *told = line.ask("show", "clients")
    names = [column["name"] for column in columns["columns"]]
    rows = [
        dict(zip(names, row, strict=True)) for each in told if each["type"] == "rows" for row in each["rows"]
    ]
    return [row for row in rows if row["application_name"] == name]


def row_of(pgmux: Pgmux, name: str) -> dict[str, Any]:
    """The one client of that name."""
    (row,) = rows_of(pgmux, name)
    return row


def number_of(pgmux: Pgmux, name: str) -> int:
    """Its number."""
    return int(row_of(pgmux, name)["id"])


def worker_of(pgmux: Pgmux, name: str) -> int | None:
    """Its worker; None = it is still to come, or on its way at this moment."""
    return next((row["worker"] for row in rows_of(pgmux, name)), None)


def notice_of(pgmux: Pgmux, command: str) -> str:
    """What a command tells besides being done."""
    with Line(pgmux) as line:
        told = [each for each in line.ask(command) if each["type"] != "progress"]
    (notice, done) = told
    assert (notice["type"], done["type"]) == ("notice", "done")
    return str(notice["message"])


def is_done(pgmux: Pgmux, *command: str) -> bool:
    """Gives a command. Whether it tells nothing but that it is done."""
    with Line(pgmux) as line:
        return [each["type"] for each in line.ask(*command) if each["type"] != "progress"] == ["done"]


def goes(client: Wire) -> str | None:
    """How a client is sent off: the SQLSTATE that it is told."""
    return client.read_to_the_end().sqlstate


def test_a_pause_is_done_when_neither_side_has_a_backend(upgradable: Upgradable, postgres: Postgres) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux) as listener:
        listener.query("LISTEN news")
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        pausing = Doing(pgmux, "pause")
        wait_until(lambda: is_paused(pgmux), what="the pause")
        assert busy.query("SELECT 'goes on'").value == b"goes on"
        assert not pausing.is_done()
        assert busy.query("COMMIT").status == "I"
        assert pausing.wait() == "PAUSE"
        for client in (busy, listener):
            client.send(frontend.query("SELECT 'later'"))
        postgres.stop()
        postgres.start()  # what pauses are for
        assert pgmux.ctl("resume") == "RESUME\n"
        assert [client.read_until(b"Z").value for client in (busy, listener)] == [b"later", b"later"]


def test_a_pause_of_one_database_holds_from_before_an_upgrade_until_it_is_resumed(
    upgradable: Upgradable,
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as idle, connect(pgmux) as listener:
        listener.query("LISTEN news")
        idle.query("SELECT 1")
        assert pgmux.ctl("pause", "app") == "PAUSE\n"
        assert pgmux.ctl("disable", "app") == "DISABLE\n"
        upgradable.upgrade(pgmux)
        for client in (idle, listener):
            client.send(frontend.query("SELECT 'later'"))
        (row,) = [row for row in show(pgmux, "databases") if row["name"] == "app"]
        assert (row["paused"], row["disabled"]) == (1, 1)
        assert pgmux.ctl("resume", "app") == "RESUME\n"
        assert [client.read_until(b"Z").value for client in (idle, listener)] == [b"later", b"later"]
        assert not pgmux.log_contains(ALL_HAS_COME)
        assert pgmux.ctl("enable", "app") == "ENABLE\n"
        with connect(pgmux) as newcomer:
            assert newcomer.query("SELECT 1").value == b"1"


@pytest.mark.parametrize("what", [("kill",), ("kill", "app")], ids=" ".join)
def test_a_kill_ends_who_has_come_and_who_has_not(upgradable: Upgradable, what: tuple[str, ...]) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with (
        connect(pgmux, application_name="idle") as idle,
        connect(pgmux) as busy,
        connect(pgmux) as listener,
    ):
        listener.query("LISTEN news")
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        wait_until(lambda: worker_of(pgmux, "idle") is not None, what="the idle client to have come")
        assert is_done(pgmux, *what)
        assert [goes(client) for client in (idle, busy, listener)] == ["57P01"] * 3
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert pgmux.ctl("resume", *what[1:]) == "RESUME\n"
        with connect(pgmux) as newcomer:
            assert newcomer.query("SELECT 1").value == b"1"


def test_kill_client_ends_one_that_has_not_come(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with (
        connect(pgmux, application_name="busy") as busy,
        connect(pgmux, application_name="other") as other,
    ):
        other.query("BEGIN")
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        number, others = number_of(pgmux, "busy"), number_of(pgmux, "other")
        assert pgmux.ctl("kill-client", str(number)) == "KILL_CLIENT\n"
        assert goes(busy) == "57P01"
        with pytest.raises(AssertionError, match="no such client"):
            pgmux.ctl("kill-client", str(number))
        assert other.query("COMMIT").status == "I"
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert number_of(pgmux, "other") == others
        assert pgmux.ctl("kill-client", str(others)) == "KILL_CLIENT\n"


def test_who_has_not_come_is_shown_as_it_fares(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with (
        connect(pgmux, application_name="busy") as busy,
        connect(pgmux, application_name="listener") as listener,
        connect(pgmux, application_name="idle"),
    ):
        listener.query("LISTEN news")
        busy.query("BEGIN")
        before = row_of(pgmux, "busy")
        upgradable.upgrade(pgmux)
        wait_until(lambda: worker_of(pgmux, "idle") is not None, what="the idle client to have come")
        staying = ("busy", "listener")
        assert [row_of(pgmux, name)["worker"] for name in staying] == [None] * 2
        assert [row_of(pgmux, name)["state"] for name in staying] == ["active", "idle"]
        assert row_of(pgmux, "busy") == {**before, "worker": None}
        (pool,) = [row for row in show(pgmux, "pools") if row["database"] == "app"]
        assert (pool["cl_active"], pool["sv_active"]) == (3, 1)
        (backend,) = [row for row in show(pgmux, "servers") if row["state"] == "active"]
        assert (backend["link"], backend["worker"]) == (before["ptr"], None)
        listener.query("BEGIN")
        wait_until(lambda: row_of(pgmux, "listener")["state"] == "active", what="what it does to be seen")
        for client in (busy, listener):
            client.query("COMMIT")
        listener.query("UNLISTEN *")
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        wait_until(lambda: worker_of(pgmux, "busy") is not None, what="the busy client to be served on")
        assert {row["application_name"] for row in show(pgmux, "clients")} == {"busy", "listener", "idle"}


def test_a_reload_holds_for_who_has_not_come(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=4)
    with connect(pgmux) as one, connect(pgmux) as another, connect(pgmux) as third:
        for client in (one, another, third):
            client.query("BEGIN")
        upgradable.upgrade(pgmux)
        pgmux.write_configuration(idle_transaction_timeout="100ms")
        assert pgmux.ctl("reload") == "RELOAD\n"
        assert [goes(client) for client in (one, another, third)] == ["25P03"] * 3
    pgmux.wait_for_log(ALL_HAS_COME, 30)


def test_a_set_holds_for_who_has_not_come(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as client:
        client.query("BEGIN")
        upgradable.upgrade(pgmux)
        assert pgmux.ctl("set", "idle_transaction_timeout", "100ms") == "SET\n"
        assert goes(client) == "25P03"


def test_it_is_told_when_the_version_before_cannot_use_a_configuration(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(code=_KNOWS_NO_RESET_QUERY, default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        pgmux.write_configuration(server_reset_query="SELECT 1")
        assert "the workers of the version before cannot use this configuration" in notice_of(pgmux, "reload")
        assert pgmux.log_contains("keep to the configuration they have: .*server_reset_query")
        assert busy.query("COMMIT").status == "I"
        pgmux.wait_for_log(ALL_HAS_COME, 30)
        assert pgmux.ctl("reload") == "RELOAD\n"


def test_reconnect_replaces_the_backends_that_have_not_come(
    upgradable: Upgradable, postgres: Postgres
) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy, connect(pgmux) as idle:
        backend = busy.query("BEGIN; SELECT pg_backend_pid()").value
        idle.query("SELECT 1")
        before = set(postgres.backend_pids(user="app"))
        upgradable.upgrade(pgmux)
        assert pgmux.ctl("reconnect") == "RECONNECT\n"
        closing = Doing(pgmux, "wait-close")
        assert busy.query("SELECT pg_backend_pid()").value == backend
        assert not closing.is_done()
        assert busy.query("COMMIT").status == "I"
        assert closing.wait() == "WAIT_CLOSE"
        assert not before & set(postgres.backend_pids(user="app"))
        assert busy.query("SELECT 1").value == b"1"


def test_workers_that_are_stopped_are_told_of(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        regent = regent_of(pgmux)
        pgmux.kill_worker(regent, signal.SIGSTOP)
        try:
            assert "the workers of the version before did not answer" in notice_of(pgmux, "reload")
        finally:
            pgmux.kill_worker(regent, signal.SIGCONT)
        assert pgmux.ctl("reload") == "RELOAD\n"
        assert busy.query("COMMIT").status == "I"


def test_another_upgrade_is_refused_at_once(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        with pytest.raises(AssertionError, match=r"still to come[^!]*Try again when the log says"):
            pgmux.ctl("upgrade")
        assert busy.query("COMMIT").status == "I"


def test_a_console_of_before_shows_and_has_no_say(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2, admin_users=["app"])
    with connect(pgmux, database="pgmux") as console, connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        assert console.query("SHOW VERSION").rows
        refused = console.query("PAUSE")
        assert (refused.sqlstate, refused.status) == ("55000", "I")
        assert busy.query("COMMIT").status == "I"
        with connect(pgmux, database="pgmux") as another:
            assert another.query("PAUSE").tags == ["PAUSE"]


def test_a_shutdown_that_waits_for_clients_waits_for_those_that_have_not_come(upgradable: Upgradable) -> None:
    pgmux = upgradable.make(default_pool_size=2)
    with connect(pgmux) as busy:
        busy.query("BEGIN")
        upgradable.upgrade(pgmux)
        pgmux.ctl("shutdown", "wait-for-clients")
        pgmux.wait_for_log("stopping when the last has left")
        assert busy.query("COMMIT").status == "I"
        pgmux.wait_for_log("the last worker of before has left", 30)
        assert busy.query("SELECT 1").value == b"1"
    assert pgmux.wait_until_stopped() == 0
