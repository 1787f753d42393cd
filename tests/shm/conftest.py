"""Shared memory for each test of its own, and processes that may die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.shm.family import Family
from tests.shm.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a World of the sizes given."""
    with ExitStack() as stack:

        def make(**sizes: int) -> World:
            world = World(tmp_path, **sizes)
            stack.callback(world.close)
            return world

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """4 workers, 8 slots, 4 pools, 20 clients."""
    return make_world()


@pytest.fixture
def family() -> Iterator[Family]:
    """Forks processes, and leaves none behind."""
    with Family() as forked:
        yield forked
