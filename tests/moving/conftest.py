"""Clients leave before their pgmux is stopped, so that it need not wait for them, nor they hear it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fix_pgmux import MakePgmux
from tests.wire import wire


@pytest.fixture(autouse=True)
def _clients_leave_first(make_pgmux: MakePgmux) -> Iterator[None]:
    yield
    for client in wire.OPENED:
        client.close()
