"""Baggage: the statements of a backend against a dict that knows their ages, and its settings."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.shm.baggage import BaggageTable
from tests.shm.world import World

# Few different ends, so that many statements want the same cells.
STATEMENTS = st.builds(
    lambda high, low: high.to_bytes(8, "big") + low.to_bytes(8, "big"),
    st.integers(1, 6),
    st.integers(0, 3).map(lambda n: n * 0x1000),
)
STEPS = st.lists(st.tuples(st.sampled_from(["keep", "use", "drop", "evict"]), STATEMENTS), max_size=120)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_statements_are_those_of_a_dict_by_age(steps: list[tuple[str, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            baggage = BaggageTable(world.segment)
            known: OrderedDict[bytes, None] = OrderedDict()
            baggage.keep_prepared(0, b"the neighbour's.")
            for step, statement in steps:
                if step == "keep" and len(known) < baggage.limit:
                    baggage.keep_prepared(1, statement)
                    known[statement] = None
                    known.move_to_end(statement)
                elif step == "use":
                    assert baggage.is_prepared(1, statement) == (statement in known)
                    if statement in known:
                        known.move_to_end(statement)
                elif step == "drop":
                    assert baggage.drop_prepared(1, statement) == (statement in known)
                    known.pop(statement, None)
                elif step == "evict":
                    assert baggage.oldest_prepared(1) == next(iter(known), None)
                    if known:
                        assert baggage.drop_prepared(1, known.popitem(last=False)[0])
                assert baggage.prepared_count(1) == len(known)
            for statement in list(known):
                assert baggage.is_prepared(1, statement)
            baggage.empty(1)
            assert baggage.prepared_count(1) == 0
            assert baggage.oldest_prepared(1) is None
            assert baggage.is_prepared(0, b"the neighbour's.")
        finally:
            world.close()


def test_settings_are_kept_as_they_are_or_unknown(world: World) -> None:
    baggage = BaggageTable(world.segment)
    assert baggage.settings(3) == b""
    baggage.set_settings(3, b"work_mem\x001MB\x00", 77)
    assert baggage.settings(3) == b"work_mem\x001MB\x00"
    assert baggage.settings(2) == b""
    baggage.set_settings(3, b"x" * 100_000, 78)
    assert baggage.settings(3) is None
    baggage.set_settings(3, None, 0)
    assert baggage.settings(3) is None
    baggage.empty(3)
    assert baggage.settings(3) == b""


def test_there_is_no_baggage_beyond_the_last_slot(world: World) -> None:
    with pytest.raises(IndexError, match="slot 8 of 8"):
        BaggageTable(world.segment).settings(8)
