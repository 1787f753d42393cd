"""The question about a user and its answer; with a PostgreSQL: integration/test_auth_query.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.extended import parse_data_row
from pgmux.protocol.messages import Message, build_error_response, split_messages
from pgmux.protocol.scram import format_verifier
from pgmux.session.lookup import DEFAULT_QUERY, Answer, Lookup, LookupFailed, unpack_answer
from pgmux.session.secret import Password, Secret, hash_md5
from tests.session.connection_pair import VERIFIER

READY = Message(b"Z", b"I")
DONE = Message(b"C", b"SELECT 1\0")


def row(*values: bytes | None) -> Message:
    parts = [
        b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value for value in values
    ]
    return Message(b"D", struct.pack("!h", len(values)) + b"".join(parts))


def answer(*replies: Message, roles: frozenset[str] = frozenset()) -> Answer | None:
    lookup = Lookup("app", "alice", DEFAULT_QUERY, roles)
    heard = [lookup.hear(reply) for reply in replies]
    assert not any(heard[:-1])
    return heard[-1]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (format_verifier(VERIFIER).encode(), VERIFIER),
        (b"md5" + hash_md5("alice", b"x").digest, hash_md5("alice", b"x")),
        (b"open sesame", Password(b"open sesame")),
        (b"", None),
        (None, None),
    ],
)
def test_the_second_column_is_the_secret(text: bytes | None, secret: Secret | None) -> None:
    assert answer(row(b"alice", text), DONE, READY) == Answer(secret, frozenset())


def test_no_row_is_no_user() -> None:
    assert answer(DONE, READY) == Answer(None, frozenset())


def test_roles_are_those_asked_about_of_which_it_is_a_member() -> None:
    wanted = frozenset({"staff", "admins"})
    replies = [DONE, row(b"alice"), row(b"staff"), row(b"others"), DONE, READY]
    assert answer(*replies, roles=wanted) == Answer(None, frozenset({"staff"}))


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([row(b"a", b"x"), row(b"b", b"y"), DONE], "2 rows"),
        ([row(b"a"), DONE], "1 columns"),
        ([row(b"a", b"b", b"c"), DONE], "3 columns"),
        ([row(b"a", b"SCRAM-SHA-256$nonsense"), DONE], "not usable"),
        (
            split_messages(build_error_response("ERROR", "42501", "permission denied"))[0],
            "42501: permission denied",
        ),
        (
            split_messages(build_error_response("ERROR", "57P03", "x", "the reason"))[0],
            "57P03: x: the reason",
        ),
    ],
)
def test_what_is_no_answer_fails_with_its_reason(replies: list[Message], reason: str) -> None:
    with pytest.raises(LookupFailed, match=reason) as failed:
        answer(*replies, READY)
    assert "nonsense" not in str(failed.value)


def test_a_name_that_its_encoding_cannot_hold_is_nobodys() -> None:
    refused = split_messages(build_error_response("ERROR", "22021", "invalid byte sequence"))[0]
    assert answer(*refused, READY) == Answer(None, frozenset())


def test_the_name_is_a_parameter_and_no_part_of_the_statement() -> None:
    user = "'; DROP TABLE x --"
    messages, rest = split_messages(Lookup("app", user, DEFAULT_QUERY, ["staff"]).question())
    assert rest == b""
    assert [message.kind for message in messages] == [*(b"P", b"B", b"E") * 2, b"S"]
    assert [user.encode() in message.body for message in messages] == [*(False, True, False) * 2, False]


def test_equal_questions_have_equal_keys() -> None:
    key = Lookup("app", "alice", DEFAULT_QUERY, ["a", "b"]).key
    assert Lookup("app", "alice", DEFAULT_QUERY, ["b", "a"]).key == key
    others = [
        Lookup("other", "alice", DEFAULT_QUERY, ["a", "b"]),
        Lookup("app", "bob", DEFAULT_QUERY, ["a", "b"]),
        Lookup("app", "alice", "SELECT 1, 2", ["a", "b"]),
        Lookup("app", "alice", DEFAULT_QUERY, ["a"]),
    ]
    assert key not in {other.key for other in others}


@pytest.mark.parametrize("secret", [None, VERIFIER, hash_md5("alice", b"x")])
@pytest.mark.parametrize("roles", [(), ("staff",), ("a", "b\udcff")])
def test_an_answer_is_unpacked_as_it_was_packed(secret: Secret | None, roles: tuple[str, ...]) -> None:
    told = Answer(secret, frozenset(roles))
    packed = told.pack()
    assert packed is not None
    assert unpack_answer(packed) == told


def test_a_password_as_it_is_is_not_packed() -> None:
    assert Answer(Password(b"open sesame"), frozenset()).pack() is None


@given(st.lists(st.tuples(st.sampled_from([b"D", b"C", b"E", b"Z", b"N", b"1"]), st.binary(max_size=30))))
@settings(deadline=None)
def test_random_replies_raise_nothing_but_what_is_said(replies: list[tuple[bytes, bytes]]) -> None:
    lookup = Lookup("app", "alice", DEFAULT_QUERY, ())
    try:
        for kind, body in replies:
            lookup.hear(Message(kind, body))
    except (LookupFailed, BackendProtocolError):
        pass


@given(st.binary(max_size=40))
def test_a_row_holds_what_it_counts(body: bytes) -> None:
    try:
        values = parse_data_row(body)
    except BackendProtocolError:
        return
    assert parse_data_row(row(*values).body) == values
