"""Two segments at once: what is in use in the one is set aside in the other."""

from __future__ import annotations

import time
from typing import Any

from pgmux.shm.crossing import Crossing
from pgmux.shm.leases import Phase
from pgmux.shm.survey import Standing, Survey
from pgmux.supervisor.cargo import Cargo, ClientRow, State
from tests.shm.world import World


def now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def outdated(world: World) -> int:
    rows, *_ = Survey(world.segment).take()
    return sum(row["outdated"] for row in rows)


def arrive(world: World, slot: int, pool: int, opened_at_us: int) -> None:
    """A backend comes to a slot that was set aside."""
    crossing = Crossing(world.pools)
    cargo = Cargo(
        State.IDLE, b"app", b"app", 7, b"key!", opened_at_us=opened_at_us, expires_s=0,
        address=b"127.0.0.1", local_address=b"127.0.0.1",
    )  # fmt: skip
    crossing.introduce(slot, cargo, 0)
    crossing.open_to_all(slot, pool)


def test_what_is_set_aside_counts_and_nobody_opens_there(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    assert crossing.set_aside(0, pool, 0, 0)
    assert world.open(pool, 0) == 1
    assert world.open(pool, 0) is None
    assert crossing.vacate(0)
    assert world.open(pool, 0) == 0


def test_reconnect_means_what_is_set_aside_too(world: World) -> None:
    pool = world.pool(3)
    crossing = Crossing(world.pools)
    for slot in (0, 1):
        crossing.set_aside(slot, pool, 0, 0)
    assert outdated(world) == 0
    opened_before = now_us()
    world.pools.renewal.reconnect(world.pools.database_record(pool))
    assert outdated(world) == 2
    arrive(world, 0, pool, opened_before)  # it was shipped before who shipped it had heard
    assert outdated(world) == 2
    arrive(world, 1, pool, now_us() + 1)
    assert outdated(world) == 1


def test_what_was_outdated_elsewhere_is_so_here(world: World) -> None:
    pool = world.pool(2)
    Crossing(world.pools).set_aside(0, pool, 0, 1)
    assert outdated(world) == 1


def test_a_worker_takes_what_was_ceded_and_the_regent_what_was_not_wanted(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    crossing.leave()
    for slot in range(world.leases.count):
        assert crossing.seize_empty(slot)
    assert world.open(pool, 0) is None
    assert crossing.cede(3, pool)
    assert crossing.cede(4, pool)
    assert world.pools.open(pool, 1) == 3
    assert not crossing.take_ceded(3)
    assert crossing.take_ceded(4)
    assert world.leases.read(3)[:2] == (Phase.OPENING, 1)


def test_the_regent_takes_from_no_worker_what_that_is_opening(world: World) -> None:
    pool = world.pool(2)
    crossing = Crossing(world.pools)
    crossing.leave()
    assert crossing.seize_empty(0)
    assert crossing.cede(0, pool)
    assert world.pools.open(pool, 1) == 0
    crossing.shelve(0)
    assert not crossing.seize_empty(0)
    assert not crossing.seize_free(0)
    assert world.leases.read(0)[:2] == (Phase.OPENING, 1)


def test_a_client_that_is_away_keeps_its_number(world: World) -> None:
    assert world.clients.set_aside(5)
    world.clients.note_away(0, row(5, serial=3))
    number = world.clients.number_of(5)
    assert number == 2 * world.segment.client_count + 6
    assert world.clients.find_away(number) == 5
    assert world.clients.find_number(number) is None
    assert world.clients.find_away(number + 1) is None
    assert world.clients.find_away(0) is None
    assert world.clients.free_away(5)
    assert world.clients.find_away(number) is None


def test_what_is_told_of_a_client_that_is_still_to_come_is_seen(world: World) -> None:
    pool = world.pool(2)
    Crossing(world.pools).set_aside(1, pool, 0, 0)
    world.clients.set_aside(5)
    (counted,), logging_in, records, _ = Survey(world.segment).take()
    assert (logging_in, records, counted["opening"], counted["serving"]) == (1, 1, 1, 0)
    world.clients.note_away(pool, row(5, phase=Standing.SERVED, slot=1))
    (counted,), logging_in, records, _ = Survey(world.segment).take()
    assert (logging_in, records, counted["served"]) == (0, 1, 1)
    assert (counted["opening"], counted["serving"]) == (0, 1)
    seen = world.clients.read(5)
    assert seen is not None
    assert (seen["worker"], seen["pool"], seen["slot"], seen["user"]) == (None, pool, 1, b"me")
    world.clients.note_away(pool, row(5, phase=Standing.IDLE))
    (counted,), *_ = Survey(world.segment).take()
    assert (counted["idle"], counted["opening"], counted["serving"]) == (1, 1, 0)


def test_nobody_writes_into_the_record_of_a_client_that_has_come(world: World) -> None:
    world.clients.set_aside(5)
    assert world.clients.settle(5, 2, b"key!", 7, row(5))
    world.clients.note_away(0, row(5, phase=Standing.SERVED, application_name=b"late"))
    seen = world.clients.read(5)
    assert seen is not None
    assert (seen["worker"], seen["application_name"], seen["connected_at_us"]) == (2, b"mine", 7)


def test_a_roll_tells_what_is_new_and_nothing_of_who_has_gone_over(world: World) -> None:
    records = [world.clients.try_claim(0) for _ in range(3)]
    assert records == [0, 1, 2]
    for record in (0, 1):
        world.clients.introduce(record, b"127.0.0.1", 1)
        world.clients.admit(record, b"key!", 0, b"mine")
    roll = [ClientRow(**each) for each in world.clients.roll({})]
    assert [each.record for each in roll] == [0, 1, 2]
    told = {each.record: each.moment for each in roll}
    assert world.clients.roll(told) == []
    world.clients.admit(2, b"key!", 0, b"late")
    assert [each["application_name"] for each in world.clients.roll(told)] == [b"late"]
    assert world.clients.send_over(1, 0)
    world.clients.has_gone_over(1, 0)
    assert [each["record"] for each in world.clients.roll({})] == [0, 2]
    assert world.clients.read(1) is None
    assert world.clients.find(1, b"key!") is None
    *_, records_in_use, _ = Survey(world.segment).take()
    assert records_in_use == 2


def test_a_client_whose_worker_dies_before_it_has_sent_it_over_is_told_to_be_gone(world: World) -> None:
    assert [world.clients.try_claim(worker) for worker in (0, 0, 1)] == [0, 1, 2]
    assert world.clients.send_over(0, 0)
    assert world.clients.send_over(1, 0)
    world.clients.has_gone_over(1, 0)
    assert world.clients.read(0) is None
    assert world.clients.expel(0) == 1
    assert world.clients.unused_of([0, 1, 2]) == [0]


def test_a_client_that_could_not_be_sent_over_is_its_workers_as_before(world: World) -> None:
    record = world.clients.try_claim(3)
    assert record is not None
    assert world.clients.send_over(record, 3)
    world.clients.call_back(record, 3)
    seen = world.clients.read(record)
    assert seen is not None
    assert seen["worker"] == 3


def row(record: int, **fields: Any) -> ClientRow:
    """What a roll tells of a client."""
    known: dict[str, Any] = dict.fromkeys(ClientRow.__struct_fields__, 0)
    known |= {"serial": 1, "phase": Standing.IDLE, "slot": -1, "address": b"127.0.0.1", "user": b"me"}
    return ClientRow(**{**known, "application_name": b"mine", "record": record, **fields})
