"""pgmuxes whose clients listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fix_pgmux import MakePgmux
from tests.listening.switchboard import LISTENING_PGMUX, Switchboard
from tests.wire import wire

MakeSwitchboard = Callable[..., Switchboard]


@pytest.fixture
def make_switchboard(make_pgmux: MakePgmux) -> Iterator[MakeSwitchboard]:
    """Makes running pgmuxes whose clients' channels the test decides."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Switchboard:
            quick = {"server_login_retry": "100ms", "audit_interval": 0}
            pgmux = make_pgmux(command=LISTENING_PGMUX, **{**quick, **settings})
            switchboard = Switchboard(pgmux)
            stack.callback(switchboard.close)
            return switchboard

        yield make
        for client in wire.OPENED:
            client.close()
