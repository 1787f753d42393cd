"""Client records: as many as max_client_conn, exactly, over all workers, and a few spare ones."""

from __future__ import annotations

import pytest

from pgmux.shm.clients import Clients
from pgmux.shm.segment import SPARE_CLIENTS, Segment
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.tally import Tally
from tests.shm.world import World

LIMIT = 20
KEY = b"4711"


def admit(world: World, record: int, secret: bytes, **more: int) -> None:
    world.clients.introduce(record, b"127.0.0.1", 5433)
    world.clients.admit(record, secret, more.get("pool", 0), b"psql")


def claim_all(clients: Clients, worker: int) -> list[int]:
    claimed = []
    while (record := clients.try_claim(worker)) is not None:
        claimed.append(record)
    return claimed


def test_records_below_the_limit_come_first_then_the_spare_ones_then_none(world: World) -> None:
    claimed = claim_all(world.clients, 1)
    assert world.clients.limit == world.segment.client_limit == LIMIT
    assert sorted(claimed[:LIMIT]) == list(range(LIMIT))
    assert claimed[LIMIT:] == list(range(LIMIT, LIMIT + SPARE_CLIENTS))
    assert world.segment.client_count == LIMIT + SPARE_CLIENTS


def test_a_record_given_back_below_the_limit_is_found_again_before_any_spare_one(world: World) -> None:
    claim_all(world.clients, 1)
    for record in (7, LIMIT + 3):
        world.clients.give_back(record)
    assert claim_all(world.clients, 2) == [7, LIMIT + 3]


def test_records_in_use_are_found_one_after_the_other(world: World) -> None:
    claim_all(world.clients, 1)
    for record in range(LIMIT + SPARE_CLIENTS):
        if record not in (3, 4, 11):
            world.clients.give_back(record)
    assert [world.clients.next_used(record) for record in (0, 3, 4, 5, 12)] == [3, 3, 4, 11, None]
    assert world.clients.mark == LIMIT + SPARE_CLIENTS


def test_another_process_finds_the_record_that_one_has_given_back(world: World) -> None:
    claim_all(world.clients, 1)
    world.clients.give_back(11)
    other = Clients(Segment.attach(world.path, writable=True))
    assert other.try_claim(2) == 11


def test_limit_is_exact_when_many_processes_accept_at_once(make_world: MakeWorld, family: Family) -> None:
    limit = 500
    world = make_world(clients=limit)
    claims = Tally(limit + SPARE_CLIENTS)

    def accept(worker: int) -> None:
        for record in claim_all(Clients(world.segment), worker):
            claims[record] += 1

    for worker in range(4):
        family.fork(accept, worker)
    family.end_well()
    assert claims.all() == [1] * (limit + SPARE_CLIENTS)


def test_a_cancel_key_leads_to_the_worker_that_holds_the_client(world: World) -> None:
    record = world.clients.try_claim(3)
    assert record is not None
    assert world.clients.find(record, KEY) is None
    admit(world, record, KEY)
    assert world.clients.find(record, KEY) == 3
    for wrong in (b"", b"4710", KEY * 2, KEY[:3], b"\0\0\0\0", bytes(256)):
        assert world.clients.find(record, wrong) is None
    assert world.clients.find(record + 1, KEY) is None


def test_a_long_key_counts_in_all_its_bytes(world: World) -> None:
    record = world.clients.try_claim(3)
    assert record is not None
    key = bytes(range(1, 33))
    admit(world, record, key)
    assert world.clients.find(record, key) == 3
    for at in range(32):
        wrong = key[:at] + bytes([key[at] ^ 1]) + key[at + 1 :]
        assert world.clients.find(record, wrong) is None
    for wrong in (key[:4], key[:31], key + b"\0"):
        assert world.clients.find(record, wrong) is None
    for length in (1, 3, 33):
        with pytest.raises(ValueError, match=f"not {length}"):
            admit(world, record, bytes(length))


def test_a_key_that_names_no_record_is_no_key(world: World) -> None:
    for record in (LIMIT + SPARE_CLIENTS, 0xFFFF_FFFF):
        assert world.clients.find(record, KEY) is None


def test_a_client_that_has_gone_takes_its_key_with_it(world: World) -> None:
    record = world.clients.try_claim(3)
    assert record is not None
    admit(world, record, KEY)
    world.clients.give_back(record)
    assert world.clients.find(record, KEY) is None
    assert world.clients.try_claim(2) == record
    assert world.clients.find(record, KEY) is None
    assert world.clients.find(record, b"") is None


def test_record_tells_who_the_client_is(world: World) -> None:
    record = world.clients.try_claim(2)
    assert record is not None
    world.clients.introduce(record, b"::1", 65535)
    world.clients.admit(record, KEY, 3, "grüße".encode())
    told = world.clients.read(record)
    assert told is not None
    assert (told["client"], told["worker"], told["pool"], told["slot"]) == (record, 2, 3, None)
    assert (told["address"], told["port"], told["application_name"]) == (b"::1", 65535, "grüße".encode())
    assert told["transactions"] == 0
    assert told["connected_at_us"] == told["since_us"] > 0
    assert world.clients.snapshot() == [told]


def test_long_names_are_cut_and_leave_nothing_of_the_last_client_behind(world: World) -> None:
    record = world.clients.try_claim(2)
    assert record is not None
    world.clients.introduce(record, b"a" * 100, 1)
    world.clients.admit(record, KEY, 0, b"n" * 100)
    told = world.clients.read(record)
    assert told is not None
    assert (told["address"], told["application_name"]) == (b"a" * 63, b"n" * 63)
    world.clients.introduce(record, b"b", 1)
    world.clients.admit(record, KEY, 0, b"")
    told = world.clients.read(record)
    assert told is not None
    assert (told["address"], told["application_name"]) == (b"b", b"")


def test_records_nobody_holds_are_not_listed(world: World) -> None:
    assert world.clients.snapshot() == []
    assert world.clients.read(0) is None
    with pytest.raises(IndexError):
        world.clients.read(LIMIT + SPARE_CLIENTS)


def test_a_dead_worker_s_clients_are_forgotten_and_no_other_s(world: World) -> None:
    records = {worker: [world.clients.try_claim(worker) for _ in range(5)] for worker in (0, 1, 2)}
    assert world.clients.expel(1) == 5
    assert world.clients.expel(1) == 0
    assert {told["worker"] for told in world.clients.snapshot()} == {0, 2}
    again = [world.clients.try_claim(3) for _ in range(LIMIT - 10)]
    assert set(records[1]) <= set(again)
    assert max(record for record in again if record is not None) < LIMIT


GIVER, HEIR, SECRET = 0, 1, b"4711"


def handed_over(world: World) -> tuple[int, int]:
    """A record on its way from one worker to another, and when its client came."""
    record = world.clients.try_claim(GIVER)
    assert record is not None
    world.clients.admit(record, SECRET, 0, b"")
    row = world.clients.read(record)
    assert row is not None
    assert world.clients.hand_over(record, GIVER, HEIR)
    return record, row["connected_at_us"]


def test_a_client_on_its_way_is_the_heirs_to_receive_once(world: World) -> None:
    record, since = handed_over(world)
    assert world.clients.find(record, SECRET) == HEIR
    assert not world.clients.receive(record, GIVER, HEIR, since + 1, SECRET)
    assert not world.clients.receive(record, GIVER, HEIR, since, b"4712")
    assert not world.clients.receive(record, HEIR, GIVER, since, SECRET)
    assert world.clients.receive(record, GIVER, HEIR, since, SECRET)
    assert not world.clients.receive(record, GIVER, HEIR, since, SECRET)
    assert not world.clients.take_back(record, GIVER, HEIR)


@pytest.mark.parametrize("dead", [GIVER, HEIR])
def test_a_client_on_its_way_is_lost_with_either_end(world: World, dead: int) -> None:
    record, since = handed_over(world)
    assert world.clients.expel(dead) == 1
    assert world.clients.read(record) is None
    assert not world.clients.receive(record, GIVER, HEIR, since, SECRET)


@pytest.mark.parametrize("left", [GIVER, HEIR])
def test_a_client_on_its_way_outlives_a_worker_that_leaves_in_order(world: World, left: int) -> None:
    record, since = handed_over(world)
    assert world.clients.expel(left, keeps_coming=True) == 0
    assert world.clients.receive(record, GIVER, HEIR, since, SECRET)


def test_a_client_that_could_not_be_sent_is_the_givers_again(world: World) -> None:
    record, since = handed_over(world)
    assert world.clients.take_back(record, GIVER, HEIR)
    assert not world.clients.receive(record, GIVER, HEIR, since, SECRET)
    assert world.clients.find(record, SECRET) == GIVER
