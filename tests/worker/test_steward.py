"""Every word that the relay may leave in its news is one that the steward sees to, and he knows no others."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from pgmux.relay.endpoint import Client
from pgmux.worker.steward import Steward

SOURCES = Path(__file__).parents[2].glob("pgmux/relay/*.pyx")
TELLING = re.compile(r"\b(?:news\.append\(\(|self\.sample\()(?P<item>.*)")


def _words_of_the_relay() -> frozenset[str]:
    items = [found["item"] for path in SOURCES for found in TELLING.finditer(path.read_text())]
    return frozenset(word for item in items for word in re.findall(r'"([a-z ]+)"', item))


@pytest.fixture
def staff() -> MagicMock:
    return MagicMock(number=0)


@pytest.fixture
def steward(staff: MagicMock) -> Steward:
    return Steward(staff, MagicMock(), run_errands=MagicMock(), cannot_accept=MagicMock())


def test_he_knows_the_words_that_the_relay_says_and_no_others(steward: Steward) -> None:
    assert steward.words == _words_of_the_relay()
    assert len(steward.words) > 20


def test_an_item_about_several_things_is_unpacked_and_one_about_one_thing_is_not(
    steward: Steward, staff: MagicMock
) -> None:
    steward.see_to("newcomer", (7, 1))
    steward.see_to("wanted", 3)
    staff.moving.pass_on.assert_called_once_with(7, 1)
    staff.opener.look.assert_called_once_with(3)


def test_a_client_that_has_gone_meanwhile_is_not_looked_up_for_the_log(
    steward: Steward, staff: MagicMock
) -> None:
    staff.relay.client.return_value = None
    steward.see_to("slow", (MagicMock(spec=Client, record=5), 2_000_000))
    staff.reception.passenger.assert_not_called()
    staff.journal.was_slow.assert_not_called()


def test_a_word_that_nobody_knows_is_a_defect(steward: Steward) -> None:
    with pytest.raises(KeyError):
        steward.see_to("hearsay", 1)
