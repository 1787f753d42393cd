"""The soak bench sees what grows, and pgmux does not, as far as a short one tells."""

from __future__ import annotations

import pytest

from loadtest.soak import TOLERANCE, Holdings, growth, main


def part(number: int, **changed: int) -> Holdings:
    """What is held after a part: the same each time."""
    usual = Holdings(number * 10, number * 100, 1_000_000, 50, 20, 0)
    return usual._replace(**changed)


def test_what_stays_the_same_has_not_grown() -> None:
    assert list(growth([part(1), part(2), part(3)])) == []


def test_the_first_part_may_be_less() -> None:
    assert list(growth([part(1, memory=1, descriptors=1, backends=0), part(2), part(3)])) == []


@pytest.mark.parametrize("what", ["descriptors", "backends", "records"])
def test_one_more_is_too_many(what: str) -> None:
    more = getattr(part(2), what) + 1
    assert [grown.what for grown in growth([part(1), part(2), part(3, **{what: more})])] == [what]


def test_memory_has_its_tolerance() -> None:
    most = int(1_000_000 * (1 + TOLERANCE))
    assert list(growth([part(1), part(2), part(3, memory=most)])) == []
    assert [grown.what for grown in growth([part(1), part(2), part(3, memory=most + 1)])] == ["memory"]


def test_memory_that_goes_up_and_down_has_not_grown() -> None:
    parts = [part(number, memory=1_000_000 + number % 2 * 60_000) for number in range(10)]
    assert list(growth(parts)) == []
    assert [grown.what for grown in growth([*parts, part(10, memory=1_120_000)])] == ["memory"]


@pytest.mark.slow
def test_a_short_one_tells_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--connections", "600", "--transactions", "6000", "--parts", "3"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert all(row.endswith("| 0 |") for row in table[2:]), "client records were left"
    assert status in (0, 1)  # of memory so few connections tell nothing
