"""Clients leave before their pgmux is stopped, so that it need not wait for them, nor they hear it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fix_pgmux import MakePgmux
from tests.moving.upgradable import Upgradable
from tests.wire import wire


@pytest.fixture(autouse=True)
def _clients_leave_first(make_pgmux: MakePgmux) -> Iterator[None]:
    yield
    for client in wire.OPENED:
        client.close()


@pytest.fixture
def upgradable(make_pgmux: MakePgmux, tmp_path: Path) -> Upgradable:
    """Makes pgmuxes for which a version with another layout can be installed."""
    return Upgradable(make_pgmux, tmp_path)
