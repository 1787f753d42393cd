"""What a survey counts, while relays do what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgmux.relay.endpoint import ClientPhase
from pgmux.shm.survey import Standing, Survey
from tests.relay.rig import DONE, IN_TRANSACTION, POOL, READY, Rig
from tests.wire import frontend


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    rig = Rig(tmp_path, workers=2, pool_size=2)
    yield rig
    rig.close()


def counts(rig: Rig) -> dict[str, int]:
    """What is not zero."""
    pools, logging_in, records, _ = Survey(rig.world.segment).take()
    found = {name: value for name, value in pools[POOL].items() if isinstance(value, int) and value}
    for known in ("pool_size", "longest_wait_us"):
        found.pop(known, None)
    return found | {"logging_in": logging_in, "records": records}


def test_standings_are_the_phases_of_the_relay() -> None:
    assert [int(standing) for standing in Standing] == [int(phase) for phase in ClientPhase]


def test_clients_are_counted_by_what_they_do(rig: Rig) -> None:
    assert counts(rig) == {"logging_in": 0, "records": 0}
    peers = [rig.connect(number % 2)[0] for number in range(3)]
    assert counts(rig) == {"idle": 3, "logging_in": 0, "records": 3}
    rig.open()
    for peer in peers[:2]:
        peer.send(frontend.query("SELECT 1"))
    rig.run()
    assert counts(rig) == {"idle": 1, "served": 1, "waiting": 1, "serving": 1, "logging_in": 0, "records": 3}
    assert Survey(rig.world.segment).take()[0][POOL]["longest_wait_us"] > 0


def test_backends_are_counted_by_what_becomes_of_them(rig: Rig) -> None:
    server, slot = rig.open()
    client, _ = rig.connect()
    assert counts(rig) == {"idle": 1, "free": 1, "logging_in": 0, "records": 1}
    client.send(frontend.query("BEGIN"))
    rig.run()
    server.send(DONE, IN_TRANSACTION)
    rig.run()
    client.close()
    rig.run()
    assert counts(rig) == {"cleaning": 1, "logging_in": 0, "records": 0}
    rig.world.pools.count_cancel(slot, +1)
    assert counts(rig) == {"being_cancelled": 1, "cancels": 1, "logging_in": 0, "records": 0}
    rig.world.pools.count_cancel(slot, -1)
    server.send(DONE, READY, READY)  # to its ROLLBACK, and to the Sync after it
    rig.run()
    for word, _ in rig.news[0]:
        if word == "cancel":
            rig.relays[0].cancel_settled(slot, rig.world.pools.generation(slot))
    assert counts(rig) == {"free": 1, "logging_in": 0, "records": 0}
    rig.world.pools.renewal.reconnect(rig.world.pools.board.register(b"app"))
    assert counts(rig) == {"free": 1, "outdated": 1, "logging_in": 0, "records": 0}
    assert rig.world.pools.open(POOL, 1) >= 0
    assert counts(rig) == {"free": 1, "outdated": 1, "opening": 1, "logging_in": 0, "records": 0}


def test_a_client_s_number_is_never_another_s(rig: Rig) -> None:
    numbers = set()
    for _ in range(5):
        peer, client = rig.connect()
        number = rig.relays[0].records.number_of(client.record)
        assert rig.relays[1].records.find_number(number) == (client.record, 0)
        numbers.add(number)
        peer.close()
        rig.run()
        assert rig.relays[1].records.find_number(number) is None
    assert len(numbers) == 5
    assert rig.relays[0].records.find_number(0) is None
    assert rig.relays[0].records.mark == 1
