"""The board: what the operator has said of a database, and what SET has changed, for all to read."""

from __future__ import annotations

import pytest

from pgmux.shm.board import Board, BoardFull
from pgmux.shm.leases import Phase
from pgmux.shm.pools import POOL_PAUSED, Pools
from pgmux.shm.segment import Segment
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family
from tests.shm.world import World


@pytest.fixture
def board(world: World) -> Board:
    return world.pools.board


def test_a_database_has_one_record_whoever_names_it_first(world: World, board: Board) -> None:
    app = board.register(b"app")
    world.pools.register(b"other", b"alice", 1)
    assert board.register(b"app") == app
    assert board.find(b"app") == app
    assert board.find(b"other") != app
    assert board.find(b"nobody asked for it") is None
    assert board.read(app) == {
        "database": app,
        "name": b"app",
        "is_paused": False,
        "is_disabled": False,
        "killed_at_us": 0,
        "reconnect_at_us": 0,
    }
    assert board.read(3) is None
    with pytest.raises(IndexError):
        board.read(10_000)


def test_names_are_cut_as_those_of_pools_are(world: World, board: Board) -> None:
    pool = world.pools.register(b"d" * 70, b"alice", 1)
    record = board.register(b"d" * 64)
    board.pause(record)
    assert world.pools.is_pool_paused(pool)


def test_what_one_process_writes_every_other_reads(world: World, board: Board, family: Family) -> None:
    def speak() -> None:
        app = board.register(b"app")
        board.pause(app)
        board.disable(app)
        board.kill(app)
        board.reconnect(app)

    family.fork(speak)
    family.end_well()
    reader = Board(Segment.attach(world.path))
    database = reader.find(b"app")
    assert database is not None
    told = reader.read(database)
    assert told is not None
    assert told["is_paused"]
    assert told["is_disabled"]
    assert 0 < told["killed_at_us"] <= told["reconnect_at_us"]
    board.resume(database)
    board.enable(database)
    told = reader.read(database)
    assert told is not None
    assert not told["is_paused"]
    assert not told["is_disabled"]


def test_kill_all_reaches_databases_that_are_named_later(board: Board) -> None:
    app = board.register(b"app")
    board.kill(app)
    board.kill_all()
    later = board.register(b"later")
    told = [board.read(database) for database in (app, later)]
    assert all(row is not None and row["killed_at_us"] > 0 for row in told)


def test_too_many_databases_are_an_error_that_says_what_to_do(make_world: MakeWorld) -> None:
    board = make_world(pools=1).pools.board
    for number in range(65):
        board.pause(board.register(b"%d" % number))
    with pytest.raises(BoardFull, match="raise max_pools"):
        board.register(b"one too many")
    assert board.register(b"64") == 64


def test_who_asks_for_ever_new_databases_gets_the_records_of_those_nobody_uses(
    make_world: MakeWorld,
) -> None:
    world = make_world(pools=1)
    board = world.pools.board
    board.disable(board.register(b"disabled"))
    world.pools.register(b"in use", b"alice", 1)
    for number in range(200):
        board.register(b"%d" % number)
    names = [row["name"] for row in board.rows()]
    assert names[:2] == [b"disabled", b"in use"]
    assert sorted(names[2:]) == sorted(b"%d" % number for number in range(137, 200))
    assert board.find(b"0") is None
    assert board.rows()[0]["is_disabled"]


# --- a database's pause


def test_a_paused_database_leases_nothing_and_the_others_go_on(world: World, board: Board) -> None:
    app, other = world.pool(2, "app", backends=2), world.pool(2, "other", backends=1)
    slot = world.take(app, 0)
    board.pause(board.register(b"app"))
    assert world.pools.is_pool_paused(app)
    assert not world.pools.is_pool_paused(other)
    assert not world.pools.is_paused
    assert world.pools.try_take(app, 1) is None
    assert world.pools.try_take(other, 1) is not None
    world.park(app, 1)
    assert not world.pools.may_serve_own(app, 1, 0)
    assert world.pools.try_release(slot, 0)
    assert world.phase(slot) is Phase.FREE
    board.resume(board.register(b"app"))
    assert world.pools.try_take(app, 1) is not None


def test_a_pool_that_comes_while_its_database_is_paused_is_paused(world: World, board: Board) -> None:
    board.pause(board.register(b"app"))
    pool = world.pools.register(b"app", b"newcomer", 3)
    assert world.pools.is_pool_paused(pool)
    assert world.pools.open(pool, 0) == POOL_PAUSED


def test_nothing_is_opened_while_all_is_paused(world: World) -> None:
    pool = world.pool(3)
    world.pools.pause()
    assert world.pools.open(pool, 0) == POOL_PAUSED
    world.pools.resume()
    assert world.pools.open(pool, 0) >= 0


def test_once_the_lock_was_taken_after_a_pause_all_that_is_still_opened_is_seen(
    make_world: MakeWorld, family: Family
) -> None:
    """Who pauses and then takes the lock finds each backend that somebody began to open before."""
    world = make_world(workers=4, backends=64)
    pool = world.pool(64)

    def open_until_paused(worker: int) -> None:
        while world.pools.open(pool, worker) >= 0:
            pass

    for worker in range(4):
        family.fork(open_until_paused, worker)
    while world.pools.count(pool)[0] < 2:
        pass
    world.pools.pause()
    seen = world.segment.locked(lambda: world.pools.count(pool)[0])
    family.end_well()
    assert world.pools.count(pool)[0] == seen


# --- reconnect


def expires(world: World, slot: int) -> int:
    return world.pools.describe_slot(slot)["expires_s"]


def test_reconnect_outdates_every_backend_of_its_database(world: World, board: Board) -> None:
    app, other = world.pool(2, "app", backends=2), world.pool(1, "other", backends=1)
    held = world.take(app, 1)
    world.pools.renewal.reconnect(board.register(b"app"))
    assert [expires(world, slot) for slot in range(3)] == [1, 1, 0]
    assert world.pools.describe_slot(2)["pool"] == other
    assert held in (0, 1)


def test_a_backend_whose_connection_was_begun_before_a_reconnect_is_outdated_too(
    world: World, board: Board
) -> None:
    pool = world.pool(2)
    early, late = world.pools.open(pool, 0), world.pools.open(pool, 1)
    begun = world.pools.workers.read(0)["started_at_us"]  # long ago
    world.pools.renewal.reconnect(board.register(b"app"))
    world.pools.introduce(early, 1, b"key", expires_s=10**6)
    world.pools.renewal.expire_if_outdated(early, begun)
    assert expires(world, early) == 1
    told = board.read(board.register(b"app"))
    assert told is not None
    world.pools.introduce(late, 2, b"key", expires_s=10**6)
    world.pools.renewal.expire_if_outdated(late, told["reconnect_at_us"] + 1)
    assert expires(world, late) == 10**6


# --- what SET has changed


def test_each_configuration_has_a_number_and_reloads_are_counted_apart(board: Board) -> None:
    assert (board.configuration, board.reloads, board.settings()) == (0, 0, b"")
    board.publish(b"query_wait_timeout=1\n", False)
    assert (board.configuration, board.reloads) == (1, 0)
    assert board.settings() == b"query_wait_timeout=1\n"
    board.publish(b"", True)
    assert (board.configuration, board.reloads, board.settings()) == (2, 1, b"")
    with pytest.raises(BoardFull, match="SET has changed too much"):
        board.publish(b"x" * 5000, False)
    assert board.configuration == 2


def test_settings_are_never_read_half_written(world: World, family: Family) -> None:
    texts = [b"a" * 3000, b"b" * 1500, b"", b"c" * 4000]

    def write() -> None:
        board = Pools(world.segment).board
        for turn in range(4000):
            board.publish(texts[turn % len(texts)], False)

    writer = family.fork(write)
    board, seen = world.pools.board, set[bytes]()
    while writer.is_alive():
        seen.add(board.settings())
    assert seen <= set(texts)
    family.end_well()
