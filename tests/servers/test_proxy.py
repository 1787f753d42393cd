"""The proxy that a test breaks: between a client of ours and an echo, and in front of PostgreSQL."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.servers import Postgres, Proxy, wait_until


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the listener was shut down
                    return
                threading.Thread(target=answer, args=(connection,)).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echo() as address, Proxy(*address) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        yield client


def received(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        assert piece, f"the end after {len(data)} bytes"
        data += piece
    return data


def is_silent(client: socket.socket, seconds: float = 0.1) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def test_bytes_pass_and_are_recorded(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"hello")
    assert received(client, 5) == b"hello"
    (connection,) = proxy.connections
    assert bytes(connection.to_server.recorded) == b"hello"
    assert bytes(connection.to_client.recorded) == b"hello"


def test_a_megabyte_passes_unchanged(client: socket.socket) -> None:
    sent = bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(sent,))
    sender.start()
    assert received(client, len(sent)) == sent
    sender.join()


def test_held_bytes_come_after_the_release(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"before")
    assert received(client, 6) == b"before"
    proxy.hold()
    client.sendall(b"during")
    assert is_silent(client)
    proxy.release()
    assert received(client, 6) == b"during"


def test_one_direction_is_held_alone(proxy: Proxy, client: socket.socket) -> None:
    proxy.to_client.is_held = True
    client.sendall(b"question")
    wait_until(lambda: proxy.connections and bytes(proxy.connections[0].to_server.recorded) == b"question")
    assert is_silent(client)
    proxy.release()
    assert received(client, 8) == b"question"


def test_a_held_line_makes_the_sender_wait(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold()
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(50_000_000))


def test_delayed_bytes_come_so_much_later(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    client.sendall(b"late")
    assert received(client, 4) == b"late"
    assert time.monotonic() - began >= 0.2  # once in each direction


def test_split_bytes_come_singly(proxy: Proxy, client: socket.socket) -> None:
    proxy.to_client.piece_bytes = 1
    proxy.to_client.piece_gap_s = 0.02
    client.sendall(b"abc")
    assert [client.recv(100) for _ in range(3)] == [b"a", b"b", b"c"]


def test_a_cut_ends_both_sides(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"hello")
    assert received(client, 5) == b"hello"
    proxy.cut()
    assert client.recv(1) == b""
    assert not proxy.connections[0].is_open


def test_a_cut_throws_away_what_is_held(proxy: Proxy, client: socket.socket) -> None:
    proxy.wait_for_connections(1)
    proxy.hold()
    client.sendall(b"lost")
    proxy.cut()
    proxy.release()
    assert client.recv(1) == b""


def test_a_reset_is_a_reset(proxy: Proxy, client: socket.socket) -> None:
    proxy.wait_for_connections(1)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_the_end_of_one_side_passes_after_its_bytes(client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert received(client, 10) == b"last words"
    assert client.recv(1) == b""


def test_connections_are_refused_and_allowed_again(proxy: Proxy, client: socket.socket) -> None:
    proxy.wait_for_connections(1)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port))
    client.sendall(b"still here")
    assert received(client, 10) == b"still here"
    proxy.allow()
    socket.create_connection((proxy.host, proxy.port)).close()


def test_a_client_sees_the_end_when_the_server_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()
    with Proxy(*nobody) as proxy, socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        assert client.recv(1) == b""


@pytest.mark.parametrize("to_unix", [False, True], ids=["to-tcp", "to-unix"])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_postgresql_is_reached_over_any_sockets(postgres: Postgres, unix: bool, to_unix: bool) -> None:
    with Proxy(str(postgres.socket_dir) if to_unix else postgres.host, postgres.port, unix=unix) as proxy:
        proxy.split(3)
        with psycopg.connect(host=proxy.host, port=proxy.port, user="app", dbname="app") as connection:
            assert connection.execute("SELECT repeat('x', 1000)").fetchone() == ("x" * 1000,)
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
