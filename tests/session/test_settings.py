"""A session's settings: packed, compared, and how a backend is brought to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.session.inquiry import Pin, build_question, drop_limit, drop_self, read_answer, settle_settings
from pgmux.session.settings import (
    BASE,
    carriage,
    catch_up,
    pack,
    quote_literal,
    quote_name,
    ride,
    settings_of,
    to_restore,
    unpack,
)
from pgmux.session.traces import Trace
from tests.wire import frontend

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(st.dictionaries(WORDS, WORDS))
def test_what_is_packed_is_unpacked(values: dict[str, str]) -> None:
    assert unpack(pack(values)) == values


def test_equal_settings_are_the_same_object() -> None:
    one = settings_of({"b": "2", "a": "1"})
    assert settings_of({"a": "1", "b": "2"}) is one
    assert one.changed({"a": None, "b": None}) is BASE
    assert one.digest != BASE.digest == 0


def test_what_changes_a_meaning_is_told_apart() -> None:
    assert settings_of({"work_mem": "1MB"}).meaning == BASE.meaning
    assert settings_of({"search_path": "x"}).meaning != BASE.meaning


def test_who_one_is_must_be_asked_for_each_time() -> None:
    role = settings_of({"role": "app"})
    role.prove()
    assert not role.is_proven


def text(have: dict[str, str] | None, want: dict[str, str]) -> list[str]:
    return [each.decode() for each in catch_up(None if have is None else pack(have), pack(want))]


def test_a_backend_that_has_them_needs_nothing() -> None:
    assert text({"a.b": "1"}, {"a.b": "1"}) == []


def test_a_ride_binds_what_changes_and_nulls_what_is_too_much() -> None:
    have = pack({"application_name": "a", "timezone": "UTC", "work_mem": "4MB"})
    found = ride(have, pack({"application_name": "b", "work_mem": "4MB"}))
    assert found is not None
    assert (found.names, found.size) == ((b"application_name", b"timezone"), 2)
    assert found.values == frontend.bind((b"application_name", b"b", b"timezone", None))[7:]
    assert (found.have, found.have_digest) == (have, settings_of(unpack(have)).digest)
    assert carriage(2).startswith(
        b"SELECT pg_catalog.set_config($1, $2, false), pg_catalog.set_config($3, $4, false)"
    )


@pytest.mark.parametrize(
    "name", ["role", "client_encoding", "default_transaction_read_only", "a.b", "transaction_timeout"]
)
def test_what_a_transaction_decides_at_its_beginning_and_who_one_is_do_not_ride(name: str) -> None:
    assert ride(b"", pack({name: "x", "work_mem": "4MB"})) is None
    assert ride(pack({name: "x"}), b"") is None


def test_what_is_too_much_is_reset_and_what_is_missing_is_set() -> None:
    assert text({"a.b": "1", "c": "2"}, {"c": "3"}) == [
        """RESET "a"."b"; SELECT pg_catalog.set_config('c', '3', false)"""
    ]


def test_an_identity_is_given_back_first_and_taken_last() -> None:
    assert text({"role": "x"}, {"role": "y", "work_mem": "1MB"}) == [
        "RESET SESSION AUTHORIZATION; RESET ROLE",
        "SET work_mem TO '1MB'; SELECT pg_catalog.set_config('role', 'y', false)",
    ]


def test_where_nobody_knows_all_is_reset() -> None:
    assert text(None, {})[0].endswith("RESET ALL")


@given(WORDS)
def test_quoting(value: str) -> None:
    literal = quote_literal(value)
    assert literal.startswith("E'") == ("\\" in value)
    assert quote_name(value).count('"') == 2 * (value.count('"') + value.count(".") + 1)


def rows(*pairs: tuple[bytes, bytes | None]) -> bytes:
    return b"".join(frontend.message(b"D", frontend._values(pair)) for pair in pairs)


def test_an_answer_is_read_whatever_it_tells() -> None:
    answer = read_answer(
        rows(
            (b"work_mem", b"1MB"),
            (b"a.b", None),
            (b"*", b"news"),
            (b"*", b"weather"),
            (b"4", None),
            (b"+", b"f"),
            (b"!", None),
        )
    )
    assert answer == (
        {"work_mem": "1MB", "a.b": None},
        (b"news", b"weather"),
        Pin.ADVISORY_LOCK,
        (b"f",),
        True,
        True,
    )
    assert read_answer(b"") == ({}, (), Pin(0), (), False, True)


@pytest.mark.parametrize(
    ("limit", "at_the_log_in", "is_another"),
    [
        ("0", "0", False),
        ("5s", "5000", False),
        ("90min", "5400000", False),
        ("5s", "0", True),
        ("1", "0", True),
    ],
)
def test_a_limit_that_is_the_log_ins_own_is_no_setting_of_the_client(
    limit: str, at_the_log_in: str, *, is_another: bool
) -> None:
    answer = read_answer(rows((b"statement_timeout", limit.encode()), (b"~", at_the_log_in.encode())))
    assert answer.has_limit is is_another
    told = {"statement_timeout": limit, "work_mem": "1MB"}
    assert ("statement_timeout" in drop_limit(told, answer, ())) is is_another
    assert drop_limit(told, answer, {"statement_timeout"}) == told


def test_a_question_asks_for_what_was_touched_alone() -> None:
    question = build_question({"work_mem"}, Trace.SETTINGS, every=False).decode()
    assert "current_setting('work_mem', true)" in question
    assert "pg_locks" not in question
    assert "pg_listening_channels" not in question
    everything = build_question((), Trace.LOCKING | Trace.LISTENING, every=True).decode()
    assert "pg_settings" in everything
    assert "pg_locks" in everything
    assert everything.endswith("UNLISTEN *")


def test_what_returns_goes_back_to_the_start_up_and_what_is_set_stays() -> None:
    startup = settings_of({"timezone": "Asia/Tokyo"})
    before = startup.changed({"work_mem": "1MB"})
    after = settle_settings(before, startup, {"timezone": "UTC", "work_mem": None}, {"timezone", "work_mem"})
    assert dict(after.values) == {"timezone": "Asia/Tokyo"}
    assert dict(settle_settings(before, startup, {"work_mem": "2MB"}, ()).values)["work_mem"] == "2MB"


def test_what_returned_to_the_value_that_it_had_is_told_from_what_never_left_it() -> None:
    startup = settings_of({"timezone": "Asia/Tokyo"})
    before = startup.changed({"timezone": "UTC"})
    told = {"timezone": "UTC"}
    assert settle_settings(before, startup, told, {"timezone"}) is startup
    assert settle_settings(before, startup, told, {"timezone"}, undone=True) is before


def test_what_a_start_up_has_set_is_set_again() -> None:
    startup = settings_of({"timezone": "UTC", "work_mem": "2MB"})
    assert to_restore(startup, {"timezone", "a"}, every=False) == (b"SET timezone TO 'UTC'",)
    assert to_restore(startup, {"a"}, every=False) == ()
    assert to_restore(startup, (), every=True) == (b"SET timezone TO 'UTC'", b"SET work_mem TO '2MB'")


def test_an_identity_that_is_the_log_ins_own_is_none() -> None:
    told = {"role": "none", "session_authorization": "app", "a": "b"}
    assert drop_self(dict(told), "app") == {"role": None, "session_authorization": None, "a": "b"}
    assert drop_self(dict(told), "else")["session_authorization"] == "app"
