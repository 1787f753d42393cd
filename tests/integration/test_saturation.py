"""More clients than backends: who waits, who gives up waiting, and who leaves in the middle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.integration.lobbies import Lobbies
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import Wire, frontend

PID = "SELECT pg_backend_pid()"
LOCK = 7042
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
ROWS, ROW_BYTES = 600, 100_000

LEAVES = pytest.mark.parametrize("leave", [Wire.close, Wire.reset, Wire.terminate])
Leave = Callable[[Wire], None]


# To wait too long


def test_who_waits_too_long_is_told_so_and_goes_on(make_pgmux: MakePgmux) -> None:
    holder, waiting = holder_and_waiting(make_pgmux)
    replies = waiting.query("SELECT 1")
    assert replies.types == b"EZ"
    assert (replies.error["S"], replies.sqlstate, replies.status) == ("ERROR", "53300", "I")
    assert "query_wait_timeout (1s)" in replies.error["M"]
    assert "It waited 1." in replies.error["D"]
    assert "behind 0 other clients" in replies.error["D"]
    assert replies.error["H"]
    holder.query("COMMIT")
    assert waiting.query("SELECT 1").value == b"1"


def test_who_waits_too_long_has_the_rest_up_to_its_sync_skipped(make_pgmux: MakePgmux) -> None:
    holder, waiting = holder_and_waiting(make_pgmux)
    waiting.send(frontend.parse("SELECT 1"), frontend.bind())
    assert waiting.read_message()["C"] == "53300"
    waiting.send(frontend.execute(), frontend.flush())
    assert waiting.is_silent(for_s=0.2)
    assert waiting.ask(frontend.parse("SELECT 2"), frontend.sync()).types == b"Z"
    holder.query("COMMIT")
    assert waiting.ask(frontend.extended("SELECT 3")).value == b"3"


def test_who_waits_too_long_loses_one_request_of_several(make_pgmux: MakePgmux) -> None:
    holder, waiting = holder_and_waiting(make_pgmux)
    waiting.send(
        frontend.query("SELECT 1"),
        frontend.extended("SELECT 2"),
        frontend.query("SELECT 3"),
        frontend.extended("SELECT 4"),
    )
    for _ in range(2):
        replies = waiting.read_until(b"Z")
        assert (replies.types, replies.sqlstate) == (b"EZ", "53300")
    holder.query("COMMIT")
    assert waiting.read_until(b"Z").value == b"3"
    assert waiting.read_until(b"Z").value == b"4"


@pytest.mark.parametrize("is_extended", [False, True])
def test_a_request_that_is_not_all_there_yet_is_skipped_to_its_end(
    make_pgmux: MakePgmux, is_extended: bool
) -> None:
    holder, waiting = holder_and_waiting(make_pgmux)
    text = b"x" * 3_000_000
    asked = (
        frontend.extended("SELECT length($1)", [text])
        if is_extended
        else frontend.query(f"SELECT length('{text.decode()}')")
    )
    waiting.send(asked[:100_000])
    assert waiting.read_message()["C"] == "53300"
    holder.query("COMMIT")
    waiting.send(asked[100_000:])
    assert waiting.read_message().type == b"Z"
    assert waiting.query("SELECT 1").value == b"1"


# To leave while waiting


@LEAVES
def test_who_vanishes_while_waiting_frees_its_place_at_once(
    make_pgmux: MakePgmux, postgres: Postgres, leave: Leave
) -> None:
    postgres.sql("DROP SEQUENCE IF EXISTS asked; CREATE SEQUENCE asked", "app", "app")
    pgmux = make_pgmux(workers=4, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    holder = pgmux.wire()
    holder.startup()
    holder.query("BEGIN")
    there = lobbies.clients()
    vanishing = lobbies.a_client_on_each_worker().values()
    for client in vanishing:
        client.send(frontend.query("SELECT nextval('asked')"))
    lobbies.wait_for_parked(4)
    last = pgmux.wire()
    last.startup()
    last.send(frontend.query("SELECT nextval('asked')"))
    lobbies.wait_for_parked(5)
    for client in vanishing:
        leave(client)
    lobbies.wait_for_parked(1)
    wait_until(lambda: lobbies.clients() == there + 1, what="the end of the clients that left")
    holder.query("COMMIT")
    assert last.read_until(b"Z").value == b"1"


# To leave in the middle of something

A_PIPELINE = frontend.parse(PID) + frontend.bind() + frontend.execute()
MIDDLES = {
    "a transaction": (frontend.query("BEGIN"), b"Z"),
    "a failed transaction": (frontend.query("BEGIN; SELECT 1/0"), b"Z"),
    "a pipeline without its Sync": (A_PIPELINE + frontend.flush(), b"C"),
    "a failed pipeline without its Sync": (frontend.parse("wrong") + frontend.flush(), b"E"),
    "a pipeline in a transaction": (frontend.query("BEGIN") + A_PIPELINE + frontend.flush(), b"D"),
    "a portal half read": (
        frontend.parse("SELECT generate_series(1, 9)")
        + frontend.bind()
        + frontend.execute(limit=2)
        + frontend.flush(),
        b"s",
    ),
    "a COPY to PostgreSQL": (frontend.query("COPY visits FROM STDIN"), b"G"),
    "a COPY in a transaction": (frontend.query("BEGIN") + frontend.query("COPY visits FROM STDIN"), b"G"),
    "a COPY with data": (frontend.query("COPY visits FROM STDIN") + frontend.copy_data(b"1\n"), b"G"),
    "a COPY by the extended protocol": (
        frontend.parse("COPY visits FROM STDIN") + frontend.bind() + frontend.execute() + frontend.flush(),
        b"G",
    ),
}  # name: (what the client says, the type of the last reply that it reads)


@LEAVES
def test_who_vanishes_in_the_middle_of_something_leaves_a_clean_backend(
    make_pgmux: MakePgmux, postgres: Postgres, leave: Leave
) -> None:
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as next_one:
        pid = next_one.query(PID).value
        for middle, (asked, last_reply) in MIDDLES.items():
            with connect(pgmux) as client:
                client.send(asked)
                client.read_until(last_reply)
                leave(client)
                answer = next_one.query(PID)
                assert (answer.value, answer.status) == (pid, "I"), f"after {middle}"
                assert next_one.query("SELECT count(*) FROM visits").value == b"0", f"after {middle}"


@LEAVES
def test_who_vanishes_in_a_transaction_has_it_rolled_back(
    make_pgmux: MakePgmux, postgres: Postgres, leave: Leave
) -> None:
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as client, connect(pgmux) as next_one:
        client.query("BEGIN")
        client.query(f"SELECT pg_advisory_xact_lock({LOCK})")
        pid = client.query("INSERT INTO visits VALUES (1) RETURNING pg_backend_pid()").value
        assert postgres.sql(LOCKS) == [(1,)]
        leave(client)
        wait_until(lambda: postgres.sql(LOCKS) == [(0,)], what="the end of its locks")
        assert next_one.query(PID).value == pid
        assert next_one.query("SELECT count(*) FROM visits").value == b"0"


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (b"", frontend.query("SELECT pg_sleep(60)")),
        (b"", frontend.extended("SELECT pg_sleep(60)")),
        (b"", frontend.query("SELECT pg_sleep(60)") + frontend.query("SELECT pg_sleep(61)")),
        (frontend.query("BEGIN"), frontend.query("SELECT pg_sleep(60)")),
        (frontend.query("BEGIN"), frontend.extended("SELECT pg_sleep(60)")),
    ],
    ids=["simple", "extended", "two queries", "in a transaction", "extended in a transaction"],
)
def test_who_vanishes_in_a_running_query_has_it_cancelled(
    make_pgmux: MakePgmux, postgres: Postgres, before: bytes, asked: bytes, leave: Leave
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as client, connect(pgmux) as next_one:
        pid = client.query(PID).value
        if before:
            client.ask(before)
        client.send(asked)
        wait_until(lambda: sleepers(postgres), what="pg_sleep to run")
        leave(client)
        wait_until(lambda: not sleepers(postgres), what="its cancellation")
        assert next_one.query(PID).value == pid


# To leave while one waits: nothing of it is done


@LEAVES
def test_who_leaves_while_waiting_is_let_go_and_what_was_asked_is_not_executed(
    make_pgmux: MakePgmux, postgres: Postgres, leave: Leave
) -> None:
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    with connect(pgmux) as holder, connect(pgmux) as leaver, connect(pgmux) as next_one:
        holder.query("BEGIN")
        leaver.send(frontend.query("INSERT INTO visits VALUES (1)"))
        lobbies.wait_for_parked(1)
        leave(leaver)
        lobbies.wait_for_parked(0)
        holder.query("COMMIT")
        assert next_one.query("SELECT count(*) FROM visits").value == b"0"


# To say Terminate and leave: what was asked before is done


@pytest.mark.parametrize("is_extended", [False, True])
def test_who_terminates_after_a_query_has_it_done(
    make_pgmux: MakePgmux, postgres: Postgres, is_extended: bool
) -> None:
    """Where it need not wait for a backend, not for pgmux's own audit of it either: who waits and leaves is let go."""
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1, audit_interval=0)
    insert = "INSERT INTO visits SELECT 1 FROM pg_sleep(0.3)"
    asked = frontend.extended(insert) if is_extended else frontend.query(insert)
    with connect(pgmux) as client, connect(pgmux) as next_one:
        pid = client.query(PID).value
        client.send(asked, frontend.terminate())
        client.close()
        assert next_one.query(PID).value == pid
        assert next_one.query("SELECT count(*) FROM visits").value == b"1"


def test_who_terminates_after_more_than_fits_into_the_sockets_has_all_of_it_done(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    """For many lengths: what is last read together with the Terminate then fits, or does not."""
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int, visit int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    insert = "INSERT INTO visits SELECT {}, {} FROM pg_sleep(0.02) /* " + "." * 30_000 + " */"
    with connect(pgmux) as next_one:
        for number in range(10, 26):
            with connect(pgmux) as client:
                asked = (frontend.query(insert.format(number, visit)) for visit in range(number))
                client.send(*asked, frontend.terminate())
                client.read_to_the_end()
            visits = next_one.query(f"SELECT count(*) FROM visits WHERE visitor = {number}")
            assert visits.value == b"%d" % number


@pytest.mark.slow
def test_who_terminates_after_a_long_query_has_it_done_as_well(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    postgres.sql("DROP TABLE IF EXISTS visits; CREATE TABLE visits (visitor int)", "app", "app")
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as client:
        client.send(frontend.query("INSERT INTO visits SELECT 1 FROM pg_sleep(12)"), frontend.terminate())
        client.close()
        wait_until(lambda: sleepers(postgres), what="the query to run")
        wait_until(lambda: not sleepers(postgres), 20, "the query's end")
    assert postgres.sql("SELECT count(*) FROM visits", "app") == [(1,)]


# To read slowly


def test_a_slow_reader_hinders_nobody_and_is_given_everything(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    with connect(pgmux) as slow, connect(pgmux) as other:
        assert other.query("SELECT 1").value == b"1"
        before = pgmux.uss_bytes()
        slow.send(frontend.query(f"SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {ROWS})"))
        wait_until(lambda: is_blocked_by_its_client(postgres), what="PostgreSQL to wait for its client")
        for number in range(200):
            assert other.query(f"SELECT {number}").value == b"%d" % number
        assert pgmux.uss_bytes() - before < ROWS * ROW_BYTES / 10
        assert is_blocked_by_its_client(postgres)
        replies = slow.read_until(b"Z")
    assert [len(row[0] or b"") for row in replies.rows] == [ROW_BYTES] * ROWS
    assert replies.tags == [f"SELECT {ROWS}"]


def test_a_slow_reader_that_vanishes_gives_its_backend_back(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=1)
    with connect(pgmux) as slow, connect(pgmux) as next_one:
        slow.send(frontend.query(f"SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {ROWS * 100})"))
        wait_until(lambda: is_blocked_by_its_client(postgres), what="PostgreSQL to wait for its client")
        slow.close()
        assert next_one.query("SELECT 1").value == b"1"


def holder_and_waiting(make_pgmux: MakePgmux) -> tuple[Wire, Wire]:
    """A client in a transaction on the only backend, and one that would have to wait more than a second."""
    pgmux: Pgmux = make_pgmux(workers=2, default_pool_size=1, query_wait_timeout="1s")
    holder, waiting = pgmux.wire(), pgmux.wire()
    holder.startup()
    waiting.startup()
    holder.query("BEGIN")
    return holder, waiting


def sleepers(postgres: Postgres) -> int:
    """How many queries with pg_sleep run in PostgreSQL, this one excepted."""
    (count,) = postgres.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state = 'active'"
    )[0]
    return int(count)


def is_blocked_by_its_client(postgres: Postgres) -> bool:
    """Whether a backend waits until what it has sent is read."""
    found = postgres.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'ClientWrite'")
    return bool(found)
