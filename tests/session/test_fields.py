"""Lines and fields of pg_hba.conf and pg_ident.conf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.session.fields import Line, Word, read_lines


def words(text: str) -> list[list[str]]:
    [line] = read_lines(text)
    assert not line.trouble
    return [[word.text for word in field] for field in line.fields]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local all all trust", [["local"], ["all"], ["all"], ["trust"]]),
        ("\tlocal   all\tall trust  # why", [["local"], ["all"], ["all"], ["trust"]]),
        ("host a,b c all", [["host"], ["a", "b"], ["c"], ["all"]]),
        ("host a, b c all", [["host"], ["a", "b"], ["c"], ["all"]]),
        ('host "a b",c "d,e" all', [["host"], ["a b", "c"], ["d,e"], ["all"]]),
        ('"say ""hi""" x', [['say "hi"'], ["x"]]),
        ('a"b c"d e', [["ab cd"], ["e"]]),
        ('"" x', [[""], ["x"]]),
        ('"#no comment" x#comment', [["#no comment"], ["x"]]),
        ("map=x\r", [["map=x"]]),
    ],
)
def test_fields_are_told_apart_as_postgresql_does(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


def test_a_word_in_quotes_is_no_keyword() -> None:
    [line] = read_lines('all "all" al"l"')
    assert [field[0].is_keyword("all") for field in line.fields] == [True, False, True]


def test_lines_have_the_numbers_of_the_file() -> None:
    text = "# first\n\none\n  \ntwo \\\n three\n# four\nfive\\"
    assert [(line.number, len(line.fields)) for line in read_lines(text)] == [(3, 1), (5, 2), (8, 1)]


@pytest.mark.parametrize("text", ['a "b', 'a "b""', "a,", ",a", "a,,b", "a ,b"])
def test_what_cannot_be_told_apart_is_trouble_and_not_left_out(text: str) -> None:
    [line] = read_lines(text)
    assert line.trouble
    assert line.fields == []


@given(st.text())
def test_any_text_is_read_to_its_end(text: str) -> None:
    lines = list(read_lines(text))
    assert all(isinstance(line, Line) and (line.trouble or line.fields) for line in lines)


@given(st.lists(st.text(st.characters(exclude_characters="\n\0\\", exclude_categories=["Cs"])), min_size=1))
def test_a_quoted_name_is_read_as_it_was(names: list[str]) -> None:
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    [line] = read_lines(f"x {quoted}")
    assert line.fields == [[Word("x")], [Word(name, True) for name in names]]
