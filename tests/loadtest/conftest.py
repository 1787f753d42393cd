"""The null backend, compiled and running."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.nullpg import NullBackend


@pytest.fixture(scope="session")
def nullpg() -> Iterator[NullBackend]:
    with tempfile.TemporaryDirectory(prefix="pgmux-null-") as folder, NullBackend(Path(folder)) as backend:
        yield backend
