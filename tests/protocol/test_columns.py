"""Columns are told apart by what PostgreSQL compares, and by nothing else."""

from __future__ import annotations

import struct

import pytest

from pgmux.protocol.columns import digest

_COLUMN = struct.Struct("!ihihih")


def described(
    name: bytes = b"a", table: int = 7, number: int = 1, kind: int = 23, modifier: int = -1, text: int = 0
) -> bytes:
    return name + b"\0" + _COLUMN.pack(table, number, kind, 4, modifier, text)


def row(*columns: bytes) -> bytes:
    return len(columns).to_bytes(2, "big") + b"".join(columns)


@pytest.mark.parametrize(
    "other",
    [
        row(described(name=b"b")),
        row(described(kind=25)),
        row(described(modifier=8)),
        row(described(), described()),
        row(),
    ],
)
def test_another_name_type_modifier_or_number_of_columns_is_another_result(other: bytes) -> None:
    assert digest(other) != digest(row(described()))


@pytest.mark.parametrize("same", [described(table=8), described(number=2), described(text=1)])
def test_a_table_made_anew_and_a_format_make_no_difference(same: bytes) -> None:
    assert digest(row(same)) == digest(row(described()))


def test_what_ends_too_early_is_no_description() -> None:
    whole = row(described())
    assert [digest(whole[:size]) for size in (0, 1, 5, len(whole) - 1)] == [0, 0, 0, 0]
    assert digest(whole) > 1
