"""What the options promise and this version does not do yet.

An option that would be ignored in silence is worse than one that is refused, so each value
in this table is an error that says so. Whoever makes pgmux act upon an option takes its row
out.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from pgmux.config.findings import Findings
from pgmux.config.key_lines import KeyPath


class NotYet(NamedTuple):
    """Values of one key, in whichever table it stands, that this version cannot honour."""

    key: str
    is_asked_for: Callable[[object], bool]
    message: str
    hint: str = ""


def _is_given(value: object) -> bool:
    return bool(value)


def _is_one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: value in values


NOT_YET: tuple[NotYet, ...] = ()


def is_missing(key: str) -> bool:
    """Whether this version has nothing to do with the option `key`, whatever its value."""
    return any(row.key == key and row.is_asked_for is _is_given for row in NOT_YET)


def is_not_yet(key: str, value: object) -> bool:
    """Whether this version cannot honour `value` for the option `key`."""
    return any(row.key == key and row.is_asked_for(value) for row in NOT_YET)


def refuse_what_is_not_yet(table: msgspec.Struct, path: KeyPath, findings: Findings) -> None:
    """Refuse the values in one table of options, found at `path`, that this version would ignore."""
    for row in NOT_YET:
        if row.key in table.__struct_fields__ and row.is_asked_for(getattr(table, row.key)):
            findings.refuse((*path, row.key), row.message, row.hint)
