"""docs/hidden-state.md is true of this pgmux."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fix_pgmux import MakePgmux
from tests.hidden.comparison import (
    AS_DIRECT,
    ROAMING,
    prepare_database,
    run_by_turns,
    verdict,
)
from tests.hidden.situations import SITUATIONS
from tests.servers import Postgres

DOCUMENT = Path(__file__).parents[2] / "docs" / "hidden-state.md"


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """What the document says of pgmux, by situation."""
    rows = re.findall(r"^\| ([^|]+) \| ((?:[^|\\]|\\.)+) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {title: cell for title, cell in rows if title in SITUATIONS}


def test_every_situation_is_in_the_document(documented: dict[str, str]) -> None:
    assert list(documented) == list(SITUATIONS)


def test_the_document_is_true(make_pgmux: MakePgmux, postgres: Postgres, documented: dict[str, str]) -> None:
    """All with one pgmux: what one situation leaves behind, another would show."""
    prepare_database(postgres)
    pgmux = make_pgmux(**ROAMING)
    untrue = {}
    for title, program in SITUATIONS.items():
        found = verdict(run_by_turns(program, postgres), run_by_turns(program, pgmux))
        if (found == AS_DIRECT) != (documented[title] == AS_DIRECT):
            untrue[title] = found
    assert untrue == {}


def test_a_difference_is_told() -> None:
    expected = (["1", "ERROR 42P05: taken"], ["2", "x"])
    assert verdict(expected, expected) == AS_DIRECT
    assert (
        verdict(expected, (["2", "ERROR 42P05: taken"], ["2", "x"]))
        == "**the other client's** `2` instead of `1`"
    )
    assert verdict(expected, (["1", "ok"], ["2", "x"])) == "no error 42P05, but `ok`"
    assert verdict(expected, (["1"], ["2", "x"])) == "nothing heard"
    assert verdict(expected, (["1", "ERROR 26000: gone"], ["2", "x"])) == "26000 gone"
