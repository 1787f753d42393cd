"""The wire client against PostgreSQL itself: what both agree on is the protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.servers import PASSWORDS, Postgres, Proxy, wait_until
from tests.wire import LoginRefusedError, Wire, WireClosedError, WireTimeoutError, frontend


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    with Wire(postgres.host, postgres.port) as wire:
        wire.startup()
        yield wire


@pytest.mark.parametrize("user", ["app", *PASSWORDS])
def test_every_version_lets_us_in_by_every_method(any_postgres: Postgres, user: str) -> None:
    for host in (any_postgres.host, str(any_postgres.socket_dir)):
        with Wire(host, any_postgres.port) as wire:
            replies = wire.startup(user=user, password=PASSWORDS.get(user), application_name="wired")
            assert replies.status == "I"
            assert wire.parameters["application_name"] == "wired"
            assert wire.pid == int(wire.query("SELECT pg_backend_pid()").value or 0)
            wire.terminate()


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_wrong_password_is_a_refusal_with_its_sqlstate(postgres: Postgres, user: str) -> None:
    wire = Wire(postgres.host, postgres.port)
    with pytest.raises(LoginRefusedError, match="28P01 password authentication failed") as refusal:
        wire.startup(user=user, password="wrong")
    assert refusal.value.sqlstate == "28P01"


def test_a_simple_query_gives_rows_columns_and_a_tag(wire: Wire) -> None:
    replies = wire.query("SELECT 1 AS one, NULL AS nothing, 'ä' AS text")
    assert replies.types == b"TDCZ"
    assert replies.rows == [[b"1", None, "ä".encode()]]
    assert [column["name"] for column in replies[0]["columns"]] == ["one", "nothing", "text"]
    assert replies[0]["columns"][0]["type"] == 23
    assert replies.tags == ["SELECT 1"]


def test_several_statements_and_none_are_answered(wire: Wire) -> None:
    assert wire.query("SELECT 1; SELECT 2").types == b"TDCTDCZ"
    assert wire.query("").types == b"IZ"


def test_an_error_is_decoded_and_the_session_goes_on(wire: Wire) -> None:
    replies = wire.query("SELEKT")
    assert replies.types == b"EZ"
    assert replies.sqlstate == "42601"
    assert wire.query("SELECT 1").value == b"1"


def test_the_status_follows_the_transaction(wire: Wire) -> None:
    assert wire.query("BEGIN").status == "T"
    assert wire.query("SELECT 1/0").status == "E"
    assert wire.query("ROLLBACK").status == "I"


def test_a_notice_and_a_parameter_status_are_decoded(wire: Wire) -> None:
    notice = wire.query("DO $$ BEGIN RAISE WARNING 'careful'; END $$").of(b"N")[0]
    assert notice["M"] == "careful"
    wire.query("SET application_name = 'renamed'")
    assert wire.parameters["application_name"] == "renamed"


def test_the_extended_protocol_is_spoken(wire: Wire) -> None:
    replies = wire.ask(
        frontend.parse("SELECT $1::int + 1", "add", [23]),
        frontend.describe_statement("add"),
        frontend.bind([b"41"], "add", "sum"),
        frontend.describe_portal("sum"),
        frontend.execute("sum"),
        frontend.close_portal("sum"),
        frontend.close_statement("add"),
        frontend.sync(),
    )
    assert replies.types == b"1tT2TDC33Z"
    assert replies.of(b"t")[0]["types"] == [23]
    assert replies.value == b"42"


def test_binary_values_go_both_ways(wire: Wire) -> None:
    bind = frontend.bind([(41).to_bytes(4)], formats=[1], result_formats=[1])
    replies = wire.ask(frontend.parse("SELECT $1::int + 1"), bind, frontend.execute(), frontend.sync())
    assert replies.value == (42).to_bytes(4)


def test_a_portal_is_suspended_at_its_limit(wire: Wire) -> None:
    replies = wire.ask(
        frontend.parse("SELECT generate_series(1, 3)"),
        frontend.bind(),
        frontend.execute(limit=2),
        frontend.execute(limit=2),
        frontend.sync(),
    )
    assert replies.types == b"12DDsDCZ"


def test_a_flush_brings_replies_without_a_sync(wire: Wire) -> None:
    wire.send(frontend.parse("SELECT 1"), frontend.describe_statement(), frontend.flush())
    assert wire.read_until(b"T").types == b"1tT"
    assert wire.ask(frontend.sync()).types == b"Z"


def test_what_follows_an_error_is_skipped_to_the_sync(wire: Wire) -> None:
    replies = wire.ask(frontend.parse("SELEKT"), frontend.bind(), frontend.execute(), frontend.sync())
    assert replies.types == b"EZ"


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    wire.send(*(frontend.extended("SELECT $1", [str(number).encode()]) for number in range(5)))
    assert [wire.read_until(b"Z").value for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_copy_goes_in_and_comes_out(wire: Wire) -> None:
    wire.query("CREATE TEMPORARY TABLE copied (x text)")
    wire.send(frontend.query("COPY copied FROM STDIN"))
    assert wire.read_until(b"G")[-1]["column_formats"] == [0]
    replies = wire.ask(frontend.copy_data(b"one\ntw"), frontend.copy_data(b"o\n"), frontend.copy_done())
    assert replies.tags == ["COPY 2"]
    out = wire.query("COPY copied TO STDOUT")
    assert out.types == b"HddcCZ"
    assert b"".join(message["data"] for message in out.of(b"d")) == b"one\ntwo\n"


def test_a_copy_can_be_given_up(wire: Wire) -> None:
    wire.query("CREATE TEMPORARY TABLE copied (x text)")
    wire.send(frontend.query("COPY copied FROM STDIN"))
    wire.read_until(b"G")
    assert wire.ask(frontend.copy_fail("no more")).sqlstate == "57014"


def test_a_function_is_called(wire: Wire) -> None:
    abs_of_int4 = int(wire.query("SELECT 'abs(int4)'::regprocedure::oid").value or 0)
    replies = wire.ask(frontend.function_call(abs_of_int4, [b"-7"]))
    assert replies.types == b"VZ"
    assert replies[0]["value"] == b"7"


def test_a_notification_arrives(wire: Wire, postgres: Postgres) -> None:
    wire.query("LISTEN news")
    postgres.sql("NOTIFY news, 'spring'", dbname="app")
    message = wire.read_message()
    assert (message.name, message["channel"], message["payload"]) == (
        "NotificationResponse",
        "news",
        "spring",
    )


@pytest.mark.parametrize("version", [(3, 0), (3, 2)])
def test_a_query_is_cancelled(postgres: Postgres, version: tuple[int, int]) -> None:
    with Wire(postgres.host, postgres.port) as wire:
        wire.startup(version=version)
        assert len(wire.key) == (4 if version == (3, 0) else 32)
        wire.send(frontend.query("SELECT pg_sleep(60)"))
        active = f"SELECT 1 FROM pg_stat_activity WHERE pid = {wire.pid} AND state = 'active'"
        wait_until(lambda: postgres.sql(active), what="the query to run")
        wire.cancel()
        assert wire.read_until(b"Z").sqlstate == "57014"


def test_a_newer_protocol_is_negotiated(postgres: Postgres) -> None:
    with Wire(postgres.host, postgres.port) as wire:
        replies = wire.startup(version=(3, 9999), **{"_pq_.unheard_of": "1"})
        (negotiated,) = replies.of(b"v")
        assert negotiated["unknown_options"] == ["_pq_.unheard_of"]


@pytest.mark.parametrize("request_bytes", [frontend.ssl_request(), frontend.gssenc_request()])
def test_encryption_is_declined_by_a_byte_and_the_log_in_goes_on(
    postgres: Postgres, request_bytes: bytes
) -> None:
    with Wire(postgres.host, postgres.port) as wire:
        wire.send(request_bytes)
        assert wire.read_byte() == b"N"
        wire.startup()


def test_the_end_of_the_server_is_told_with_the_conversation(postgres: Postgres, wire: Wire) -> None:
    postgres.kill_backend(wire.pid)
    assert wire.read_message()["C"] == "57P01"
    with pytest.raises(WireClosedError, match=r"(?s)the connection was closed\n.*← ReadyForQuery.*← end"):
        wire.read_message()


def test_a_reset_by_the_other_side_is_told(postgres: Postgres) -> None:
    with Proxy(postgres.host, postgres.port) as proxy, Wire(proxy.host, proxy.port) as wire:
        wire.startup()
        proxy.reset()
        with pytest.raises(WireClosedError, match="the connection was reset"):
            wire.read_message()


def test_silence_ends_in_a_timeout_that_shows_the_conversation(postgres: Postgres) -> None:
    with Wire(postgres.host, postgres.port, timeout_s=0.1) as wire:
        wire.startup()
        assert wire.is_silent(0.01)
        with pytest.raises(WireTimeoutError, match=r"(?s)nothing came for 0\.1 s\n.*→ StartupMessage"):
            wire.read_message()


def test_messages_are_put_together_from_single_bytes(postgres: Postgres) -> None:
    with Proxy(postgres.host, postgres.port) as proxy, Wire(proxy.host, proxy.port) as wire:
        wire.startup()
        proxy.split(1)
        assert wire.query("SELECT 'in pieces'").value == b"in pieces"


def test_a_large_value_arrives_whole(wire: Wire) -> None:
    assert len(wire.query("SELECT repeat('x', 20000000)").value or b"") == 20_000_000


def test_our_reset_is_seen_as_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(*listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            wire.reset()
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)


def test_a_terminated_session_is_gone(postgres: Postgres, wire: Wire) -> None:
    wire.terminate()
    wait_until(lambda: wire.pid not in postgres.backend_pids(), what="the end of the backend")
