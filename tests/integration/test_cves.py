"""What has gone wrong in another pooler, before it knew who spoke: each of its CVEs, tried over the wire.

After each try the same workers are there, no larger than before, and serve. Two of its CVEs are elsewhere:
CVE-2025-2291 (VALID UNTIL) and CVE-2025-12819 (search_path before the log-in) in test_auth_query.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.servers import PASSWORDS, Pgmux, Postgres
from tests.wire import LoginRefusedError, Wire, WireClosedError, frontend

MEGABYTE = 1 << 20
SCRAM = "SCRAM-SHA-256"


@pytest.fixture
def pgmux(make_pgmux: MakePgmux, postgres: Postgres) -> Pgmux:
    """One that asks for SCRAM; `scram` and `plain` exist, and so does the database `app`."""
    return make_pgmux(workers=2, auth_type="scram-sha-256", auth_user="postgres", client_login_timeout="2s")


@contextmanager
def unharmed(pgmux: Pgmux) -> Iterator[None]:
    """Whatever is done meanwhile: the same processes, not much larger, that serve."""
    connect(pgmux, user="scram", password=PASSWORDS["scram"]).close()
    before = {pid: psutil.Process(pid).memory_info().rss for pid in pgmux.worker_pids()}
    yield
    with connect(pgmux, user="scram", password=PASSWORDS["scram"]) as client:
        assert client.query("SELECT current_user").value == b"scram"
    after = {pid: psutil.Process(pid).memory_info().rss for pid in pgmux.worker_pids()}
    assert after.keys() == before.keys()
    assert all(after[pid] - before[pid] < 8 * MEGABYTE for pid in before)


def begin(wire: Wire, first: bytes = b"n,,n=,r=abcdef", mechanism: str = SCRAM) -> None:
    """The first message of SCRAM."""
    wire.read_message()
    wire.send(frontend.sasl_initial_response(mechanism, first))


def test_cve_2026_107350_a_start_up_packet_during_scram(pgmux: Pgmux) -> None:
    """There it let one in as somebody else, on a database that does not exist."""
    with unharmed(pgmux):
        for database in ("app", "nowhere"):
            with pgmux.wire() as wire:
                wire.send_startup(user="scram", database=database)
                begin(wire)
                wire.read_message()
                wire.socket.sendall(frontend.startup({"user": "postgres", "database": "app"}))
                assert wire.read_to_the_end().sqlstate == "08P01"


@pytest.mark.parametrize("options", ["-c=", "-c =", "-c", "--", "-c " * 3000, "\\" * 9000])
def test_cve_2026_107349_an_option_without_a_name(pgmux: Pgmux, options: str) -> None:
    """There it was an endless loop. Who has not logged in does not even hear of it."""
    with unharmed(pgmux):
        for password, expected in (("guessed", "28P01"), (PASSWORDS["scram"], "42601")):
            with pgmux.wire() as wire, pytest.raises(LoginRefusedError) as refused:
                wire.startup(user="scram", password=password, options=options)
            assert refused.value.sqlstate == expected


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, MEGABYTE, 65_536, 0, 3])
def test_cve_2026_107348_and_6668_a_length_that_overflows(pgmux: Pgmux, length: int) -> None:
    """There buffers grew beyond any bound, or the process hung."""
    with unharmed(pgmux):
        with pgmux.wire() as wire:
            wire.socket.sendall(length.to_bytes(4, "big") + b"\0\3\0\0user\0scram\0\0")
            assert wire.read_to_the_end().sqlstate == "08P01"
        for step in (0, 1):
            with pgmux.wire() as wire:
                wire.send_startup(user="scram", database="app")
                for _ in range(step):
                    begin(wire)
                wire.read_message()
                wire.socket.sendall(b"p" + length.to_bytes(4, "big") + bytes(5000))
                assert ends_in_a_refusal(wire)


def ends_in_a_refusal(wire: Wire) -> bool:
    try:
        return wire.read_to_the_end().sqlstate == "08P01"
    except (WireClosedError, ConnectionError):  # it had already closed when we were still sending
        return True


NONCES = {
    "empty": b"",
    "a comma": b"a,b",
    "a zero byte": b"a\0b",
    "not printable": b"\x01\x02",
    "not ASCII": "ä".encode(),
    "long": b"a" * 900,
    "longer than may be": b"a" * 2000,
}


@pytest.mark.parametrize("nonce", NONCES)
def test_cve_2026_19888_a_strange_nonce(pgmux: Pgmux, nonce: str) -> None:
    """There it crashed."""
    with unharmed(pgmux), pgmux.wire() as wire:
        wire.send_startup(user="scram", database="app")
        begin(wire, b"n,,n=,r=" + NONCES[nonce])
        if nonce in ("long", "a comma"):
            challenge = wire.read_message().body[4:]
            wire.send(frontend.sasl_response(b"c=biws,r=" + NONCES[nonce] + b",p=AAAA"))
            assert challenge.startswith(b"r=" + NONCES[nonce].split(b",")[0])
        assert wire.read_to_the_end().sqlstate == "08P01"


FIRST_MESSAGES = {
    "nothing": b"",
    "commas": b"," * 900,
    "only a header": b"n,,",
    "another's name": b"n,a=postgres,n=,r=abc",
    "no nonce": b"n,,n=postgres",
    "binding that was not offered": b"p=tls-unique,,n=,r=abc",
    "an extension that is mandatory": b"n,,m=x,n=,r=abc",
}
FINAL_MESSAGES = {
    "nothing": b"",
    "no proof": b"c=biws,r=%s",
    "an empty proof": b"c=biws,r=%s,p=",
    "a short proof": b"c=biws,r=%s,p=AAAA",
    "a long proof": b"c=biws,r=%s,p=" + b"A" * 900,
    "no base64": b"c=biws,r=%s,p=" + b"!" * 44,
    "another binding": b"c=eSws,r=%s,p=" + b"A" * 43 + b"=",
    "another nonce": b"c=biws,r=other%s,p=" + b"A" * 43 + b"=",
    "two proofs": b"c=biws,r=%s,p=AAAA,p=" + b"A" * 43 + b"=",
}


@pytest.mark.parametrize("message", FIRST_MESSAGES)
def test_cve_2026_6664_to_6667_a_first_message_of_scram(pgmux: Pgmux, message: str) -> None:
    """There its parser wrote beyond its buffers."""
    with unharmed(pgmux), pgmux.wire() as wire:
        wire.send_startup(user="scram", database="app")
        begin(wire, FIRST_MESSAGES[message])
        assert wire.read_to_the_end().sqlstate == "08P01"


@pytest.mark.parametrize("message", FINAL_MESSAGES)
def test_cve_2026_6664_to_6667_a_last_message_of_scram(pgmux: Pgmux, message: str) -> None:
    with unharmed(pgmux), pgmux.wire() as wire:
        wire.send_startup(user="scram", database="app")
        begin(wire)
        nonce = wire.read_message().body[4:].split(b",")[0][2:]
        final = FINAL_MESSAGES[message]
        wire.send(frontend.sasl_response(final % nonce if b"%s" in final else final))
        assert wire.read_to_the_end().sqlstate in ("08P01", "28P01")


def test_cve_2026_6669_iterations_without_a_bound(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """There a server, or a verifier, could make it compute for hours."""
    verifier = f"{SCRAM}$2000000000:MDEyMzQ1Njc4OWFiY2RlZg==${'A' * 43}=:{'A' * 43}="
    pgmux = make_pgmux(passwords={"scram": verifier}, auth_type="scram-sha-256", is_started=False)
    pgmux.launch()
    assert pgmux.wait_until_stopped() != 0
    assert pgmux.log_contains("the iteration count must be a number from 1 to 1,000,000")
    asked = make_pgmux(
        auth_type="scram-sha-256", auth_user="app", auth_query=f"SELECT $1::text, '{verifier}'"
    )
    with asked.wire() as wire, pytest.raises(LoginRefusedError) as refused:
        wire.startup(user="scram", password="x")
    assert refused.value.sqlstate == "57P03"
