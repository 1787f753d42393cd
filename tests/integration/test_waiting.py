"""What a client hears while it waits for a backend, and what others can see of it."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.integration.test_control_socket import show
from tests.servers import Postgres, wait_until
from tests.wire import Wire, frontend


def notice_of(client: Wire) -> dict[str, str]:
    message = client.read_message()
    assert message.type == b"N", message
    return message.fields


def test_a_client_that_waits_hears_its_place_and_why_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1, query_wait_notify="300ms")
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as holder, connect(pgmux) as first, connect(pgmux) as second:
        holder.query("BEGIN")
        for number, client in enumerate((first, second)):
            client.send(frontend.query(f"SELECT {number}"))
            lobbies.wait_for_parked(number + 1)
        for client, ahead in ((first, "no other client is ahead"), (second, "1 client is ahead")):
            told = notice_of(client)
            assert (told["S"], told["C"]) == ("NOTICE", "00000")
            assert told["M"].startswith("waiting for a backend since 0.")
            assert told["M"].endswith(f"{ahead} in the queue of app/app")
            assert told["D"] == "All 1 backends that the pool may have are in use."
            assert told["H"] == "It is given up after query_wait_timeout (2m)."
        assert first.is_silent(for_s=0.7)
        holder.query("COMMIT")
        assert [client.read_until(b"Z").value for client in (first, second)] == [b"0", b"1"]


def test_who_waits_in_a_pause_hears_that(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, query_wait_notify="200ms", query_wait_timeout=0)
    with connect(pgmux) as client:
        client.query("SELECT 1")
        pgmux.ctl("pause")
        client.send(frontend.query("SELECT 1"))
        told = notice_of(client)
        assert told["D"] == "The operator has paused it; it goes on with RESUME."
        assert "H" not in told
        pgmux.ctl("resume")
        assert client.read_until(b"Z").value == b"1"


def test_the_notice_does_not_disturb_a_driver(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1, query_wait_notify="100ms", query_wait_timeout="1s")
    heard: list[str] = []
    with connect(pgmux) as holder, pgmux.connect() as connection:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
        holder.query("BEGIN")
        with pytest.raises(psycopg.errors.TooManyConnections):
            connection.execute("SELECT 1", prepare=False)
        assert len(heard) == 1
        holder.query("COMMIT")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_no_notice_where_none_is_wanted(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1, query_wait_notify=0, query_wait_timeout="600ms")
    with connect(pgmux) as holder, connect(pgmux) as client:
        holder.query("BEGIN")
        assert client.query("SELECT 1").types == b"EZ"


def test_waits_are_shown_with_their_reason_and_then_as_a_histogram(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as holder, connect(pgmux) as client:
        client.query("SELECT 1")
        holder.query("BEGIN")
        client.send(frontend.query("SELECT 1"))
        lobbies.wait_for_parked(1)
        (row,) = show(pgmux, "waits")
        assert (row["waiting"], row["reason"]) == (1, "pool_size")
        assert row["longest_us"] > 0
        (pool, _) = show(pgmux, "pools")
        assert (pool["cl_waiting"], pool["waiting_for"]) == (1, "pool_size")
        (waiting,) = [row for row in show(pgmux, "clients") if row["state"] == "waiting"]
        assert waiting["wait"] * 1_000_000 + waiting["wait_us"] > 0
        holder.query("COMMIT")
        client.read_until(b"Z")
    wait_until(lambda: show(pgmux, "waits")[0]["waiting"] == 0, what="nobody waiting")
    (row,) = show(pgmux, "waits")
    assert row["waits"] >= 1
    assert row["wait_us"] > 0
    assert 0 < row["p50_us"] <= row["p90_us"] <= row["p99_us"]
    assert row["histogram"].startswith("<")
    assert (row["reason"], row["detail"]) == (None, None)
