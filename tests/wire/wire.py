"""A client that says exactly what a test tells it, over a blocking socket.

with Wire("127.0.0.1", port) as wire: wire.startup(user="app", database="app") assert wire.query("SELECT
1").types == b"TDCZ"

Every wait ends after `timeout_s` with an exception that shows the whole conversation. A Wire left open is
closed at the end of its test, and a failed test prints it (tests/fix_wire.py).
"""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType
from typing import Self

from tests.wire import frontend
from tests.wire.messages import Message, Replies, WireFormatError
from tests.wire.secrets import ScramClient, md5_answer
from tests.wire.transcript import Transcript

OPENED: list[Wire] = []  # all since the test began


class WireClosedError(Exception):
    """The other side closed the connection while more was expected of it."""


class WireTimeoutError(Exception):
    """Nothing came in time."""


class LoginRefusedError(Exception):
    """The log-in was answered by an ErrorResponse."""

    def __init__(self, fields: dict[str, str], transcript: str) -> None:
        super().__init__(f"{fields.get('C')} {fields.get('M')}\n{transcript}")
        self.fields = fields
        self.sqlstate = fields["C"]


class Wire:
    """One connection to a PostgreSQL or a pgmux; a host that begins with "/" is a Unix socket's folder."""

    def __init__(self, host: str, port: int, timeout_s: float = 10.0) -> None:
        self._target = (host, port)
        self.transcript = Transcript(f"{host}:{port}")
        self.parameters: dict[str, str] = {}  # by ParameterStatus, the latest of each
        self.pid = 0  # by BackendKeyData, as the key
        self.key = b""
        self._timeout_s = timeout_s
        self.socket = _connect(host, port, timeout_s)
        self._received = bytearray()
        OPENED.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # To speak

    def send(self, *data: bytes) -> None:
        """Sends messages, or any bytes, in one piece."""
        joined = b"".join(data)
        self.transcript.add_sent(joined)
        self.socket.sendall(joined)

    def send_startup(self, *, version: tuple[int, int] = (3, 0), **parameters: str) -> None:
        """Sends a StartupMessage and waits for nothing."""
        self.transcript.note(f"StartupMessage({version=}, {parameters})", "client")
        self.socket.sendall(frontend.startup(parameters, version))

    def ask(self, *data: bytes) -> Replies:
        """Sends, and reads to the next ReadyForQuery."""
        self.send(*data)
        return self.read_until(b"Z")

    def query(self, sql: str) -> Replies:
        """Sends a simple Query, and reads to its ReadyForQuery."""
        return self.ask(frontend.query(sql))

    # To listen

    def read_message(self) -> Message:
        """The next message. Raises WireClosedError or WireTimeoutError if there is none."""
        while len(self._received) < 5:
            self._received += self._receive()
        length = int.from_bytes(self._received[1:5], signed=True)
        if length < 4:
            raise WireFormatError(f"a message of length {length}\n{self.transcript}")
        while len(self._received) < 1 + length:
            self._received += self._receive()
        message = Message(bytes(self._received[:1]), bytes(self._received[5 : 1 + length]))
        del self._received[: 1 + length]
        self._note(message)
        return message

    def read_until(self, kind: bytes) -> Replies:
        """All messages up to and with the first of that type. Raises as `read_message` does."""
        replies = Replies([self.read_message()])
        while replies[-1].type != kind:
            replies.append(self.read_message())
        return replies

    def read_to_the_end(self) -> Replies:
        """All messages until the other side closes the connection."""
        replies = Replies()
        while True:
            try:
                replies.append(self.read_message())
            except WireClosedError:
                return replies

    def read_byte(self) -> bytes:
        """One byte, as SSLRequest and GSSENCRequest are answered."""
        if not self._received:
            self._received += self._receive()
        byte = bytes(self._received[:1])
        del self._received[:1]
        self.transcript.note(repr(byte), "server")
        return byte

    def is_silent(self, for_s: float) -> bool:
        """Whether nothing at all comes for so long: to show that something is *not* said."""
        if self._received:
            return False
        self.socket.settimeout(for_s)
        try:
            self._received += self._receive()
        except WireTimeoutError:
            return True
        finally:
            self.socket.settimeout(self._timeout_s)
        return False

    # To log in

    def startup(
        self,
        *,
        user: str = "app",
        database: str = "app",
        password: str | None = None,
        version: tuple[int, int] = (3, 0),
        **parameters: str,
    ) -> Replies:
        """Logs in by whatever method is asked for, and gives all replies. Raises LoginRefusedError."""
        self.send_startup(version=version, user=user, database=database, **parameters)
        replies = Replies()
        scram = ScramClient(password or "")
        while not replies or replies[-1].type != b"Z":
            message = self.read_message()
            replies.append(message)
            if message.type == b"E":
                raise LoginRefusedError(message.fields, str(self.transcript))
            if message.type == b"R":
                self._answer(message, user, password, scram)
        return replies

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Asks for TLS, and goes on over it. Raises WireClosedError if it is not offered."""
        self.send(frontend.ssl_request())
        answer = self.read_byte()
        if answer != b"S":
            raise WireClosedError(f"no TLS offered: {answer!r}")
        self.socket = context.wrap_socket(self.socket, server_hostname=self._target[0])

    def cancel(self) -> None:
        """Sends a CancelRequest for this session over another connection, and waits for that one's end."""
        with Wire(*self._target) as other:
            other.send(frontend.cancel_request(self.pid, self.key))
            other.read_to_the_end()

    # To leave

    def terminate(self) -> None:
        """Says Terminate, and closes."""
        self.send(frontend.terminate())
        self.close()

    def close(self) -> None:
        """Closes without a word."""
        self.socket.close()

    def reset(self) -> None:
        """Closes with a RST, as if the machine had vanished and come back (TCP only)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _answer(self, request: Message, user: str, password: str | None, scram: ScramClient) -> None:
        method = request["method"]
        if method == "CleartextPassword":
            self.send(frontend.password(password or ""))
        elif method == "MD5Password":
            self.send(frontend.password(md5_answer(user, password or "", request["salt"])))
        elif method == "SASL":
            self.send(frontend.sasl_initial_response("SCRAM-SHA-256", scram.first()))
        elif method == "SASLContinue":
            self.send(frontend.sasl_response(scram.final(request["data"])))
        elif method == "SASLFinal":
            scram.check(request["data"])

    def _note(self, message: Message) -> None:
        self.transcript.add(message)
        if message.type == b"S":
            self.parameters[message["name"]] = message["value"]
        elif message.type == b"K":
            self.pid, self.key = message["pid"], message["key"]

    def _receive(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise WireTimeoutError(
                f"nothing came for {self.socket.gettimeout()} s\n{self.transcript}"
            ) from None
        except ConnectionResetError:
            self.transcript.note("connection reset", "server")
            raise WireClosedError(f"the connection was reset\n{self.transcript}") from None
        if not data:
            self.transcript.note("end", "server")
            raise WireClosedError(f"the connection was closed\n{self.transcript}")
        return data


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection
