"""What is asked, from a text or from words."""

from __future__ import annotations

import pytest

from pgmux.control.request import Request, RequestError, parse_text, parse_words


@pytest.mark.parametrize(
    ("text", "word", "arguments"),
    [
        ("SHOW POOLS", "SHOW", ("POOLS",)),
        ("  show\tpools ;  ", "SHOW", ("pools",)),
        ("SELECT version", "SHOW", ("version",)),
        ("PAUSE", "PAUSE", ()),
        ('PAUSE "my ""db"" ;"', "PAUSE", ('my "db" ;',)),
        ("kill_client 17", "KILL_CLIENT", ("17",)),
        ("kill-client 17", "KILL_CLIENT", ("17",)),
        ("SET query_wait_timeout = 5", "SET", ("query_wait_timeout", "5")),
        ("set query_wait_timeout to '5 s'", "SET", ("query_wait_timeout", "5 s")),
        ("SET a='it''s'", "SET", ("a", "it's")),
        ("SET admin_users = alice, bob", "SET", ("admin_users", "alice,bob")),
        ("SET SESSION timezone TO 'UTC'", "SET", ("timezone", "UTC")),
        ("SET key", "SET", ("key",)),
        ("SET", "SET", ()),
        ("SET key value", "SET", ("key", "value")),
        ("-- a comment\nSHOW /* another; */ STATS -- the end", "SHOW", ("STATS",)),
        ("", "", ()),
        (" ; -- nothing", "", ()),
    ],
)
def test_a_text_is_a_command_and_its_arguments(text: str, word: str, arguments: tuple[str, ...]) -> None:
    assert parse_text(text) == [Request(word, arguments)]


def test_a_text_may_hold_several_statements() -> None:
    requests = parse_text("SHOW POOLS; PAUSE \";\";; SHOW 'a;b'")
    assert requests == [
        Request("SHOW", ("POOLS",)),
        Request("PAUSE", (";",)),
        Request("SHOW", ("a;b",)),
    ]


@pytest.mark.parametrize("text", ["SHOW 'pools", 'PAUSE "x', "SET a = 'b''"])
def test_a_quote_that_is_not_closed_is_an_error(text: str) -> None:
    with pytest.raises(RequestError, match="a quote is not closed") as caught:
        parse_text(text)
    assert caught.value.sqlstate == "42601"


def test_words_need_no_quotes() -> None:
    assert parse_words(["kill-client", "my 'db'"]) == Request("KILL_CLIENT", ("my 'db'",))
    assert parse_words([]) == Request("", ())
