"""A backend whose lease is another's: however that came about, it is not used, nor handed on, nor given up.

No way is known for it to come about; here the lease word is moved behind the relay's back.
"""

from __future__ import annotations

from pgmux.relay.endpoint import ClientPhase
from pgmux.shm.leases import Phase, Verb
from tests.relay.conftest import MakeRig
from tests.relay.rig import DONE, READY, Peer, Rig
from tests.wire import frontend

ONE = frontend.query("SELECT 1")


NOBODY = 0xFF


def steal(rig: Rig, slot: int) -> None:
    """Worker 0's lease becomes worker 1's, whoever waits."""
    assert rig.world.leases.try_move(slot, Verb.RELEASE, NOBODY)
    assert rig.world.leases.try_move(slot, Verb.TAKE, 1)


def attach(rig: Rig) -> tuple[Peer, int, Peer]:
    """A client of worker 0 that has a backend, and waits for the end of a cancel before anything is sent there."""
    backend, slot = rig.open()
    rig.relays[0].expect_cancel(slot)
    application, client = rig.connect()
    application.send(ONE)
    rig.run()
    assert (client.phase, rig.world.owner(slot)) == (ClientPhase.LEASED, 0)
    assert backend.received() == b""
    return backend, slot, application


def test_a_client_is_given_another_backend_before_a_byte_is_sent(make_rig: MakeRig) -> None:
    rig = make_rig(workers=2, pool_size=2)
    stolen, slot, application = attach(rig)
    steal(rig, slot)
    rig.relays[0].cancel_settled(slot, rig.world.pools.generation(slot))
    rig.run()
    assert ("handed on twice", slot) in rig.news[0]
    backend, _ = rig.open()
    rig.run()
    assert backend.received() == ONE
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY
    assert stolen.received() == b""
    assert (rig.world.phase(slot), rig.world.owner(slot)) == (Phase.LEASED, 1)


def test_a_backend_that_is_being_closed_comes_to_its_end_though_a_client_had_it(make_rig: MakeRig) -> None:
    rig = make_rig(pool_size=2)
    closing, slot, application = attach(rig)
    rig.relays[0].close_backend(slot)
    rig.relays[0].cancel_settled(slot, rig.world.pools.generation(slot))
    rig.run()
    assert ("handed on twice", slot) in rig.news[0]
    assert rig.world.phase(slot) is Phase.CLOSING
    closing.close()
    rig.run()
    assert rig.world.phase(slot) is Phase.EMPTY
    backend, _ = rig.open()
    rig.run()
    assert backend.received() == ONE
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY


def test_a_backend_that_has_become_anothers_is_not_handed_on(make_rig: MakeRig) -> None:
    rig = make_rig(workers=2)
    backend, slot = rig.open()
    application, client = rig.connect()
    waiting, parked = rig.connect()
    for asking in (application, waiting):
        asking.send(ONE)
        rig.run()
    assert (client.phase, parked.phase) == (ClientPhase.LEASED, ClientPhase.PARKED)
    backend.received()
    steal(rig, slot)
    backend.send(DONE, READY)
    rig.run()
    assert ("handed on twice", slot) in rig.news[0]
    assert parked.phase is ClientPhase.PARKED
    assert backend.received() == b""
    assert (rig.world.phase(slot), rig.world.owner(slot)) == (Phase.LEASED, 1)
