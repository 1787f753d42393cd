"""TOML as much of it as pgmux.toml has: tables of plain values and lists of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

Value = str | int | float | bool | Sequence[str]
Table = Mapping[str, Value]


def written(tables: Mapping[tuple[str, ...], Table]) -> str:
    """A document of the tables, each under its path of keys."""
    lines = []
    for path, table in tables.items():
        lines.append(f"[{'.'.join(map(_key, path))}]")
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (int, float)):
        return str(value)
    return f"[{', '.join(map(_quoted, value))}]"
