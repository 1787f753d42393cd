"""What a client may say first, and all that it may not."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.protocol import messages
from pgmux.protocol.errors import ClientProtocolError, OptionsError
from pgmux.protocol.startup import (
    MAX_PACKET_BYTES,
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    parse_options,
    parse_startup_packet,
    startup_packet_size,
)


def startup_packet(body: bytes, version: bytes = b"\0\3\0\0") -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + version + body


def test_each_request_is_recognised() -> None:
    assert parse_startup_packet(messages.build_ssl_request()) == SSLRequest()
    assert parse_startup_packet(messages.build_gssenc_request()) == GSSENCRequest()
    assert parse_startup_packet(messages.build_cancel_request(7, b"1234")) == CancelRequest(7, b"1234")
    assert parse_startup_packet(messages.build_cancel_request(7, bytes(256))) == CancelRequest(7, bytes(256))
    built = messages.build_startup_message({"user": "alice", "database": "app"}, (3, 2))
    assert parse_startup_packet(built) == StartupMessage((3, 2), {"user": "alice", "database": "app"}, ())


def test_parameters_keep_their_order_their_empty_values_and_any_bytes() -> None:
    parameters = {"user": "z\udcff", "database": "", "application_name": "naïve", "a": ""}
    message = parse_startup_packet(messages.build_startup_message(parameters))
    assert isinstance(message, StartupMessage)
    assert list(message.parameters.items()) == list(parameters.items())


def test_message_without_parameters_is_whole() -> None:
    assert parse_startup_packet(startup_packet(b"\0")) == StartupMessage((3, 0), {}, ())


def test_protocol_options_are_not_parameters() -> None:
    parameters = {"user": "a", "_pq_.command_id": "1", "options": "-c x=_pq_.y"}
    message = parse_startup_packet(messages.build_startup_message(parameters, (3, 9)))
    assert message == StartupMessage((3, 9), {"user": "a", "options": "-c x=_pq_.y"}, ("_pq_.command_id",))


@pytest.mark.parametrize("version", [b"\0\2\0\0", b"\0\4\0\0", b"\x04\xd2\x16\x31", b"\xff\xff\xff\xff"])
def test_other_major_version_is_told_without_a_look_at_the_rest(version: bytes) -> None:
    message = parse_startup_packet(startup_packet(b"whatever", version))
    assert isinstance(message, StartupMessage)
    assert message.version == (int.from_bytes(version[:2], "big"), int.from_bytes(version[2:], "big"))
    assert message.parameters == {}


@pytest.mark.parametrize(
    "packet",
    [
        startup_packet(b""),
        startup_packet(b"u"),
        startup_packet(b"\0\0"),
        startup_packet(b"user\0alice\0"),
        startup_packet(b"user\0alice"),
        startup_packet(b"user\0\0"),
        startup_packet(b"user\0alice\0database\0\0"),
        startup_packet(b"\0alice\0\0"),
        startup_packet(b"user\0alice\0\0hidden\0\0"),
        startup_packet(b"user\0alice\0\0hidden\0value\0\0"),
        startup_packet(b"user\0alice\0user\0bob\0\0"),
        messages.build_ssl_request()[:3] + b"\x09" + messages.build_ssl_request()[4:] + b"x",
        messages.build_gssenc_request()[:3] + b"\x09" + messages.build_gssenc_request()[4:] + b"x",
        startup_packet(b"\0\0\0\1", b"\x04\xd2\x16\x2e"),
        startup_packet(b"\0\0\0\1123", b"\x04\xd2\x16\x2e"),
        startup_packet(b"\0\0\0\1" + bytes(257), b"\x04\xd2\x16\x2e"),
        b"\0\0\0\x09" + b"\0\3\0\0",
        b"\0\0\0\x08" + b"\0\3\0\0\0",
        b"",
        b"\0\0\0",
    ],
)
def test_malformed_packet_is_the_clients_error(packet: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        parse_startup_packet(packet)


@pytest.mark.parametrize("size", [-(1 << 31), -1, 0, 4, 7, MAX_PACKET_BYTES + 1, (1 << 31) - 1, 0x16030100])
def test_impossible_size_is_refused_at_the_fourth_byte(size: int) -> None:
    head = size.to_bytes(4, "big", signed=True)
    assert startup_packet_size(head[:3]) is None
    with pytest.raises(ClientProtocolError, match="invalid length of start-up packet"):
        startup_packet_size(head)


def test_largest_packet_is_taken_and_one_byte_more_is_not() -> None:
    parameters = {"user": "a", "application_name": ""}
    room = MAX_PACKET_BYTES - len(messages.build_startup_message(parameters))
    largest = messages.build_startup_message(parameters | {"application_name": "x" * room})
    assert isinstance(parse_startup_packet(largest), StartupMessage)
    with pytest.raises(ClientProtocolError):
        parse_startup_packet(
            messages.build_startup_message(parameters | {"application_name": "x" * (room + 1)})
        )


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
            lambda name: not name.startswith("_pq_.")
        ),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    )
)
@settings(deadline=None)
def test_any_parameters_survive_the_way_through_the_wire(parameters: dict[str, str]) -> None:
    assert parse_startup_packet(messages.build_startup_message(parameters)) == ((3, 0), parameters, ())


@given(
    st.binary(max_size=300),
    st.sampled_from([b"\0\3\0\0", b"\0\3\0\2", b"\x04\xd2\x16\x2e", b"\x04\xd2\x16\x2f"]),
)
@settings(deadline=None)
def test_random_packets_raise_nothing_but_the_clients_error(body: bytes, version: bytes) -> None:
    for packet in (body, startup_packet(body, version), startup_packet(body + b"\0\0", version)):
        with suppress(ClientProtocolError):
            parse_startup_packet(packet)


# ---- options


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("   ", {}),
        ("-c work_mem=1MB", {"work_mem": "1MB"}),
        ("-cwork_mem=1MB", {"work_mem": "1MB"}),
        ("--work-mem=1MB", {"work_mem": "1MB"}),
        ("-c Search_Path=a,b  -c\ttimezone=UTC", {"search_path": "a,b", "timezone": "UTC"}),
        ("-c a=1 -c a=2", {"a": "2"}),
        ("-c a=", {"a": ""}),
        ("-c a=b=c", {"a": "b=c"}),
        (r"-c search_path=my\ schema\\x", {"search_path": r"my schema\x"}),
        (r"-c my.guc=x\ ", {"my.guc": "x "}),
    ],
)
def test_options_give_settings(options: str, settings: dict[str, str]) -> None:
    assert parse_options(options) == settings


@pytest.mark.parametrize(
    "options",
    ["-c", "-c=", "-c =", "-c =x", "--", "--=x", "-c work_mem", "-c work_mem -c", "-d 5", "x=y", "-", "\\"],
)
def test_options_that_are_no_settings_are_refused(options: str) -> None:
    with pytest.raises(OptionsError):
        parse_options(options)


@given(st.text(st.sampled_from("-c=ax \\\t_")))
@settings(deadline=None)
def test_random_options_end(options: str) -> None:
    with suppress(OptionsError):
        assert "" not in parse_options(options)
