"""The log: one line per event, with who, why and how long, as text and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, wait_until
from tests.wire import LoginRefusedError, Wire, frontend


def events(pgmux: Pgmux, message: str) -> list[dict[str, Any]]:
    """The lines of a JSON log with that message."""
    found = [json.loads(line) for line in pgmux.log_file.text().splitlines() if line.startswith("{")]
    return [line for line in found if line["message"] == message]


def wait_for_event(pgmux: Pgmux, message: str) -> dict[str, Any]:
    """The last such, once there is one."""
    return wait_until(lambda: events(pgmux, message), what=f"{message!r} in the log")[-1]


def test_every_line_of_a_json_log_is_an_object(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, log_format="json")
    with connect(pgmux, application_name='an "application"') as client:
        client.query("SELECT 1")
        client.terminate()
    wait_for_event(pgmux, "client disconnected")
    for line in pgmux.log_file.text().splitlines():
        found = json.loads(line)
        assert set(found) >= {"time", "pid", "level", "process", "message"}
        assert found["time"].endswith("Z")


def test_a_client_s_coming_and_going_have_the_same_fields(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, log_format="json")
    inside = Lobbies(pgmux)
    with connect(pgmux, application_name="billing") as client:
        worker = inside.worker_of(client)
        client.query("SELECT 1")
        client.terminate()
    left = wait_for_event(pgmux, "client disconnected")
    (came,) = events(pgmux, "client connected")
    for field in ("client", "address", "user", "database", "application", "process", "pid"):
        assert came[field] == left[field]
    assert (left["user"], left["database"], left["application"]) == ("app", "app", "billing")
    assert left["process"] == f"worker {worker}"
    assert left["address"].startswith("127.0.0.1:")
    assert left["reason"] == "client left"
    assert 0 <= left["age_s"] < 60


def test_as_text_the_same_is_a_line_that_can_be_searched(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    with connect(pgmux, application_name="a b=c") as client:
        client.terminate()
    line = pgmux.wait_for_log("client disconnected")
    assert ' user=app database=app application="a b=c" reason="client left" age_s=' in line
    assert "INFO worker 0: client disconnected: client=" in line
    assert " address=127.0.0.1:" in line


def test_a_client_that_vanishes_is_told_from_one_that_says_goodbye(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json")
    with connect(pgmux) as client:
        client.query("BEGIN")
        client.reset()
    assert wait_for_event(pgmux, "client disconnected")["reason"] == "connection lost"


def test_an_error_that_ends_a_session_is_its_reason(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json")
    with connect(pgmux) as client:
        client.socket.sendall(b"!\0\0\0\4")
        client.read_to_the_end()
    assert wait_for_event(pgmux, "client disconnected")["reason"].startswith(
        "08P01: invalid frontend message"
    )


def test_lines_about_clients_can_be_left_out(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_connections=False, log_disconnections=False, log_level="info")
    with connect(pgmux) as client:
        client.query("SELECT 1")
        client.terminate()
    wait_until(lambda: Lobbies(pgmux).clients() == 0, what="his end")
    assert not pgmux.log_contains("client ")


def test_a_refused_log_in_says_who_and_why(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json", auth_type="scram-sha-256", passwords={"alice": "secret"})
    with pytest.raises(LoginRefusedError):
        connect(pgmux, user="alice", password="wrong")
    line = wait_for_event(pgmux, "log-in refused")
    assert (line["level"], line["user"], line["database"], line["reason"]) == (
        "warning",
        "alice",
        "app",
        "wrong password",
    )
    assert not events(pgmux, "client disconnected")


@contextmanager
def made_to_wait(pgmux: Pgmux, application: str, statement: str, seconds: float) -> Iterator[Wire]:
    """A client whose statement had to wait so long; it has been executed since."""
    with connect(pgmux) as holder, connect(pgmux, application_name=application) as waiting:
        holder.query("BEGIN")
        waiting.send(frontend.query(statement))
        Lobbies(pgmux).wait_for_parked(1)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > seconds, what="a wait of that length")
        holder.query("COMMIT")
        waiting.read_until(b"Z")
        yield waiting


def test_a_long_wait_is_told_when_it_is_over(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json", default_pool_size=1, log_min_wait="50ms")
    with made_to_wait(pgmux, "patient", "SELECT 1", 0.06) as client:
        line = wait_for_event(pgmux, "long wait for a backend")
        assert line["application"] == "patient"
        assert line["wait_us"] >= 50_000
        client.query("SELECT 1")
        assert len(events(pgmux, "long wait for a backend")) == 1


def test_a_slow_query_is_told_with_wait_and_execution_apart(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json", default_pool_size=1, log_min_duration="100ms")
    with made_to_wait(pgmux, "slow", "SELECT pg_sleep(0.15)", 0.3) as client:
        line = wait_for_event(pgmux, "slow query")
        assert line["application"] == "slow"
        assert line["wait_us"] >= 250_000
        assert line["query_us"] >= 100_000
        assert client.query("SELECT 1").value == b"1"
        assert len(events(pgmux, "slow query")) == 1


def test_of_many_slow_queries_a_few_are_told_and_the_rest_is_counted(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_min_duration="1us")
    with connect(pgmux) as client:
        for _ in range(400):
            client.query("SELECT 1")
    line = pgmux.wait_for_log(r"\d+ more long waits or slow queries")
    assert "WARNING worker 0" in line
    assert 0 < len(pgmux.log_file.lines("slow query: ")) < 300


def test_thresholds_can_be_set_while_it_runs(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(pgmux) as client:
        client.query("SELECT 1")
        assert not pgmux.log_contains("slow query")
        pgmux.ctl("set", "log_min_duration", "1us")
        client.query("SELECT 1")
        pgmux.wait_for_log("slow query: ")
        pgmux.ctl("set", "log_format", "json")
        client.query("SELECT 1")
        assert wait_for_event(pgmux, "slow query")["query_us"] > 0


def test_a_client_that_gets_no_backend_is_told_of(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, log_format="json", default_pool_size=1, query_wait_timeout="200ms")
    with connect(pgmux) as holder, connect(pgmux) as waiting:
        holder.query("BEGIN")
        assert waiting.query("SELECT 1").sqlstate == "53300"
    line = wait_for_event(pgmux, "no backend for a client")
    assert (line["sqlstate"], line["level"]) == ("53300", "warning")
    assert "query_wait_timeout" in line["reason"]
    assert line["wait_us"] >= 200_000


def test_a_cancel_request_is_told_of_when_it_hits(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, log_format="json")
    with connect(pgmux) as client:
        client.send(frontend.query("SELECT pg_sleep(60)"))
        wait_until(lambda: Lobbies(pgmux).counts("leases"), what="a lease")
        wait_until(lambda: sum(Lobbies(pgmux).counts("leases")) == 1, what="a lease")
        client.cancel()
        assert client.read_until(b"Z").sqlstate == "57014"
    line = wait_for_event(pgmux, "cancel request")
    assert (line["user"], line["reason"]) == ("app", "it was being served")
    assert sum(Lobbies(pgmux).counts("cancels")) == 1


def test_what_was_done_is_told_each_period_if_anything_was(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, stats_period="500ms", log_level="info")
    with connect(pgmux) as client:
        client.query("SELECT 1")
        line = pgmux.wait_for_log("supervisor: stats: ")
        assert " transactions/s, " in line
        assert " wait 0us" in line
    wait_until(lambda: Lobbies(pgmux).clients() == 0, what="his end")
    lines = len(pgmux.log_file.lines("stats: "))
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.6, what="three more periods")
    assert len(pgmux.log_file.lines("stats: ")) <= lines + 1


def test_averages_are_over_the_last_periods(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, stats_period="500ms", log_stats=False)

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as client:
            while client.query("SELECT 1"):
                yield

    def average() -> int:
        (row, _) = json.loads(pgmux.ctl("show", "stats_averages", "--json"))
        return int(row["xact_count"])

    with Crowd(1, member) as crowd:
        wait_until(lambda: average() > 0, what="averages of what is asked")
    wait_until(lambda: average() == 0, what="averages of nothing")
    (row, _) = json.loads(pgmux.ctl("show", "stats_totals", "--json"))
    assert [row["xact_count"]] == crowd.rounds
    assert not pgmux.log_contains("stats: ")
