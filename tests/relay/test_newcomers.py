"""Newcomers: who is handed on to a worker with fewer clients, and who is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.shm.workers import WorkerState
from tests.relay.rig import Peer, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, workers=2)
    for worker in range(2):
        rig.world.pools.workers.enlist(worker, os.getpid())
        rig.world.pools.workers.enter(worker, WorkerState.SERVING)
    rig.open()
    yield rig
    rig.close()


def is_handed_on(rig: Rig) -> bool:
    """Whether the next who comes to worker 0 is."""
    rig.news[0].clear()
    rig.approach()
    rig.run()
    handed = [what for word, what in rig.news[0] if word == "newcomer"]
    for fd, heir in handed:
        os.close(fd)
        assert heir == 1
    return bool(handed)


def come(rig: Rig, count: int) -> list[Peer]:
    return [rig.connect()[0] for _ in range(count)]


def leave(rig: Rig, peers: list[Peer]) -> None:
    for peer in peers:
        peer.close()
    rig.run()


def test_a_worker_with_far_more_clients_hands_the_next_one_on(rig: Rig) -> None:
    come(rig, 4)
    assert is_handed_on(rig)


def test_a_few_more_make_no_difference(rig: Rig) -> None:
    come(rig, 3)
    assert not is_handed_on(rig)


def test_where_clients_come_and_go_nobody_is_handed_on_for_those_that_will_have_left(rig: Rig) -> None:
    leave(rig, come(rig, 1))
    passing = come(rig, 12)
    assert not is_handed_on(rig)
    leave(rig, passing)
    come(rig, 12)
    assert not is_handed_on(rig)


def test_those_that_have_stayed_count_once_nobody_has_left_for_a_while(rig: Rig) -> None:
    leave(rig, come(rig, 1))
    come(rig, 12)
    for _ in range(2):
        rig.relays[0].sweep(0)
    assert is_handed_on(rig)
