"""Relays for each test of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.relay.rig import Rig

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    """Makes a Rig of the sizes given."""
    with ExitStack() as stack:

        def make(*, tcp: bool = False, **sizes: int) -> Rig:
            rig = Rig(tmp_path, tcp=tcp, **sizes)
            stack.callback(rig.close)
            return rig

        yield make
