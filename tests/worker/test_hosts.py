"""Which of several hosts will do."""

from __future__ import annotations

import pytest

from pgmux.worker.connecting import has_attributes

PRIMARY = {"in_hot_standby": "off", "default_transaction_read_only": "off"}
READ_ONLY = {"in_hot_standby": "off", "default_transaction_read_only": "on"}
STANDBY = {"in_hot_standby": "on", "default_transaction_read_only": "off"}
SILENT: dict[str, str] = {}  # before PostgreSQL 14


@pytest.mark.parametrize(
    ("wanted", "fit"),
    [
        ("any", [PRIMARY, READ_ONLY, STANDBY, SILENT]),
        ("read-write", [PRIMARY]),
        ("read-only", [READ_ONLY, STANDBY]),
        ("primary", [PRIMARY, READ_ONLY]),
        ("standby", [STANDBY]),
    ],
)
def test_a_wish_is_met_by_what_a_server_says_it_is(wanted: str, fit: list[dict[str, str]]) -> None:
    every = [PRIMARY, READ_ONLY, STANDBY, SILENT]
    assert [each for each in every if has_attributes(each, wanted)] == fit
