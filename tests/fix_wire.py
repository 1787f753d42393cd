"""The conversations of a test: closed after it, and shown if it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fix_evidence import Evidence
from tests.wire import wire


@pytest.fixture(autouse=True)
def conversations(evidence: Evidence) -> Iterator[None]:
    """Every test has this fixture; it needs not be asked for."""
    wire.OPENED.clear()
    evidence("conversations", lambda: "\n\n".join(str(each.transcript) for each in wire.OPENED))
    yield
    for each in wire.OPENED:
        each.close()
