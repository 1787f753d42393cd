"""The segment: made whole, attached to only when it can be understood, and its lock outlives its holder."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from pgmux.shm.pools import Pools
from pgmux.shm.segment import LAYOUT_VERSION, MAGIC, MAX_WORKERS, PAGE_BYTES, Segment, SegmentError
from tests.shm.conftest import MakeWorld
from tests.shm.family import Family, die
from tests.shm.tally import Tally
from tests.shm.world import World


def test_sizes_are_those_asked_for_and_a_reader_sees_them(make_world: MakeWorld) -> None:
    world = make_world(workers=3, backends=70, pools=5, clients=1000)
    for segment in (world.segment, Segment.attach(world.path), Segment.attach(world.path, writable=True)):
        assert (segment.worker_count, segment.slot_count, segment.pool_count) == (3, 70, 5)
        assert (segment.client_limit, segment.client_count) == (1000, 1064)
        assert segment.total_bytes == world.path.stat().st_size
    assert world.segment.writable
    assert not Segment.attach(world.path).writable


def test_a_hundred_backends_with_two_hundred_statements_each_take_little(tmp_path: Path) -> None:
    segment = Segment.create(
        tmp_path / "pgmux.shm", workers=4, backends=100, pools=10, clients=100, statements=200
    )
    each, count = segment.sizes()["baggage"]
    assert count == 100
    assert each * count <= 4_000_000


def test_file_is_its_owner_s_alone(world: World) -> None:
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o600


def test_an_older_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "pgmux.shm"
    path.write_bytes(b"old")
    path.chmod(0o644)
    Segment.create(path, workers=1, backends=1, pools=1, clients=1)
    assert [file.name for file in tmp_path.iterdir()] == ["pgmux.shm"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Segment.attach(path).slot_count == 1


def test_a_reader_of_the_old_file_keeps_it_when_a_new_one_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "pgmux.shm"
    Segment.create(path, workers=1, backends=1, pools=1, clients=1)
    reader = Segment.attach(path)
    Segment.create(path, workers=2, backends=2, pools=2, clients=2)
    assert reader.worker_count == 1
    assert Segment.attach(path).worker_count == 2


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("workers", {"workers": 0}),
        ("workers", {"workers": MAX_WORKERS + 1}),
        ("max_backends", {"backends": 0}),
        ("max_backends", {"backends": 65_537}),
        ("max_pools", {"pools": 0}),
        ("max_pools", {"pools": 65_535}),
    ],
)
def test_sizes_out_of_range_are_refused_by_name(tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    with pytest.raises(SegmentError, match=f"{name} is .*: it must be between 1 and"):
        Segment.create(
            tmp_path / "pgmux.shm", **{"workers": 1, "backends": 1, "pools": 1, "clients": 1, **sizes}
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Segment.create(tmp_path / "none" / "pgmux.shm", workers=1, backends=1, pools=1, clients=1)


def test_a_full_file_system_is_an_error_at_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the data path needs is allocated, so that it cannot fail later by a signal."""

    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space"):
        Segment.create(tmp_path / "pgmux.shm", workers=1, backends=1, pools=1, clients=1)
    assert list(tmp_path.iterdir()) == []


def test_memory_of_clients_that_never_come_is_not_allocated(make_world: MakeWorld) -> None:
    world = make_world(clients=100_000, pools=64)
    told = world.path.stat()
    assert told.st_size > 25_000_000
    assert told.st_blocks * 512 < 1_000_000


def break_header(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_file_that_is_no_segment_is_refused(world: World, tmp_path: Path) -> None:
    short, other = tmp_path / "short", tmp_path / "other"
    short.write_bytes(MAGIC)
    other.write_bytes(bytes(2 * PAGE_BYTES))
    (tmp_path / "empty").touch()
    for path in (short, other, tmp_path / "empty"):
        with pytest.raises(SegmentError, match=f"{path} is not a pgmux segment"):
            Segment.attach(path)
    break_header(world.path, 0, b"PGMUXSHN")
    with pytest.raises(SegmentError, match="is not a pgmux segment"):
        Segment.attach(world.path)


def test_another_layout_is_refused_with_both_versions(world: World) -> None:
    break_header(world.path, len(MAGIC), struct.pack("=I", LAYOUT_VERSION + 1))
    told = f"has layout {LAYOUT_VERSION + 1}, this pgmux reads layout {LAYOUT_VERSION}"
    with pytest.raises(SegmentError, match=told):
        Segment.attach(world.path)


def test_a_file_that_was_cut_short_is_refused(world: World) -> None:
    os.truncate(world.path, world.segment.total_bytes - PAGE_BYTES)
    with pytest.raises(SegmentError, match="cut short"):
        Segment.attach(world.path)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Segment.attach(tmp_path / "none")


def test_lock_is_held_by_one_process_at_a_time(world: World, family: Family) -> None:
    """Each reads, and writes one more: without the lock some would be lost."""
    times, count = 2_000, Tally(1)

    def add_one() -> None:
        count[0] = count[0] + 1

    def add_many() -> None:
        for _ in range(times):
            world.segment.locked(add_one)

    for _ in range(4):
        family.fork(add_many)
    family.end_well()
    assert count[0] == 4 * times


def test_lock_of_a_holder_that_was_killed_goes_to_the_next(world: World, family: Family) -> None:
    for _ in range(3):
        family.dies_after(lambda: world.segment.locked(die))
        assert world.segment.locked(lambda: "still usable") == "still usable"


def test_who_waits_for_the_lock_gets_it_when_the_holder_is_killed(world: World, family: Family) -> None:
    reading, writing = os.pipe()

    def hold() -> None:
        os.write(writing, b"!")
        signal_never = os.pipe()[0]
        os.read(signal_never, 1)

    holder = family.fork(world.segment.locked, hold)
    assert os.read(reading, 1) == b"!"
    waiter = family.fork(world.pool, 3)
    holder.kill()
    assert waiter.wait() == 0
    assert world.pools.register(b"app", b"app", 3) == 0
    for end in (reading, writing):
        os.close(end)


def test_lock_is_released_when_the_work_fails(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        world.segment.locked(lambda: 1 // 0)
    assert world.segment.locked(lambda: 1) == 1


def test_a_reader_cannot_take_the_lock(world: World) -> None:
    with pytest.raises(SegmentError, match="read-only"):
        Segment.attach(world.path).locked(lambda: None)


def test_a_registration_cut_short_by_death_is_done_again_by_the_next(world: World, family: Family) -> None:
    family.dies_after(lambda: world.segment.locked(die))
    pool = Pools(Segment.attach(world.path, writable=True)).register(b"app", b"app", 2)
    assert pool == 0
    assert world.pools.read(1) is None
