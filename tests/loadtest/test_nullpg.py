import socket
import struct
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from loadtest.client import DATABASE, USER, Address, log_in
from loadtest.idle import IdleClients
from loadtest.load import Load
from loadtest.nullpg import NullBackend
from loadtest.pgbench import find_pgbench
from tests.servers.waiting import wait_until

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102


@pytest.fixture
def connection(nullpg: NullBackend) -> Iterator[psycopg.Connection]:
    address = nullpg.address
    with psycopg.connect(
        host=address.host, port=address.port, user=USER, dbname=DATABASE, autocommit=True
    ) as connection:
        yield connection


def status_of(connection: psycopg.Connection) -> TransactionStatus:
    return connection.info.transaction_status


def test_log_in_tells_what_drivers_ask_for(connection: psycopg.Connection) -> None:
    info = connection.info
    assert info.server_version == 160000
    assert info.parameter_status("client_encoding") == "UTF8"
    assert info.parameter_status("integer_datetimes") == "on"
    assert info.parameter_status("session_authorization") == USER
    assert info.backend_pid > 0


def test_simple_query_answers_one_row(connection: psycopg.Connection) -> None:
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert connection.execute("SHOW server_version").fetchall() == [("16.0",)]


def test_several_statements_in_one_query_are_each_answered(connection: psycopg.Connection) -> None:
    cursor = connection.execute("SELECT 1; UPDATE t SET a = 'x;y'; SELECT 1 -- ; not another\n;")
    tags = [cursor.statusmessage]
    while cursor.nextset():
        tags.append(cursor.statusmessage)
    assert tags == ["SELECT 1", "UPDATE 1", "SELECT 1"]


def test_transaction_status_follows_begin_and_its_ends(connection: psycopg.Connection) -> None:
    for begin, end in [("BEGIN", "COMMIT"), ("START TRANSACTION", "ROLLBACK"), ("/* c */ begin", "END")]:
        connection.execute(begin)
        assert status_of(connection) == TransactionStatus.INTRANS
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("ROLLBACK TO SAVEPOINT s")
        assert status_of(connection) == TransactionStatus.INTRANS
        connection.execute(end)
        assert status_of(connection) == TransactionStatus.IDLE


def test_an_error_fails_the_transaction_until_its_end(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute("DO $$ $$")
    assert status_of(connection) == TransactionStatus.INERROR
    assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
    assert status_of(connection) == TransactionStatus.IDLE


def test_extended_query_answers_in_text_and_in_binary(connection: psycopg.Connection) -> None:
    for binary in (False, True):
        assert connection.execute("SELECT %s", ["x"], binary=binary).fetchall() == [(1,)]


def test_named_statement_is_described_and_executed(connection: psycopg.Connection) -> None:
    pg = connection.pgconn
    pg.prepare(b"twice", b"SELECT $1, $2")
    assert pg.describe_prepared(b"twice").nparams == 2
    assert pg.exec_prepared(b"twice", [b"a", b"b"]).get_value(0, 0) == b"1"
    assert status_of(connection) == TransactionStatus.IDLE


def test_unknown_and_taken_statement_names_are_errors(connection: psycopg.Connection) -> None:
    pg = connection.pgconn
    assert pg.exec_prepared(b"never", []).error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"
    pg.prepare(b"taken", b"SELECT 1")
    assert pg.prepare(b"taken", b"SELECT 1").error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42P05"
    pg.close_prepared(b"taken")
    assert pg.prepare(b"taken", b"SELECT 1").status == psycopg.pq.ExecStatus.COMMAND_OK


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def parse_bind_execute(text: bytes) -> bytes:
    parse = message(b"P", b"\0" + text + b"\0" + struct.pack("!h", 0))
    bind = message(b"B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
    return parse + bind + message(b"E", b"\0" + struct.pack("!i", 0))


def test_after_an_error_everything_is_skipped_to_the_sync(nullpg: NullBackend) -> None:
    with log_in(nullpg.address) as client:
        client._socket.sendall(parse_bind_execute(b"DO $$ $$") + parse_bind_execute(b"BEGIN"))
        client._socket.sendall(message(b"Q", b"SELECT 1\0") + message(b"S"))
        replies = [client._read_message() for _ in range(4)]
        assert [kind for kind, _ in replies] == [b"1", b"2", b"E", b"Z"]
        assert replies[-1][1] == b"I"
        assert client.query("SELECT 1") == "1"


def test_begin_in_the_extended_protocol_opens_a_transaction(connection: psycopg.Connection) -> None:
    connection.pgconn.exec_params(b"BEGIN", [])
    assert status_of(connection) == TransactionStatus.INTRANS


def test_set_is_reported_as_postgresql_reports_it(connection: psycopg.Connection) -> None:
    connection.execute("SET application_name='one';SET TimeZone TO 'UTC+1'")
    assert connection.info.parameter_status("application_name") == "one"
    assert connection.info.parameter_status("TimeZone") == "UTC+1"


@pytest.mark.parametrize("size", [1, 1000, 33_000, 20_000_000])
def test_a_row_is_as_large_as_wanted(connection: psycopg.Connection, size: int) -> None:
    query = f"SELECT /* bytes={size} */ x FROM t"
    for cursor in (connection.execute(query), connection.execute(query + " WHERE y = %s", ["z"])):
        (value,) = cursor.fetchone() or ("",)
        assert value == "x" * size
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_messages_may_come_byte_by_byte_and_all_at_once(nullpg: NullBackend) -> None:
    query = message(b"Q", b"SELECT 1\0")
    with log_in(nullpg.address) as client:
        for byte in query:
            client._socket.sendall(bytes([byte]))
        assert client.wait_until_ready() == "1"
        client._socket.sendall(query * 3)
        assert [client.wait_until_ready() for _ in range(3)] == ["1", "1", "1"]


def request(address: Address, packet: bytes) -> bytes:
    """All that is answered to a packet, up to the end of the connection or 1 byte for an SSLRequest."""
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(packet)
        answer = b""
        while data := connection.recv(4096):
            answer += data
            if answer == b"N":
                break
        return answer


def test_tls_is_declined_and_a_cancel_request_is_closed(nullpg: NullBackend) -> None:
    assert request(nullpg.address, struct.pack("!II", 8, SSL_REQUEST)) == b"N"
    assert request(nullpg.address, struct.pack("!IIII", 16, CANCEL_REQUEST, 1, 2)) == b""


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!iI", -1, 3 << 16),
        struct.pack("!II", 10_001, 3 << 16),
        struct.pack("!II", 13, 3 << 16) + b"user?",
        struct.pack("!II", 9, 3 << 16) + b"\0",
    ],
    ids=["negative length", "too long", "no closing zero", "no user"],
)
def test_a_malformed_startup_hurts_only_its_sender(
    nullpg: NullBackend, connection: psycopg.Connection, packet: bytes
) -> None:
    assert b"FATAL" in request(nullpg.address, packet)
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_malformed_bind_hurts_only_its_sender(nullpg: NullBackend, connection: psycopg.Connection) -> None:
    parse = message(b"P", b"\0SELECT 1\0\0\0")
    bind = message(b"B", b"\0\0" + struct.pack("!hhh", 0, 99, 0))
    with log_in(nullpg.address) as client:
        client._socket.sendall(parse + bind)
        with pytest.raises(Exception, match="invalid Bind"):
            client.wait_until_ready()
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_the_peak_is_what_was_connected_at_once(nullpg: NullBackend) -> None:
    wait_until(lambda: nullpg.take_peak() == 0, what="the clients of earlier tests have left")
    with IdleClients(nullpg.address, 150) as clients:
        clients.query("SELECT 1")
        assert nullpg.take_peak() == 150
        with IdleClients(nullpg.address, 7):
            pass
        assert nullpg.take_peak() == 157
    wait_until(lambda: nullpg.take_peak() == 0, what="nobody is left")


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
def test_pgbench_runs_a_transaction_script_without_errors(nullpg: NullBackend, protocol: str) -> None:
    report = find_pgbench().run(Load("tpcb.sql", protocol, clients=4, logged_share=1), nullpg.address, 1)
    assert report.errors == 0, report.first_error
    assert report.transactions > 0
    assert 0 < (report.p50_us or 0) <= (report.p99_us or 0)
    assert report.cpu_s > 0


def test_a_comment_asks_for_many_rows(connection: psycopg.Connection) -> None:
    rows = connection.execute("SELECT 'x' /* bytes=1000 rows=70000 */").fetchall()
    assert len(rows) == 70_000
    assert set(rows) == {("x" * 1000,)}
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_copy_goes_out_and_comes_in(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        with cursor.copy("COPY t TO STDOUT /* bytes=10 rows=30000 */") as copy:
            assert b"".join(bytes(data) for data in copy) == b"xxxxxxxxx\n" * 30_000
        with cursor.copy("COPY t FROM STDIN") as copy:
            for _ in range(100):
                copy.write(b"y" * 9999 + b"\n")
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def give_up_copying(cursor: psycopg.Cursor) -> None:
    with cursor.copy("COPY t FROM STDIN") as copy:
        copy.write(b"y\n")
        raise KeyError("the client thinks better of it")


def test_a_copy_that_the_client_gives_up_ends_and_the_session_goes_on(connection: psycopg.Connection) -> None:
    with pytest.raises(KeyError), connection.cursor() as cursor:
        give_up_copying(cursor)
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
