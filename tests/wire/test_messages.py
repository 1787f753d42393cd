"""The decoding and the building of messages, by themselves."""

from __future__ import annotations

import pytest

from tests.wire import Message, Replies, WireFormatError, frontend, split_messages
from tests.wire.secrets import ScramClient, md5_answer
from tests.wire.transcript import Transcript


def decoded(data: bytes) -> list[str]:
    messages, rest = split_messages(data, "client")
    assert rest == b""
    return [repr(message) for message in messages]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (frontend.query("SELECT 'ä'"), "Query(sql=\"SELECT 'ä'\")"),
        (frontend.parse("SELECT $1", "s", [23]), "Parse(name='s', sql='SELECT $1', types=[23])"),
        (
            frontend.bind([b"1", None], "s", "p", [0, 1], [1]),
            "Bind(portal='p', statement='s', formats=[0, 1], values=[b'1', None], result_formats=[1])",
        ),
        (frontend.describe_statement("s"), "Describe(kind='S', name='s')"),
        (frontend.describe_portal(), "Describe(kind='P', name='')"),
        (frontend.execute("p", 10), "Execute(portal='p', limit=10)"),
        (frontend.close_statement("s"), "Close(kind='S', name='s')"),
        (frontend.close_portal("p"), "Close(kind='P', name='p')"),
        (frontend.sync(), "Sync()"),
        (frontend.flush(), "Flush()"),
        (frontend.copy_data(b"1\n"), "CopyData(data=b'1\\n')"),
        (frontend.copy_done(), "CopyDone()"),
        (frontend.copy_fail("enough"), "CopyFail(reason='enough')"),
        (
            frontend.function_call(1598, [b"x"]),
            "FunctionCall(function=1598, formats=[], values=[b'x'], result_format=0)",
        ),
        (frontend.terminate(), "Terminate()"),
        (frontend.password("secret"), "Password(data=b'secret\\x00')"),
    ],
    ids=lambda value: value.split("(")[0] if isinstance(value, str) else None,
)
def test_every_message_of_a_client_reads_as_it_was_built(data: bytes, told: str) -> None:
    assert decoded(data) == [told]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (frontend.startup({"user": "app"}), b"\0\0\0\x12\0\x03\0\0user\0app\0\0"),
        (frontend.startup({}, (3, 2)), b"\0\0\0\x09\0\x03\0\x02\0"),
        (frontend.ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (frontend.gssenc_request(), b"\0\0\0\x08\x04\xd2\x16\x30"),
        (frontend.cancel_request(258, b"keys"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x01\x02keys"),
        (frontend.message(b"Q", b"x", length=99), b"Q\0\0\0\x63x"),
    ],
    ids=["startup", "startup 3.2", "ssl", "gssenc", "cancel", "wrong length"],
)
def test_what_comes_before_the_log_in_is_as_in_the_manual(data: bytes, wanted: bytes) -> None:
    assert data == wanted


def test_messages_are_split_at_every_point() -> None:
    data = frontend.extended("SELECT 1")
    whole, _ = split_messages(data, "client")
    assert "".join(message.type.decode() for message in whole) == "PBDES"
    for point in range(len(data)):
        first, rest = split_messages(data[:point], "client")
        second, nothing = split_messages(rest + data[point:], "client")
        assert first + second == whole
        assert nothing == b""


def test_a_length_that_cannot_be_is_refused() -> None:
    with pytest.raises(WireFormatError, match="a message of length 3"):
        split_messages(b"Q\0\0\0\x03", "client")


@pytest.mark.parametrize("body", [b"I!", b""], ids=["too long", "too short"])
def test_a_body_must_hold_exactly_its_fields(body: bytes) -> None:
    message = Message(b"Z", body)
    with pytest.raises(WireFormatError):
        message["status"]
    assert "undecodable" in repr(message)


def test_a_type_that_a_server_does_not_send_is_refused() -> None:
    with pytest.raises(WireFormatError, match="a server sends no message of type b'Q'"):
        repr(Message(b"Q", b"SELECT 1\0"))


def test_a_field_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(WireFormatError, match="ReadyForQuery has no tag, only status"):
        Message(b"Z", b"I")["tag"]


def test_replies_tell_what_was_answered() -> None:
    row = Message(b"D", b"\0\2\0\0\0\1x\xff\xff\xff\xff")
    error = Message(b"E", b"SERROR\0C42P01\0Mno table\0\0")
    replies = Replies([row, Message(b"C", b"SELECT 1\0"), error, Message(b"Z", b"T")])
    assert replies.types == b"DCEZ"
    assert replies.rows == [[b"x", None]]
    assert replies.tags == ["SELECT 1"]
    assert (replies.sqlstate, replies.error["M"]) == ("42P01", "no table")
    assert replies.status == "T"


def test_a_transcript_shows_both_sides_and_what_is_no_message() -> None:
    transcript = Transcript("a talk")
    transcript.add_sent(frontend.sync() + b"Q\0\0")
    transcript.add(Message(b"Z", b"I"))
    title, sync, rest, ready = str(transcript).splitlines()
    assert title == "a talk"
    assert sync.endswith("→ Sync()")
    assert rest.endswith("→ 3 bytes b'Q\\x00\\x00'")
    assert ready.endswith("← ReadyForQuery(status='I')")


def test_a_long_transcript_keeps_its_end() -> None:
    transcript = Transcript("a long talk")
    for number in range(600):
        transcript.note(f"line {number}")
    lines = str(transcript).splitlines()
    assert lines[1] == "(100 lines left out)"
    assert lines[-1].endswith("line 599")


def test_a_long_message_is_shown_in_short() -> None:
    shown = repr(Message(b"d", bytes(1_000_000)))
    assert len(shown) < 500
    assert shown.endswith("… 1000000 bytes)")


def test_md5_is_as_in_the_manual() -> None:
    """concat('md5', md5(concat(md5(concat(password, username)), random-salt))), made once with md5sum(1)."""
    assert md5_answer("app", "secret", b"salt") == "md5" + MD5_OF_THE_EXAMPLE


MD5_OF_THE_EXAMPLE = "7f097e06031b34893c20e25a0e68242c"


def test_scram_refuses_a_server_that_does_not_know_the_password() -> None:
    client = ScramClient("secret")
    nonce = client.first().decode().rsplit("r=", 1)[1]
    client.final(f"r={nonce}more,s=c2FsdA==,i=4096".encode())
    with pytest.raises(ValueError, match="the server's signature is wrong"):
        client.check(b"v=AAAA")


def test_scram_refuses_a_nonce_that_is_not_ours() -> None:
    with pytest.raises(ValueError, match="does not continue ours"):
        ScramClient("secret").final(b"r=another,s=c2FsdA==,i=4096")
