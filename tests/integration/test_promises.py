"""Every row of the manual's table of deaths has its tests, and these exist."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.integration.promises import PROMISES

MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_manual_promises_what_is_tested() -> None:
    _, _, section = MANUAL.read_text().partition("## When something dies\n\n")
    table, _, _ = section.partition("\n\n")
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == list(PROMISES)


@pytest.mark.parametrize("test", [each for tests in PROMISES.values() for each in tests])
def test_the_test_of_a_promise_exists(test: str) -> None:
    module, _, name = test.rpartition(".")
    assert callable(getattr(importlib.import_module(f"tests.{module}"), name))
