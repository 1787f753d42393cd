"""Results that pgmux makes itself, in both forms."""

from __future__ import annotations

import decimal
import struct

import pytest

from pgmux.protocol import results
from pgmux.protocol.results import BINARY_FORMAT, TEXT_FORMAT, Type
from tests.wire import Message


def row(values: list[str | int | None], kinds: list[Type], form: int) -> list[bytes | None]:
    told = results.build_data_row(values, kinds, [form] * len(values))
    found: list[bytes | None] = Message(told[:1], told[5:])["values"]
    return found


def test_text_is_what_a_person_would_write() -> None:
    kinds = [Type.TEXT, Type.INT4, Type.INT8, Type.NUMERIC, Type.TEXT]
    assert row(["ä", -1, 1 << 40, 10**20, None], kinds, TEXT_FORMAT) == [
        "ä".encode(),
        b"-1",
        b"1099511627776",
        b"100000000000000000000",
        None,
    ]


def test_what_no_text_can_hold_becomes_a_question_mark() -> None:
    assert row(["a\0b", "\udcff"], [Type.TEXT, Type.TEXT], TEXT_FORMAT) == [b"a?b", b"?"]


def test_binary_integers_are_in_network_order() -> None:
    assert row([-2, 1 << 40], [Type.INT4, Type.INT8], BINARY_FORMAT) == [
        struct.pack("!i", -2),
        struct.pack("!q", 1 << 40),
    ]


@pytest.mark.parametrize("number", [0, 1, 9999, 10_000, 10_001, 123_456_789, 10**20, 2**64 - 1, -5, -(10**8)])
def test_binary_numerics_are_read_back_as_the_same_number(number: int) -> None:
    (data,) = row([number], [Type.NUMERIC], BINARY_FORMAT)
    assert data is not None
    count, weight, sign, scale = struct.unpack_from("!HhHH", data)
    digits = struct.unpack_from(f"!{count}H", data, 8)
    assert len(data) == 8 + 2 * count
    assert scale == 0
    assert not digits or (digits[0] and digits[-1])
    value = sum(decimal.Decimal(10_000) ** (weight - at) * digit for at, digit in enumerate(digits))
    assert (-value if sign else value) == number


def test_columns_are_described_with_type_size_and_format() -> None:
    told = results.build_row_description([("name", Type.TEXT), ("n", Type.INT4)], [0, 1])
    columns = Message(told[:1], told[5:])["columns"]
    assert [(column["name"], column["type"], column["format"]) for column in columns] == [
        ("name", 25, 0),
        ("n", 23, 1),
    ]
