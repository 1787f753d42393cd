"""The messages of PostgreSQL's protocol 3: builders for them, and parsers of the short ones.

For what happens once per connection: log-in, refusals, the console. What passes with every query is framed by
compiled code and never comes here. Pure functions, bytes in and bytes out; nothing waits and nothing is kept.

Layouts are those of the PostgreSQL manual, chapter "Frontend/Backend Protocol", section "Message
Formats". Text is UTF-8 with surrogateescape, so that names and values in any encoding pass through unharmed.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pgmux.protocol.errors import BackendProtocolError, ClientProtocolError, ProtocolError
from pgmux.protocol.names import AUTHENTICATION, ERROR_FIELDS

LATEST_VERSION: Final = (3, 2)  # the newest (major, minor) that pgmux speaks

# What stands where other start-up packets have their protocol version.
CANCEL_REQUEST_CODE: Final = (1234, 5678)
SSL_REQUEST_CODE: Final = (1234, 5679)
GSSENC_REQUEST_CODE: Final = (1234, 5680)

MIN_CANCEL_KEY: Final = 4  # bytes; before version 3.2 always 4
MAX_CANCEL_KEY: Final = 256

_pack_int = struct.Struct("!i").pack
_unpack_int = struct.Struct("!i").unpack_from
_pack_version = struct.Struct("!HH").pack


class Message(NamedTuple):
    """One message: its type byte, and its body without the length."""

    kind: bytes
    body: bytes


# ---- framing


def build_message(kind: bytes, body: bytes) -> bytes:
    """Give a whole message; `kind` is its type byte."""
    return kind + _pack_int(len(body) + 4) + body


def take_message(buffer: bytearray, max_bytes: int, trouble: type[ProtocolError]) -> Message | None:
    """Remove the first message from the buffer and return it; None while it is incomplete.

    Raises `trouble` for a length that is too small, negative, or greater than `max_bytes`, as soon as the
    length is there, so that nobody buffers what will not be accepted.
    """
    if len(buffer) < 5:
        return None
    length = _unpack_int(buffer, 1)[0]
    if not 4 <= length <= max_bytes:
        raise trouble(f"invalid message length {length}, at most {max_bytes} bytes are expected here")
    end = length + 1
    if len(buffer) < end:
        return None
    message = Message(bytes(buffer[:1]), bytes(buffer[5:end]))
    del buffer[:end]
    return message


def cut_messages(buffer: bytearray, max_bytes: int, trouble: type[ProtocolError]) -> list[bytes]:
    """Remove all whole messages from the buffer and return each as it came, with type and length.

    Raises `trouble` as `take_message` does.
    """
    messages = []
    at = 0
    while len(buffer) - at >= 5:
        length = _unpack_int(buffer, at + 1)[0]
        if not 4 <= length <= max_bytes:
            raise trouble(f"invalid message length {length}, at most {max_bytes} bytes are expected here")
        end = at + length + 1
        if len(buffer) < end:
            break
        messages.append(bytes(buffer[at:end]))
        at = end
    del buffer[:at]
    return messages


def split_messages(
    data: bytes, max_bytes: int = 1 << 20, trouble: type[ProtocolError] = BackendProtocolError
) -> tuple[list[Message], bytes]:
    """Split into whole messages and the rest that is not one yet. Raises `trouble` as `take_message` does."""
    buffer = bytearray(data)
    messages = []
    while (message := take_message(buffer, max_bytes, trouble)) is not None:
        messages.append(message)
    return messages, bytes(buffer)


def encode_text(text: str) -> bytes:
    """Give the String of the manual: the text and its terminator. Raises ValueError for a NUL inside."""
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError("a string of the protocol cannot hold a NUL byte")
    return raw + b"\0"


def decode_text(raw: bytes) -> str:
    """Give the text of a String without its terminator; any bytes are accepted."""
    return raw.decode("utf-8", "surrogateescape")


# ---- sent by a backend


def build_error_response(
    severity: str, sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> bytes:
    """Give an ErrorResponse. Bytes that are not UTF-8 become question marks: the text is for people."""
    return build_message(b"E", _encode_error_fields(severity, sqlstate, message, detail, hint))


def build_notice_response(
    severity: str, sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> bytes:
    """Give a NoticeResponse; as `build_error_response`."""
    return build_message(b"N", _encode_error_fields(severity, sqlstate, message, detail, hint))


def _encode_error_fields(
    severity: str, sqlstate: str, message: str, detail: str | None, hint: str | None
) -> bytes:
    fields = ["S" + severity, "V" + severity, "C" + sqlstate, "M" + message.replace("\0", "?")]
    if detail:
        fields.append("D" + detail.replace("\0", "?"))
    if hint:
        fields.append("H" + hint.replace("\0", "?"))
    return "\0".join(fields).encode("utf-8", "replace") + b"\0\0"


def build_authentication_ok() -> bytes:
    """Give AuthenticationOk: nothing more is asked."""
    return b"R\0\0\0\x08\0\0\0\0"


def build_authentication_cleartext_password() -> bytes:
    """Give AuthenticationCleartextPassword: the password is asked for as it is."""
    return b"R\0\0\0\x08\0\0\0\x03"


def build_authentication_md5_password(salt: bytes) -> bytes:
    """Give AuthenticationMD5Password; the salt is 4 bytes."""
    return b"R\0\0\0\x0c\0\0\0\x05" + salt


def build_authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """Give AuthenticationSASL with the mechanisms on offer, the preferred one first."""
    names = b"".join(map(encode_text, mechanisms))
    return build_message(b"R", _pack_int(10) + names + b"\0")


def build_authentication_sasl_continue(data: bytes) -> bytes:
    """Give AuthenticationSASLContinue with the mechanism's challenge."""
    return build_message(b"R", _pack_int(11) + data)


def build_authentication_sasl_final(data: bytes) -> bytes:
    """Give AuthenticationSASLFinal with the mechanism's outcome."""
    return build_message(b"R", _pack_int(12) + data)


def build_parameter_status(name: str, value: str) -> bytes:
    """Give ParameterStatus. Raises ValueError for a NUL inside."""
    return build_message(b"S", encode_text(name) + encode_text(value))


def build_backend_key_data(pid: int, key: bytes) -> bytes:
    """Give BackendKeyData; the key has 4 to 256 bytes, always 4 before 3.2 (ValueError otherwise)."""
    return b"K" + _pack_int(len(key) + 8) + pid.to_bytes(4, "big") + _check_cancel_key(key)


def build_ready_for_query(status: bytes) -> bytes:
    """Give ReadyForQuery; the status is b"I" (idle), b"T" (in a transaction) or b"E" (in a failed one)."""
    return b"Z\0\0\0\x05" + status


def build_negotiate_protocol_version(version: tuple[int, int], unknown_options: Iterable[str]) -> bytes:
    """Give NegotiateProtocolVersion: the version that will be spoken, and the `_pq_.` options nobody knows.

    The version is sent whole, major and minor, as PostgreSQL and libpq do.
    """
    names = [encode_text(name) for name in unknown_options]
    return build_message(b"v", _pack_version(*version) + _pack_int(len(names)) + b"".join(names))


# ---- sent by a client


def build_startup_message(parameters: Mapping[str, str], version: tuple[int, int] = (3, 0)) -> bytes:
    """Give StartupMessage. Raises ValueError for an empty name or a NUL inside."""
    if "" in parameters:
        raise ValueError("a start-up parameter needs a name")
    pairs = b"".join(encode_text(name) + encode_text(value) for name, value in parameters.items())
    return _build_startup_packet(version, pairs + b"\0")


def build_cancel_request(pid: int, key: bytes) -> bytes:
    """Give CancelRequest with what BackendKeyData told; the key has 4 to 256 bytes (ValueError otherwise)."""
    return _build_startup_packet(CANCEL_REQUEST_CODE, pid.to_bytes(4, "big") + _check_cancel_key(key))


def build_ssl_request() -> bytes:
    """Give SSLRequest; the answer is one byte, S or N."""
    return _build_startup_packet(SSL_REQUEST_CODE, b"")


def build_gssenc_request() -> bytes:
    """Give GSSENCRequest; the answer is one byte, G or N."""
    return _build_startup_packet(GSSENC_REQUEST_CODE, b"")


def _build_startup_packet(version: tuple[int, int], body: bytes) -> bytes:
    return _pack_int(len(body) + 8) + _pack_version(*version) + body


def _check_cancel_key(key: bytes) -> bytes:
    if not MIN_CANCEL_KEY <= len(key) <= MAX_CANCEL_KEY:
        raise ValueError(f"a cancel key has {MIN_CANCEL_KEY} to {MAX_CANCEL_KEY} bytes, not {len(key)}")
    return key


def build_password_message(password: bytes) -> bytes:
    """Give PasswordMessage: the password itself, or the answer to AuthenticationMD5Password."""
    return build_message(b"p", password + b"\0")


def build_sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    """Give SASLInitialResponse: the mechanism chosen, and the client's first words in it."""
    return build_message(b"p", encode_text(mechanism) + _pack_int(len(data)) + data)


def build_sasl_response(data: bytes) -> bytes:
    """Give SASLResponse."""
    return build_message(b"p", data)


def build_query(sql: str) -> bytes:
    """Give Query. Raises ValueError for a NUL inside."""
    return build_message(b"Q", encode_text(sql))


def build_sync() -> bytes:
    """Give Sync."""
    return b"S\0\0\0\x04"


def build_terminate() -> bytes:
    """Give Terminate: the client leaves."""
    return b"X\0\0\0\x04"


# ---- parsers of what a client sends


def parse_password_message(body: bytes) -> bytes:
    """Give the password, without its terminator. Raises ClientProtocolError."""
    if not body.endswith(b"\0") or b"\0" in body[:-1]:
        raise ClientProtocolError("invalid password message: one terminated string is expected")
    return body[:-1]


def parse_sasl_initial_response(body: bytes) -> tuple[str, bytes]:
    """Give the mechanism chosen and the client's first words. Raises ClientProtocolError."""
    mechanism, terminator, rest = body.partition(b"\0")
    if not terminator or len(rest) < 4 or _unpack_int(rest)[0] != len(rest) - 4:
        raise ClientProtocolError("invalid SASL initial response: its lengths do not agree")
    return decode_text(mechanism), rest[4:]


# ---- parsers of what a backend sends


def parse_error_fields(body: bytes) -> dict[str, str]:
    """Give the fields of an ErrorResponse or NoticeResponse by their names in ERROR_FIELDS.

    A field with an unknown letter is kept under its letter. Raises BackendProtocolError.
    """
    if not body.endswith(b"\0") or (len(body) > 1 and not body.endswith(b"\0\0")):
        raise BackendProtocolError("an ErrorResponse without its terminator")
    fields = decode_text(body).rstrip("\0").split("\0") if len(body) > 1 else []
    return {ERROR_FIELDS.get(field[:1], field[:1]): field[1:] for field in fields if field}


def parse_authentication(body: bytes) -> tuple[str, bytes]:
    """Give the name in AUTHENTICATION and the data that follow. Raises BackendProtocolError."""
    if len(body) < 4:
        raise BackendProtocolError("an Authentication message without its code")
    code = _unpack_int(body)[0]
    return AUTHENTICATION.get(code, f"Authentication request {code}"), body[4:]


def parse_sasl_mechanisms(data: bytes) -> list[str]:
    """Give the mechanisms of an AuthenticationSASL. Raises BackendProtocolError."""
    if not data.endswith(b"\0\0"):
        raise BackendProtocolError("an AuthenticationSASL without its terminator")
    return decode_text(data[:-2]).split("\0")


def parse_parameter_status(body: bytes) -> tuple[str, str]:
    """Give name and value. Raises BackendProtocolError."""
    if body.count(b"\0") != 2 or not body.endswith(b"\0"):
        raise BackendProtocolError("a ParameterStatus that is not two strings")
    name, value = decode_text(body[:-1]).split("\0")
    return name, value


def parse_backend_key_data(body: bytes) -> tuple[int, bytes]:
    """Give pid and cancel key. Raises BackendProtocolError."""
    if not MIN_CANCEL_KEY <= len(body) - 4 <= MAX_CANCEL_KEY:
        raise BackendProtocolError(f"a BackendKeyData of {len(body)} bytes")
    return int.from_bytes(body[:4], "big"), body[4:]


def channel_of(notification: bytes) -> bytes:
    """Give the channel of a whole NotificationResponse. Raises ValueError for one that was cut."""
    start = 9  # after type, length and the notifying process's id
    return notification[start : notification.index(0, start)]


def parse_negotiate_protocol_version(body: bytes) -> tuple[tuple[int, int], list[str]]:
    """Give the newest version spoken there and the options unknown there. Raises BackendProtocolError."""
    if len(body) < 8:
        raise BackendProtocolError("a NegotiateProtocolVersion cut short")
    major, minor, count = struct.unpack_from("!HHi", body)
    names = decode_text(body[8:]).split("\0")
    if names.pop() or len(names) != count:
        raise BackendProtocolError("a NegotiateProtocolVersion that does not hold what it counts")
    return (major, minor), names
