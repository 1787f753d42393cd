"""Notifications between a client's own messages: at once, at its transaction's end, or when it has room."""

from __future__ import annotations

import socket

from pgmux.relay.endpoint import ClientPhase
from tests.relay.conftest import MakeRig
from tests.relay.rig import DONE, ERROR, IN_TRANSACTION, POOL, READY, Peer, Rig
from tests.wire import Message, frontend, split_messages
from tests.wire.frontend import message

SELECT = frontend.query("SELECT 1")
KEPT_BYTES = 4 << 20


def news(number: int, channel: bytes = b"news", size: int = 0) -> bytes:
    return message(b"A", b"\0\0\0\7" + channel + b"\0" + b"%d" % number + b" " * size + b"\0")


def test_an_idle_client_is_told_at_once(make_rig: MakeRig) -> None:
    rig = make_rig()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    rig.relays[0].notify(client.record, news(1))
    rig.relays[0].notify(client.record, news(2))
    assert application.received() == news(1) + news(2)


def test_a_client_that_waits_for_a_backend_is_told_at_once(make_rig: MakeRig) -> None:
    rig = make_rig()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    application.send(SELECT)
    rig.run()
    assert client.phase is ClientPhase.PARKED
    rig.relays[0].notify(client.record, news(1))
    assert application.received() == news(1)


def test_nothing_comes_between_the_messages_of_a_transaction(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    answers = [message(b"D", b"first half, second half"), DONE, IN_TRANSACTION]
    application.send(SELECT)
    rig.run()
    for answer in answers:
        backend.send(answer[:3])
        rig.run()
        rig.relays[0].notify(client.record, news(1))
        backend.send(answer[3:])
        rig.run()
    assert application.received() == b"".join(answers)
    application.send(SELECT)
    rig.run()
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY + 3 * news(1)


def test_what_was_kept_of_a_channel_is_dropped_with_it(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    application, client = rig.connect()
    client.channels = frozenset({b"a", b"b"})
    application.send(SELECT)
    rig.run()
    notice = message(b"N", b"SWARNING\0C01000\0Mnews\0\0")
    for each in (news(1, b"a"), notice, news(2, b"b"), news(3, b"a")):
        rig.relays[0].notify(client.record, each)
    rig.relays[0].drop_notifications(client.record, {b"a"})
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY + notice + news(2, b"b")


def test_a_client_whose_backend_dies_after_its_transaction_is_told_what_was_kept(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    application.send(SELECT)
    rig.run()
    rig.relays[0].notify(client.record, news(1))
    backend.send(DONE, READY)
    backend.close()
    rig.run()
    assert application.received() == DONE + READY + news(1)
    assert client.phase is ClientPhase.IDLE


def test_a_client_that_reads_slowly_gets_all_in_order(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, _ = rig.open()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    for number in range(300):
        rig.relays[0].notify(client.record, news(number, size=8000))
    application.send(SELECT)
    heard = b""
    while client.phase is not ClientPhase.LEASED:
        heard += application.received()
        rig.run()
    rig.relays[0].notify(client.record, news(300))
    backend.send(DONE, READY)
    while not heard.endswith(news(300)):
        heard += application.received()
        rig.run()
    told = [each for each in messages(heard) if each.type == b"A"]
    assert [int(each["payload"]) for each in told] == list(range(301))
    assert heard.count(DONE + READY) == 1


def test_a_client_that_reads_nothing_is_sent_off_and_the_worker_told(make_rig: MakeRig) -> None:
    rig = make_rig()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    count = flood(rig, client.record)
    rig.run()
    assert ("overrun", client) in rig.news[0]
    assert client.phase is ClientPhase.LEAVING
    heard = read_all(rig, application)
    assert heard.endswith(ERROR)
    counted = rig.counters().read(0, POOL)
    assert counted["notifications"] == len(messages(heard)) - 1 < count
    assert counted["notifications_dropped"] * len(news(1, size=8000)) > KEPT_BYTES


def test_a_client_that_is_in_a_transaction_for_too_long_is_sent_off_at_its_end(make_rig: MakeRig) -> None:
    rig = make_rig()
    backend, slot = rig.open()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    application.send(SELECT)
    rig.run()
    flood(rig, client.record)
    rig.run()
    assert client.phase is ClientPhase.LEASED
    backend.send(DONE, IN_TRANSACTION)
    rig.run()
    assert application.received() == DONE + IN_TRANSACTION
    application.send(SELECT)
    rig.run()
    backend.send(DONE, READY)
    rig.run()
    assert application.received() == DONE + READY + ERROR
    assert rig.world.leases.read(slot)[0].name == "FREE"


def test_who_has_gone_or_has_not_come_is_not_told(make_rig: MakeRig) -> None:
    rig = make_rig()
    application, client = rig.connect()
    client.channels = frozenset({b"news"})
    record = client.record
    rig.relays[0].notify(record + 1, news(1))
    rig.relays[0].send_off(client, ERROR)
    rig.relays[0].notify(record, news(1))
    assert application.received() == ERROR
    application.close()
    rig.run()
    rig.relays[0].notify(record, news(1))
    rig.relays[0].drop_notifications(record, {b"news"})


def test_who_has_the_record_of_one_that_listened_is_not_told(make_rig: MakeRig) -> None:
    """The one before has left, which the audience has yet to hear."""
    rig = make_rig()
    application, client = rig.connect()
    rig.relays[0].notify(client.record, news(1))
    client.channels = frozenset({b"other news"})
    rig.relays[0].notify(client.record, news(2))
    rig.relays[0].send_off(client, ERROR)
    assert application.received() == ERROR


def messages(heard: bytes) -> list[Message]:
    """Whole messages and nothing else."""
    whole, rest = split_messages(heard, "server")
    assert rest == b""
    return whole


def flood(rig: Rig, record: int) -> int:
    """Notifies a client of more than is kept for it, and gives how many notifications that was."""
    size = 8000
    count = 2 * KEPT_BYTES // size
    for number in range(count):
        rig.relays[0].notify(record, news(number, size=size))
    return count


def read_all(rig: Rig, application: Peer) -> bytes:
    """All that the client is told to the end."""
    heard = b""
    while True:
        heard += application.received()
        rig.run()
        try:
            if application.socket.recv(1, socket.MSG_PEEK) == b"":
                return heard
        except BlockingIOError:
            pass
