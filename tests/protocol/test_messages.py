"""Every builder byte for byte as the manual's "Message Formats" has it, and the parsers that undo them."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.protocol import messages
from pgmux.protocol.errors import BackendProtocolError, ClientProtocolError, ProtocolError
from pgmux.protocol.names import BACKEND, FRONTEND

BUILT = [
    (messages.build_authentication_ok(), b"R\0\0\0\x08\0\0\0\0"),
    (messages.build_authentication_cleartext_password(), b"R\0\0\0\x08\0\0\0\x03"),
    (messages.build_authentication_md5_password(b"salt"), b"R\0\0\0\x0c\0\0\0\x05salt"),
    (
        messages.build_authentication_sasl(["SCRAM-SHA-256"]),
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
    ),
    (messages.build_authentication_sasl_continue(b"r=x"), b"R\0\0\0\x0b\0\0\0\x0br=x"),
    (messages.build_authentication_sasl_final(b"v=y"), b"R\0\0\0\x0b\0\0\0\x0cv=y"),
    (messages.build_parameter_status("TimeZone", "UTC"), b"S\0\0\0\x11TimeZone\0UTC\0"),
    (messages.build_backend_key_data(258, b"\1\2\3\4"), b"K\0\0\0\x0c\0\0\1\2\1\2\3\4"),
    (messages.build_backend_key_data(1, bytes(256)), b"K\0\0\1\x08\0\0\0\1" + bytes(256)),
    (messages.build_ready_for_query(b"I"), b"Z\0\0\0\x05I"),
    (
        messages.build_negotiate_protocol_version((3, 2), ["_pq_.a", "_pq_.b"]),
        b"v\0\0\0\x1a\0\3\0\2\0\0\0\2_pq_.a\0_pq_.b\0",
    ),
    (messages.build_negotiate_protocol_version((3, 0), []), b"v\0\0\0\x0c\0\3\0\0\0\0\0\0"),
    (
        messages.build_error_response("FATAL", "3D000", "no"),
        b"E\0\0\0\x1eSFATAL\0VFATAL\0C3D000\0Mno\0\0",
    ),
    (
        messages.build_error_response("ERROR", "53300", "m", "d", "h"),
        b"E\0\0\0\x23SERROR\0VERROR\0C53300\0Mm\0Dd\0Hh\0\0",
    ),
    (
        messages.build_notice_response("NOTICE", "00000", "m"),
        b"N\0\0\0\x1fSNOTICE\0VNOTICE\0C00000\0Mm\0\0",
    ),
    (
        messages.build_startup_message({"user": "a", "database": ""}),
        b"\0\0\0\x1a\0\3\0\0user\0a\0database\0\0\0",
    ),
    (messages.build_startup_message({}, (3, 2)), b"\0\0\0\x09\0\3\0\2\0"),
    (messages.build_cancel_request(1, b"key!"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1key!"),
    (messages.build_ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
    (messages.build_gssenc_request(), b"\0\0\0\x08\x04\xd2\x16\x30"),
    (messages.build_password_message(b"secret"), b"p\0\0\0\x0bsecret\0"),
    (
        messages.build_sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x"),
        b"p\0\0\0\x1fSCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x",
    ),
    (messages.build_sasl_response(b"c=biws"), b"p\0\0\0\x0ac=biws"),
    (messages.build_query("select 1"), b"Q\0\0\0\x0dselect 1\0"),
    (messages.build_sync(), b"S\0\0\0\x04"),
    (messages.build_terminate(), b"X\0\0\0\x04"),
]


@pytest.mark.parametrize(("built", "expected"), BUILT)
def test_message_is_built_as_the_manual_says(built: bytes, expected: bytes) -> None:
    assert built == expected


def test_no_type_byte_and_no_name_stands_twice_in_a_table() -> None:
    for table in (FRONTEND, BACKEND):
        assert all(len(kind) == 1 for kind in table)
        assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    "build",
    [
        lambda: messages.build_parameter_status("a\0b", "c"),
        lambda: messages.build_query("select 1\0; drop table t"),
        lambda: messages.build_startup_message({"user": "a\0database\0b"}),
        lambda: messages.build_startup_message({"": "a"}),
        lambda: messages.build_backend_key_data(1, b"123"),
        lambda: messages.build_backend_key_data(1, bytes(257)),
        lambda: messages.build_cancel_request(1, b""),
    ],
)
def test_what_the_protocol_cannot_carry_is_not_built(build: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError):
        build()


def test_error_response_is_text_for_people_whatever_a_client_called_itself() -> None:
    built = messages.build_error_response("FATAL", "28P01", 'user "a\0b\udcff"', "d\0", "h\0")
    assert built.endswith(b'Muser "a?b?"\0Dd?\0Hh?\0\0')


# ---- framing


def test_messages_cut_at_every_byte_are_the_same_messages() -> None:
    stream = messages.build_query("select 1") + messages.build_sync() + messages.build_password_message(b"x")
    expected = messages.split_messages(stream)
    assert [message.kind for message in expected[0]] == [b"Q", b"S", b"p"]
    for cut in range(len(stream) + 1):
        first, rest = messages.split_messages(stream[:cut])
        second, nothing = messages.split_messages(rest + stream[cut:])
        assert (first + second, nothing) == expected


def test_buffer_keeps_what_follows_the_message_taken() -> None:
    buffer = bytearray(messages.build_sync() + b"Q\0\0")
    assert messages.take_message(buffer, 100, ClientProtocolError) == (b"S", b"")
    assert buffer == b"Q\0\0"
    assert messages.take_message(buffer, 100, ClientProtocolError) is None
    assert buffer == b"Q\0\0"


def test_whole_messages_are_cut_out_as_they_came_and_the_rest_stays() -> None:
    whole = [messages.build_query("select 1"), messages.build_sync(), messages.build_message(b"A", bytes(99))]
    stream = b"".join(whole)
    for cut in range(len(stream) + 1):
        buffer = bytearray(stream[:cut])
        found = messages.cut_messages(buffer, 1000, BackendProtocolError)
        assert b"".join(found) + buffer == stream[:cut]
        buffer += stream[cut:]
        assert found + messages.cut_messages(buffer, 1000, BackendProtocolError) == whole
        assert buffer == b""


def test_a_notification_has_its_channel() -> None:
    body = b"\0\0\0\x07" + "Größe".encode() + b"\0payload\0"
    assert messages.channel_of(messages.build_message(b"A", body)) == "Größe".encode()
    with pytest.raises(ValueError):
        messages.channel_of(messages.build_message(b"A", body[:6]))


@pytest.mark.parametrize(
    "length", [b"\0\0\0\x03", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x65", b"\x7f\xff\xff\xff"]
)
@pytest.mark.parametrize("trouble", [ClientProtocolError, BackendProtocolError])
def test_impossible_length_is_refused_before_the_body_is_awaited(
    length: bytes, trouble: type[ProtocolError]
) -> None:
    with pytest.raises(trouble, match="invalid message length"):
        messages.take_message(bytearray(b"p" + length), 100, trouble)
    with pytest.raises(trouble, match="invalid message length"):
        messages.cut_messages(bytearray(messages.build_sync() + b"p" + length), 100, trouble)


def test_longest_message_allowed_is_taken() -> None:
    message = messages.build_message(b"p", bytes(96))
    assert messages.take_message(bytearray(message), 100, ClientProtocolError) == (b"p", bytes(96))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_random_bytes_are_split_or_refused(data: bytes) -> None:
    try:
        found, rest = messages.split_messages(data)
    except BackendProtocolError:
        return
    assert b"".join(messages.build_message(*message) for message in found) + rest == data


# ---- parsers


def body_of(message: bytes) -> bytes:
    return message[5:]


def test_password_is_one_terminated_string() -> None:
    assert messages.parse_password_message(b"secret\0") == b"secret"
    assert messages.parse_password_message(b"\0") == b""
    for body in (b"", b"secret", b"se\0cret", b"se\0cret\0", b"secret\0\0"):
        with pytest.raises(ClientProtocolError):
            messages.parse_password_message(body)


def test_sasl_initial_response_is_undone_and_its_lengths_must_agree() -> None:
    body = body_of(messages.build_sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x"))
    assert messages.parse_sasl_initial_response(body) == ("SCRAM-SHA-256", b"n,,n=,r=x")
    wrong = [body[:cut] for cut in range(len(body))] + [body + b"x", b"M\0\xff\xff\xff\xff"]
    for changed in wrong:
        with pytest.raises(ClientProtocolError):
            messages.parse_sasl_initial_response(changed)


def test_error_fields_have_names_and_unknown_ones_their_letter() -> None:
    body = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0D\0Rroutine\0zfuture\0\0"
    assert messages.parse_error_fields(body) == {
        "severity": "FATAL",
        "severity_nonlocalized": "FATAL",
        "sqlstate": "57P03",
        "message": "the database system is starting up",
        "detail": "",
        "routine": "routine",
        "z": "future",
    }
    assert messages.parse_error_fields(b"\0") == {}


def test_error_fields_undo_what_was_built() -> None:
    built = messages.build_error_response("ERROR", "53300", "zu spät", "detail", "hint")
    fields = messages.parse_error_fields(body_of(built))
    assert (fields["message"], fields["detail"], fields["hint"]) == ("zu spät", "detail", "hint")


def test_authentication_kinds_have_the_manuals_names() -> None:
    assert messages.parse_authentication(b"\0\0\0\x05salt") == ("AuthenticationMD5Password", b"salt")
    assert messages.parse_authentication(b"\0\0\0\x63") == ("Authentication request 99", b"")
    body = body_of(messages.build_authentication_sasl(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]))
    name, data = messages.parse_authentication(body)
    assert name == "AuthenticationSASL"
    assert messages.parse_sasl_mechanisms(data) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


def test_parsers_of_backend_messages_undo_the_builders() -> None:
    status = body_of(messages.build_parameter_status("application_name", ""))
    assert messages.parse_parameter_status(status) == ("application_name", "")
    key_data = body_of(messages.build_backend_key_data(0x80000001, bytes(32)))
    assert messages.parse_backend_key_data(key_data) == (0x80000001, bytes(32))
    for names in ([], ["_pq_.a"], ["_pq_.a", "_pq_.b"]):
        negotiate = body_of(messages.build_negotiate_protocol_version((3, 2), names))
        assert messages.parse_negotiate_protocol_version(negotiate) == ((3, 2), names)


MALFORMED: list[tuple[Callable[[bytes], object], bytes]] = [
    (messages.parse_error_fields, b""),
    (messages.parse_error_fields, b"SFATAL\0"),
    (messages.parse_authentication, b"\0\0\0"),
    (messages.parse_sasl_mechanisms, b"SCRAM-SHA-256\0"),
    (messages.parse_parameter_status, b"name\0value"),
    (messages.parse_parameter_status, b"name\0"),
    (messages.parse_parameter_status, b"name\0value\0x\0"),
    (messages.parse_backend_key_data, b"\0\0\0\1\1\2\3"),
    (messages.parse_backend_key_data, bytes(261)),
    (messages.parse_negotiate_protocol_version, b"\0\3\0\2\0\0\0"),
    (messages.parse_negotiate_protocol_version, b"\0\3\0\2\0\0\0\1"),
    (messages.parse_negotiate_protocol_version, b"\0\3\0\2\0\0\0\2a\0"),
    (messages.parse_negotiate_protocol_version, b"\0\3\0\2\xff\xff\xff\xff"),
]


@pytest.mark.parametrize(("parse", "body"), MALFORMED)
def test_malformed_message_of_a_backend_is_its_error(parse: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(BackendProtocolError):
        parse(body)


PARSERS = [
    *sorted({parse for parse, _ in MALFORMED}, key=lambda parse: parse.__name__),
    messages.parse_password_message,
    messages.parse_sasl_initial_response,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(body=st.binary(max_size=100))
@settings(deadline=None)
def test_random_bodies_raise_nothing_but_protocol_errors(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    with suppress(ProtocolError):
        parse(body)
