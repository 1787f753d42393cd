"""ARCHITECTURE.md is true: what its tables point to is there, and there alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PLACES = re.findall(r"^\| .+? \| `(pgmux/\S+)` \| `(.+?)` \|$", TEXT, re.MULTILINE)
LINKS = re.findall(r"\]\((\S+?)\)", TEXT)


def test_the_table_of_places_is_found() -> None:
    assert len(PLACES) >= 20


@pytest.mark.parametrize(("path", "definition"), PLACES)
def test_a_place_holds_its_definition_once(path: str, definition: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    assert sum(line.strip().startswith(definition) for line in lines) == 1


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
