"""Handshakes in the middle of a relay's work."""

from __future__ import annotations

import ssl

import pytest

from pgmux.relay.tls_context import TlsContext
from tests.relay.conftest import MakeRig
from tests.relay.rig import DONE, READY, Peer, Rig
from tests.servers.certificates import Authority
from tests.wire.frontend import query, ssl_request, startup


@pytest.fixture
def rig(make_rig: MakeRig, authority: Authority) -> Rig:
    """One worker with one backend, which offers TLS."""
    rig = make_rig(tcp=True)
    certificate = authority.certify()
    [relay] = rig.relays
    relay.tls = TlsContext(True, cert_file=certificate.cert_file, key_file=certificate.key_file)
    relay.tls_mode = "prefer"
    return rig


class Newcomer:
    """A client of Python's own TLS, that speaks through a Peer when it is told to."""

    def __init__(self, rig: Rig, authority: Authority, *, direct: bool = False) -> None:
        self.peer: Peer = rig.approach()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = authority.trusting(direct=direct).wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )
        if not direct:
            self.peer.send(ssl_request())
            rig.run()
            assert self.peer.received() == b"S"

    def shake_hands(self) -> bool:
        """One step of the handshake. Whether it is done."""
        self._incoming.write(self.peer.received())
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.speak()
        return True

    def speak(self, *data: bytes) -> None:
        for each in data:
            self.ssl.write(each)
        if said := self._outgoing.read():
            self.peer.send(said)

    def received(self) -> bytes:
        self._incoming.write(self.peer.received())
        received = b""
        while True:
            try:
                received += self.ssl.read(65536)
            except ssl.SSLWantReadError:
                return received


def test_queries_go_before_handshakes(rig: Rig, authority: Authority) -> None:
    """Each look at the epoll serves every query that came, and one step of one handshake."""
    resident, _ = rig.connect()
    backend, _ = rig.open()
    newcomers = [Newcomer(rig, authority) for _ in range(20)]
    for newcomer in newcomers:
        newcomer.shake_hands()
    resident.send(query("SELECT 1"))
    [relay] = rig.relays
    relay.slice_us = 1  # one look a run
    looks, asked = 0, b""
    while not asked:
        relay.run(0)
        looks += 1
        asked = backend.received()
    assert asked == query("SELECT 1")
    answered = [newcomer for newcomer in newcomers if newcomer.peer.received()]
    assert len(answered) <= looks < 20
    backend.send(DONE, READY)
    relay.run(0)
    relay.run(0)
    assert resident.received() == DONE + READY


@pytest.mark.parametrize("direct", [False, True])
def test_every_handshake_has_its_turn(rig: Rig, authority: Authority, direct: bool) -> None:
    newcomers = [Newcomer(rig, authority, direct=direct) for _ in range(10)]
    for _ in range(3):
        for newcomer in newcomers:
            newcomer.shake_hands()
        for _ in range(10):
            rig.run()
    assert all(newcomer.shake_hands() for newcomer in newcomers)
    for newcomer in newcomers:
        newcomer.speak(startup({"user": "app"}))
    for _ in range(10):
        rig.run()
    assert all(newcomer.received().endswith(READY) for newcomer in newcomers)


def test_what_follows_the_handshake_at_once_is_not_forgotten(rig: Rig, authority: Authority) -> None:
    """The end of the handshake, the log-in and the first query, all in one piece."""
    backend, _ = rig.open()
    newcomer = Newcomer(rig, authority)
    newcomer.shake_hands()
    rig.run()
    newcomer._incoming.write(newcomer.peer.received())
    newcomer.ssl.do_handshake()
    newcomer.speak(startup({"user": "app"}), query("SELECT 1"))
    rig.run()
    assert backend.received() == query("SELECT 1")
    backend.send(DONE, READY)
    rig.run()
    assert newcomer.received().endswith(READY)


def test_a_newcomer_that_left_in_the_queue_is_passed_over(rig: Rig, authority: Authority) -> None:
    newcomers = [Newcomer(rig, authority) for _ in range(5)]
    for newcomer in newcomers:
        newcomer.shake_hands()
    for newcomer in newcomers[::2]:
        newcomer.peer.close()
    for _ in range(5):
        rig.run()
    assert [bool(newcomer.peer.received()) for newcomer in newcomers[1::2]] == [True, True]
    [relay] = rig.relays
    assert relay.client_count == 2
