"""Short sends are made together when a batch of events is served: none is lost, doubled or overtaken."""

from __future__ import annotations

import shutil
from contextlib import ExitStack

import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.servers.pgmux import PGMUX
from tests.wire import Wire, frontend

CLIENTS, QUESTIONS = 6, 1500
STRACE = shutil.which("strace")
NO_URING = ("-D", "-f", "-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=EPERM")


def ask_without_listening(wires: list[Wire]) -> None:
    """Each asks for some megabytes in answers of a kilobyte, each with its number, and reads nothing yet."""
    for number in range(QUESTIONS):
        for who, wire in enumerate(wires):
            wire.send(frontend.query(f"SELECT repeat('{who}:{number} ', {100 + who})"))


def assert_answered_in_order(who: int, wire: Wire) -> None:
    for number in range(QUESTIONS):
        assert wire.read_until(b"Z").value == f"{who}:{number} ".encode() * (100 + who)


def test_clients_that_read_late_get_every_answer_in_order(make_pgmux: MakePgmux) -> None:
    """Their sockets are full for a while, so shots are taken in part, or not at all."""
    pgmux = make_pgmux(workers=1, default_pool_size=4)
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(pgmux)) for _ in range(CLIENTS)]
        ask_without_listening(wires)
        for who, wire in enumerate(wires):
            assert_answered_in_order(who, wire)


def test_who_says_goodbye_behind_its_question_is_answered_before_its_socket_is_closed(
    make_pgmux: MakePgmux,
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=3)
    with connect(pgmux) as stayer:
        for number in range(100):
            stayer.send(frontend.query(f"SELECT 'stayer {number}'"))
            with connect(pgmux) as leaver:
                leaver.send(frontend.query("SELECT 'leaver'"), frontend.terminate())
                assert leaver.read_to_the_end().value == b"leaver"
            assert stayer.read_until(b"Z").value == f"stayer {number}".encode()


def test_what_was_for_a_client_that_left_reaches_nobody_else(make_pgmux: MakePgmux) -> None:
    """Its descriptor is the next client's."""
    pgmux = make_pgmux(workers=1, default_pool_size=3)
    with connect(pgmux) as stayer:
        for number in range(100):
            leaver = connect(pgmux)
            leaver.send(frontend.query("SELECT 'leaver'"))
            stayer.send(frontend.query(f"SELECT 'stayer {number}'"))
            leaver.close()
            with connect(pgmux) as comer:
                assert comer.query("SELECT 'comer'").value == b"comer"
            assert stayer.read_until(b"Z").value == f"stayer {number}".encode()


@pytest.mark.skipif(STRACE is None, reason="needs strace, to have io_uring refused")
def test_without_io_uring_everything_works_as_well(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=2, default_pool_size=2, command=(str(STRACE), *NO_URING, *PGMUX))
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(pgmux)) for _ in range(CLIENTS)]
        ask_without_listening(wires)
        for who, wire in enumerate(wires):
            assert_answered_in_order(who, wire)
    assert pgmux.log_contains("EPERM")
