"""A bureau for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.bureau import Bureau


@pytest.fixture
def bureau(tmp_path: Path) -> Iterator[Bureau]:
    """A clerk with an empty segment: 4 workers, 8 slots, 4 pools, 20 clients."""
    bureau = Bureau(tmp_path)
    yield bureau
    bureau.world.close()
