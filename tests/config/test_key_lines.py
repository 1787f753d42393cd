"""The lines on which the keys of a TOML text stand."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.config.key_lines import KeyPath, find_key_lines

TEXT = '''\
# workers = 1
title = "no [table] = here" # nor = here

[pgmux]
workers = 2
  listen = [ # several = lines
    "127.0.0.1:6432", # "quoted" = 1
    ["nested", ']'],
  ]
note = """
workers = 3
[databases.no]
""\\"""" # still = outside
'quoted key' = \'\'\'
x = 1\'\'\'
a.b . "c.d" = 1979-05-27 07:32:00

[databases."my \\u0061pp"]
host = "x"
[databases . app] # comment
options = { port = 1, "in ner" = { deep = [1, { odd = 2 }] } }
[[lists]]
first = 1
[[lists]]
first = 2
'''

LINES = {
    ("title",): 2,
    ("pgmux",): 4,
    ("pgmux", "workers"): 5,
    ("pgmux", "listen"): 6,
    ("pgmux", "note"): 10,
    ("pgmux", "quoted key"): 14,
    ("pgmux", "a"): 16,
    ("pgmux", "a", "b"): 16,
    ("pgmux", "a", "b", "c.d"): 16,
    ("databases",): 18,
    ("databases", "my app"): 18,
    ("databases", "my app", "host"): 19,
    ("databases", "app"): 20,
    ("databases", "app", "options"): 21,
    ("databases", "app", "options", "port"): 21,
    ("databases", "app", "options", "in ner"): 21,
    ("databases", "app", "options", "in ner", "deep"): 21,
    ("databases", "app", "options", "in ner", "deep", "odd"): 21,
    ("lists",): 22,
    ("lists", "first"): 23,
}


def test_every_key_and_table_is_found_on_its_line() -> None:
    tomllib.loads(TEXT)  # the text must be what the walker is promised: valid
    assert find_key_lines(TEXT) == LINES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# only a comment",
        "a=1",
        "a=1\r\nb=2\r\n",
        'a=""',
        "a=''",
        'a=""""""',
        "a=[]",
        "a={}",
        '""=1',
    ],
)
def test_small_texts_are_walked_to_their_end(text: str) -> None:
    assert set(find_key_lines(text)) == {(key,) for key in tomllib.loads(text)}


def test_a_long_text_takes_no_long_time() -> None:
    text = "".join(f'[databases.d{number}]\nhost = "h"\n' for number in range(5_000))
    assert find_key_lines(text)["databases", "d4999", "host"] == 10_000


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
SIMPLE = ["1", "-0.5", "true", "1979-05-27 07:32:00", "inf", "0x1F", '"#"', "'\"'", '"\\""', '"a = 1"']
MULTILINE = [
    '"""\nkey = 1\n[table]\n"""',
    "'''\n\"\"\" = 2\n'''",
    '"""a"""""',
    "[\n# ] = 1\n1,\n2\n]",
    "[[1],\n[2]]",
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A TOML text of tables and keys, and the line of each."""
    lines: list[str] = []
    expected: dict[KeyPath, int] = {}
    for table in draw(st.lists(KEYS, max_size=4, unique=True)):
        lines += draw(st.lists(st.sampled_from(["", "# a = 1", "  "]), max_size=2))
        lines.append(f"[ {_quote(draw, table)} ]")
        expected[(table,)] = len(lines)
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            value = draw(st.sampled_from(SIMPLE + MULTILINE))
            expected[(table, key)] = len(lines) + 1
            lines += f"{_quote(draw, key)} = {value} # end = 1".split("\n")
    return "\n".join(lines), expected


def _quote(draw: st.DrawFn, key: str) -> str:
    """The key in one of the spellings TOML allows for it."""
    is_basic = all(ord(letter) < 0x10000 for letter in key)  # TOML has no surrogate pairs in escapes
    spellings = [json.dumps(key, ensure_ascii=is_basic).replace("\x7f", "\\u007f")]
    if key.isprintable() and "'" not in key:
        spellings.append(f"'{key}'")
    if key.isascii() and key.replace("-", "").replace("_", "").isalnum():
        spellings.append(key)
    return draw(st.sampled_from(spellings))


@settings(deadline=None)
@given(documents())
def test_keys_of_any_text_are_found_on_their_lines(document: tuple[str, dict[KeyPath, int]]) -> None:
    text, expected = document
    assert set(_paths(tomllib.loads(text))) == set(expected)
    assert find_key_lines(text) == expected


def _paths(table: dict[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))
