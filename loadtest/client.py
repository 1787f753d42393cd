"""A PostgreSQL client of sixty lines: it logs in, by trust or SCRAM, and asks simple queries.

It waits with blocking sockets. Log-in is two steps, so that many clients can be on their way at once:
send_startup on each, then wait_until_ready on each. Source: PostgreSQL manual, "Message Flow".
"""

from __future__ import annotations

import hmac
import socket
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from pgmux.errors import PgmuxError

USER = DATABASE = PASSWORD = "bench"
_TIMEOUT_S = 30.0
_PROTOCOL_3_0 = 3 << 16
_SCRAM_ITERATIONS = 16  # all of them are the client's work, who is not measured
_SALT = b"of the bench"
_FIRST_BARE = "n=,r=nonce-of-a-bench"
_SASL, _SASL_CONTINUE, _SASL_FINAL = 10, 11, 12  # of Authentication messages


@dataclass(frozen=True)
class Address:
    """Where clients connect to; a host that begins with a slash is a Unix socket's folder."""

    host: str
    port: int


class Client:
    """One connection; the with statement closes it. Raises OSError as sockets do, and PgmuxError with the
    server's words for every ErrorResponse.
    """

    def __init__(self, address: Address) -> None:
        is_unix = address.host.startswith("/")
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        self._socket.settimeout(_TIMEOUT_S)
        try:
            if is_unix:
                self._socket.connect(f"{address.host}/.s.PGSQL.{address.port}")
            else:
                self._socket.connect((address.host, address.port))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection without a word, as a client that died."""
        self._socket.close()

    def send_startup(self) -> None:
        """Sends the StartupMessage."""
        fields = f"user\0{USER}\0database\0{DATABASE}\0application_name\0bench\0\0".encode()
        self._socket.sendall(struct.pack("!II", len(fields) + 8, _PROTOCOL_3_0) + fields)

    def send_query(self, text: str) -> None:
        """Sends a simple query."""
        self._send(b"Q", text.encode() + b"\0")

    def wait_until_ready(self) -> str | None:
        """Reads up to the next ReadyForQuery; gives the first column of the last row, None without rows."""
        value = None
        while True:
            kind, body = self._read_message()
            if kind == b"E":
                raise PgmuxError(_message_of(body))
            if kind == b"R" and body != b"\0\0\0\0":
                self._authenticate(body)
            if kind == b"D":
                (length,) = struct.unpack_from("!i", body, 2)
                value = body[6 : 6 + max(0, length)].decode()
            if kind == b"Z":
                return value

    def _authenticate(self, request: bytes) -> None:
        """Answers an Authentication message. Source: RFC 5802; PostgreSQL manual, "SASL Authentication"."""
        (code,) = struct.unpack_from("!i", request)
        if code == _SASL:
            first = f"n,,{_FIRST_BARE}".encode()
            self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        elif code == _SASL_CONTINUE:
            self._send(b"p", _client_final(request[4:].decode()).encode())
        elif code != _SASL_FINAL:
            raise PgmuxError("the server wants a log-in that is neither trust nor SCRAM")

    def _send(self, kind: bytes, body: bytes) -> None:
        self._socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def query(self, text: str) -> str | None:
        """Asks, and gives what wait_until_ready gives."""
        self.send_query(text)
        return self.wait_until_ready()

    def _read_message(self) -> tuple[bytes, bytes]:
        while len(self._received) < 5 or len(self._received) < self._message_bytes():
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._received += data
        size = self._message_bytes()
        message, self._received = self._received[:size], self._received[size:]
        return message[:1], message[5:]

    def _message_bytes(self) -> int:
        return 1 + int(struct.unpack_from("!I", self._received, 1)[0])


def log_in(address: Address) -> Client:
    """A client that is logged in."""
    client = Client(address)
    try:
        client.send_startup()
        client.wait_until_ready()
    except BaseException:
        client.close()
        raise
    return client


def write_userlist(folder: Path) -> Path:
    """Writes an auth_file with our user's SCRAM verifier, which is what PostgreSQL would give; gives its path."""
    client_key, server_key = _keys(_SALT, _SCRAM_ITERATIONS)
    salt, stored, server = (
        b64encode(each).decode() for each in (_SALT, sha256(client_key).digest(), server_key)
    )
    users = folder / "userlist.txt"
    users.write_text(f'"{USER}" "SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt}${stored}:{server}"\n')
    return users


def _client_final(server_first: str) -> str:
    """What proves to the server that we know the password; its own proof we do not ask for."""
    nonce, salt, iterations = (part[2:] for part in server_first.split(","))
    without_proof = f"c=biws,r={nonce}"
    client_key, _ = _keys(b64decode(salt), int(iterations))
    said = f"{_FIRST_BARE},{server_first},{without_proof}".encode()
    signature = hmac.digest(sha256(client_key).digest(), said, "sha256")
    proof = bytes(key ^ sign for key, sign in zip(client_key, signature, strict=True))
    return f"{without_proof},p={b64encode(proof).decode()}"


def _keys(salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """ClientKey and ServerKey."""
    salted = pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
    return hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256")


def _message_of(error_response: bytes) -> str:
    fields = {field[:1]: field[1:] for field in error_response.split(b"\0") if field}
    return fields.get(b"M", b"an error without a message").decode(errors="replace")
