"""What a client may say first: StartupMessage, CancelRequest, SSLRequest or GSSENCRequest.

These packets have no type byte: a length, then a protocol version or, in its place, one of three codes. They
come from anybody who can reach the port, so every length is checked before a byte more is awaited, and all
work is linear in a packet of at most 10,000 bytes. Pure functions: bytes in, one of four requests out.

Manual: chapter "Frontend/Backend Protocol", sections "Message Flow, Start-up" and "Message Formats".
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from pgmux.protocol.errors import ClientProtocolError, OptionsError
from pgmux.protocol.messages import (
    CANCEL_REQUEST_CODE,
    GSSENC_REQUEST_CODE,
    MAX_CANCEL_KEY,
    MIN_CANCEL_KEY,
    SSL_REQUEST_CODE,
)

MIN_PACKET_BYTES: Final = 8  # the length itself and a code
MAX_PACKET_BYTES: Final = 10_000

_EXTENSION_PREFIX: Final = "_pq_."  # options of the protocol itself, never settings of the session

_unpack_length = struct.Struct("!i").unpack_from
_unpack_version = struct.Struct("!HH").unpack_from


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """The client asks for TLS; it waits for one byte."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """The client asks for GSSAPI encryption; it waits for one byte."""


class CancelRequest(NamedTuple):
    """The client asks that the query of another connection be cancelled; no answer is given."""

    pid: int
    key: bytes  # 4 to 256 bytes


class StartupMessage(NamedTuple):
    """The client asks for a session."""

    version: tuple[int, int]  # major, minor; as asked for
    parameters: dict[str, str]  # as sent, in order; empty for a major version other than 3
    extensions: tuple[str, ...]  # names of the `_pq_.` options, which are not in `parameters`


def startup_packet_size(buffer: bytes | bytearray) -> int | None:
    """Give the size of the packet that begins here, in bytes; None before its length is there.

    Raises ClientProtocolError for a size outside MIN_PACKET_BYTES .. MAX_PACKET_BYTES.
    """
    if len(buffer) < 4:
        return None
    size: int = _unpack_length(buffer)[0]
    if not MIN_PACKET_BYTES <= size <= MAX_PACKET_BYTES:
        raise ClientProtocolError(f"invalid length of start-up packet: {size} bytes")
    return size


def parse_startup_packet(packet: bytes) -> SSLRequest | GSSENCRequest | CancelRequest | StartupMessage:
    """Give the request in one whole packet, its length included. Raises ClientProtocolError."""
    if startup_packet_size(packet) != len(packet):
        raise ClientProtocolError("the start-up packet has another length than it says")
    version = _unpack_version(packet, 4)
    if version == CANCEL_REQUEST_CODE:
        return _parse_cancel_request(packet)
    if version in (SSL_REQUEST_CODE, GSSENC_REQUEST_CODE):
        if len(packet) != MIN_PACKET_BYTES:
            raise ClientProtocolError("a request for encryption holds nothing but its code")
        return SSLRequest() if version == SSL_REQUEST_CODE else GSSENCRequest()
    if version[0] != 3:  # what follows may look like anything: version 2 had fields of fixed size
        return StartupMessage(version, {}, ())
    return _parse_startup_message(version, packet)


def _parse_cancel_request(packet: bytes) -> CancelRequest:
    key = packet[12:]
    if not MIN_CANCEL_KEY <= len(key) <= MAX_CANCEL_KEY:
        raise ClientProtocolError(f"a cancel request of {len(packet)} bytes")
    return CancelRequest(int.from_bytes(packet[8:12], "big"), key)


def _parse_startup_message(version: tuple[int, int], packet: bytes) -> StartupMessage:
    if len(packet) == 9 and packet[8] == 0:
        return StartupMessage(version, {}, ())
    if len(packet) < 10 or packet[-2:] != b"\0\0":
        raise ClientProtocolError("the start-up packet does not end with a terminator")
    fields = packet[8:-2].decode("utf-8", "surrogateescape").split("\0")
    names = fields[::2]
    if len(fields) % 2 or "" in names:
        raise ClientProtocolError("the start-up packet does not hold pairs of a name and a value")
    parameters = dict(zip(names, fields[1::2], strict=True))
    if len(parameters) != len(names):
        raise ClientProtocolError("the start-up packet names a parameter twice")
    extensions: tuple[str, ...] = ()
    if b"_pq_." in packet:
        extensions = tuple(name for name in names if name.startswith(_EXTENSION_PREFIX))
        for name in extensions:
            del parameters[name]
    return StartupMessage(version, parameters, extensions)


def parse_options(options: str) -> dict[str, str]:
    """Give the settings in the start-up parameter `options`, names in lower case, the last of equals winning.

    Understood are `-c name=value`, `-cname=value` and `--name=value`, with `-` for `_` in names, separated by
    white space; a backslash takes the next character as it is. Raises OptionsError for anything else.

    Manual: chapter "Database Connection Control Functions", section "Parameter Key Words", `options`; and the
    reference page of `postgres`.
    """
    settings: dict[str, str] = {}
    words = iter(_split_options(options))
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            raise OptionsError(f'invalid start-up option "{word}", only -c name=value is understood')
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise OptionsError(f'start-up option "{word}" needs name=value, not "{setting}"')
        settings[name.replace("-", "_").lower()] = value
    return settings


def _split_options(options: str) -> list[str]:
    words = []
    word: list[str] | None = None
    characters = iter(options)
    for character in characters:
        if character in " \t\n\r\v\f":
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        word.append(next(characters, "") if character == "\\" else character)
    if word is not None:
        words.append("".join(word))
    return words
