"""The log-in of pgmux to PostgreSQL: a new backend, from its first byte until it is ready for a query.

Theory of operation. `start` gives the StartupMessage. Then `feed` takes what the backend sends, in any
pieces, and gives what is to be sent back, until `is_done` or `error`:

    NEW             nothing was sent yet
    AUTHENTICATION  the backend says which proof it wants, if any
    CHALLENGE       SCRAM's first message was sent, the server's challenge is awaited
    OUTCOME         SCRAM's proof was sent, the server's own proof is awaited
    ANSWERED        the proof was accepted or is being checked
    WELCOME         settings and cancel key come in, up to ReadyForQuery
    DONE            the backend is ready; `welcome`, `pid` and `key` are complete
    FAILED          `error` says why, in the fields of an ErrorResponse; the caller closes

The events are the manual's names of messages, and TRANSITIONS says which may come when: a server that skips
its own proof, or says more than it should, ends in FAILED. Nothing that a server sends raises.

There is no I/O and no clock here. Manual: "Message Flow, Start-up".
"""

import os
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from pgmux.protocol.errors import BackendProtocolError
from pgmux.protocol.messages import (
    Message,
    build_password_message,
    build_sasl_initial_response,
    build_sasl_response,
    build_startup_message,
    parse_authentication,
    parse_backend_key_data,
    parse_error_fields,
    parse_negotiate_protocol_version,
    parse_parameter_status,
    parse_sasl_mechanisms,
    take_message,
)
from pgmux.protocol.names import BACKEND
from pgmux.protocol.scram import (
    MECHANISM,
    NONCE_BYTES,
    ScramClient,
    ScramKeys,
    ScramKeysError,
    ScramVerifier,
    make_nonce,
)
from pgmux.session.secret import Md5Hash, Password, Secret, answer_md5

MAX_LOGIN_BYTES: Final = 1 << 20  # all that a backend may say during its log-in; some kilobytes are usual


class Step(IntEnum):
    """Where a log-in stands; the module's docstring says what each step means."""

    NEW = 0
    AUTHENTICATION = 1
    CHALLENGE = 2
    OUTCOME = 3
    ANSWERED = 4
    WELCOME = 5
    DONE = 6
    FAILED = 7


TRANSITIONS: Final[Mapping[tuple[Step, str], Step]] = {
    (Step.NEW, "StartupMessage"): Step.AUTHENTICATION,
    (Step.AUTHENTICATION, "NegotiateProtocolVersion"): Step.AUTHENTICATION,
    (Step.AUTHENTICATION, "AuthenticationCleartextPassword"): Step.ANSWERED,
    (Step.AUTHENTICATION, "AuthenticationMD5Password"): Step.ANSWERED,
    (Step.AUTHENTICATION, "AuthenticationSASL"): Step.CHALLENGE,
    (Step.CHALLENGE, "AuthenticationSASLContinue"): Step.OUTCOME,
    (Step.OUTCOME, "AuthenticationSASLFinal"): Step.ANSWERED,
    (Step.AUTHENTICATION, "AuthenticationOk"): Step.WELCOME,
    (Step.ANSWERED, "AuthenticationOk"): Step.WELCOME,
    (Step.WELCOME, "ParameterStatus"): Step.WELCOME,
    (Step.WELCOME, "BackendKeyData"): Step.WELCOME,
    (Step.WELCOME, "ReadyForQuery"): Step.DONE,
} | {
    (step, event): after
    for step in (Step.AUTHENTICATION, Step.CHALLENGE, Step.OUTCOME, Step.ANSWERED, Step.WELCOME)
    for event, after in (("NoticeResponse", step), ("ErrorResponse", Step.FAILED))
}

_ENDED: Final = frozenset({Step.DONE, Step.FAILED})
# What a server says to a protocol version that it neither knows nor negotiates.
_UNKNOWN_VERSION: Final = frozenset({"0A000", "08P01"})
_KINDS: Final = {
    Md5Hash: "an md5 hash",
    ScramVerifier: "a SCRAM verifier: the user itself has not logged in here by SCRAM",
    ScramKeys: "what it proved by SCRAM",
    Password: "its password",
}
_UNSUPPORTED: Final = frozenset({"AuthenticationKerberosV5", "AuthenticationGSS", "AuthenticationSSPI"})


class LoginError(Exception):
    """The server asks for what this log-in cannot give; the text becomes `error`."""

    def __init__(self, sqlstate: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.hint = hint


class BackendLogin:
    """The log-in of one backend. `start` it, feed it, send what it gives, look at `is_done` and `error`."""

    __slots__ = (
        "_buffer",
        "_dbname",
        "_end_point",
        "_has_begun",
        "_parameters",
        "_received",
        "_scram",
        "_secret",
        "_user",
        "_version",
        "error",
        "is_keyless",
        "key",
        "notices",
        "pid",
        "step",
        "welcome",
    )

    def __init__(
        self,
        user: str,
        password: str | Secret | ScramKeys | None,
        dbname: str,
        parameters: Mapping[str, str],
        version: tuple[int, int] = (3, 0),
        end_point: bytes = b"",
    ) -> None:
        """`password`: a text is taken as it is, a Secret has its form; None where none should be needed.

        `end_point`: of the TLS connection with the server, to which SCRAM is then bound where it can be.
        """
        self.step = Step.NEW
        self.error: dict[str, str] | None = None  # by the names in names.ERROR_FIELDS
        self.notices: list[dict[str, str]] = []
        self.welcome: dict[str, str] = {}  # ParameterStatus, in the order of their coming
        self.is_keyless = False  # it failed because we do not know what PostgreSQL asked for
        self.pid = 0  # of the PostgreSQL process
        self.key = b""  # for a CancelRequest; 4 to 256 bytes
        self._user = user
        self._dbname = dbname
        self._parameters = parameters
        self._version = version
        if isinstance(password, str):
            password = Password(password.encode("utf-8", "surrogateescape"))
        self._secret: Secret | ScramKeys | None = password
        self._end_point = end_point
        self._scram: ScramClient | None = None
        self._buffer = bytearray()
        self._received = 0  # bytes
        self._has_begun = False  # the server has taken our StartupMessage

    def __repr__(self) -> str:
        return f"<BackendLogin {self.step.name} user={self._user!r} dbname={self._dbname!r}>"

    @property
    def is_done(self) -> bool:
        """True when the backend is ready for a query; never together with an error."""
        return self.step is Step.DONE

    @property
    def refuses_version(self) -> bool:
        """Whether the server may not know our protocol version: it ended the log-in as such a server does,
        with an error about the protocol or without a word, before it asked for anything. Ask it for 3.0.
        """
        if self._has_begun or self._version == (3, 0):
            return False
        if self.error is None:
            return self._received == 0
        return self.error.get("sqlstate") in _UNKNOWN_VERSION

    def start(self) -> bytes:
        """Give the StartupMessage to be sent first."""
        self._move("StartupMessage")
        parameters = {"user": self._user, "database": self._dbname, **self._parameters}
        return build_startup_message(parameters, self._version)

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the backend and give what is to be sent back. Never raises for what they hold."""
        if self.step is Step.FAILED:
            return b""
        self._buffer += data
        self._received += len(data)
        answers = b""
        try:
            if self._received > MAX_LOGIN_BYTES:
                raise BackendProtocolError(f"more than {MAX_LOGIN_BYTES:,} bytes during a log-in")
            while self.step not in _ENDED:
                message = take_message(self._buffer, MAX_LOGIN_BYTES, BackendProtocolError)
                if message is None:
                    return answers
                answers += self._read(message)
            if self._buffer and self.is_done:
                raise BackendProtocolError(
                    f"{len(self._buffer)} bytes that nobody asked for follow ReadyForQuery"
                )
        except BackendProtocolError as error:
            self._fail(
                "08P01", f"protocol violation during log-in: {error}", "Is it PostgreSQL that listens there?"
            )
        except LoginError as error:
            self._fail(error.sqlstate, str(error), error.hint)
        return answers

    def _fail(self, sqlstate: str, message: str, hint: str) -> None:
        self.step = Step.FAILED
        self.error = {"severity": "FATAL", "sqlstate": sqlstate, "message": message, "hint": hint}

    def _move(self, event: str) -> None:
        step = TRANSITIONS.get((self.step, event))
        if step is None:
            raise BackendProtocolError(f"{event} cannot come at step {self.step.name}")
        self.step = step
        self._has_begun = self._has_begun or event.startswith(("Authentication", "Negotiate"))

    def _read(self, message: Message) -> bytes:
        """Take one message and give the answer to it."""
        name = BACKEND.get(message.kind, f"message type {message.kind!r}")
        body = message.body
        if name == "Authentication":
            name, body = parse_authentication(body)
            if name in _UNSUPPORTED:
                raise LoginError(
                    "28000",
                    f"PostgreSQL asks for {name}, which pgmux does not support",
                    "Let pg_hba.conf ask pgmux for trust, password, md5 or scram-sha-256.",
                )
        self._move(name)
        return _READERS[name](self, body)

    # ---- proofs

    def _answer_cleartext(self, body: bytes) -> bytes:
        secret = self._require_secret()
        if not isinstance(secret, Password):
            raise self._wrong_secret("the password as it is")
        return build_password_message(secret.text)

    def _answer_md5(self, salt: bytes) -> bytes:
        secret = self._require_secret()
        if len(salt) != 4:
            raise BackendProtocolError("an AuthenticationMD5Password without its salt")
        if not isinstance(secret, Password | Md5Hash):
            raise self._wrong_secret("md5")
        return build_password_message(answer_md5(self._user, secret, salt))

    def _begin_scram(self, body: bytes) -> bytes:
        mechanisms = parse_sasl_mechanisms(body)
        if MECHANISM not in mechanisms:
            raise LoginError(
                "28000",
                f"PostgreSQL offers {', '.join(mechanisms)}, of which pgmux supports none",
                f"Let pg_hba.conf ask pgmux for {MECHANISM}.",
            )
        secret = self._require_secret()
        if not isinstance(secret, Password | ScramKeys):
            raise self._wrong_secret("SCRAM")
        known = secret.text if isinstance(secret, Password) else secret
        self._scram = ScramClient(known, make_nonce(os.urandom(NONCE_BYTES)), mechanisms, self._end_point)
        return build_sasl_initial_response(self._scram.mechanism, self._scram.begin())

    def _continue_scram(self, challenge: bytes) -> bytes:
        if self._scram is None:
            raise BackendProtocolError("a SCRAM challenge without a beginning")
        try:
            return build_sasl_response(self._scram.respond(challenge))
        except ScramKeysError:
            raise LoginError(
                "28P01",
                f'PostgreSQL has another SCRAM verifier of user "{self._user}" than that which it met here',
                "Have pgmux ask PostgreSQL itself, by auth_query, or give the password in auth_file.",
            ) from None

    def _finish_scram(self, outcome: bytes) -> bytes:
        if self._scram is None:
            raise BackendProtocolError("a SCRAM outcome without a beginning")
        self._scram.check(outcome)
        return b""

    def _require_secret(self) -> Secret | ScramKeys:
        if self._secret is None or self._secret == Password(b""):
            self.is_keyless = True
            raise LoginError(
                "28P01",
                f'PostgreSQL asked for a password, none is configured for user "{self._user}" '
                f'at database "{self._dbname}"',
                "Give the password in [databases] or in auth_file, or let pg_hba.conf trust pgmux.",
            )
        return self._secret

    def _wrong_secret(self, wanted: str) -> LoginError:
        self.is_keyless = True
        kind = _KINDS[type(self._secret)]
        return LoginError(
            "28P01",
            f'PostgreSQL asks for {wanted}, but all that is known of user "{self._user}" is {kind}',
            "Give the password as it is in [databases] or in auth_file.",
        )

    # ---- what comes along

    def _pass(self, body: bytes) -> bytes:
        return b""

    def _take_notice(self, body: bytes) -> bytes:
        self.notices.append(parse_error_fields(body))
        return b""

    def _take_error(self, body: bytes) -> bytes:
        self.error = parse_error_fields(body)
        return b""

    def _negotiate(self, body: bytes) -> bytes:
        (major, minor), unknown = parse_negotiate_protocol_version(body)
        offered = (major or 3, minor)  # some servers send the minor version alone
        if offered > self._version or offered < (3, 0):
            raise BackendProtocolError(f"it wants protocol {major}.{minor}, which was not asked for")
        if unknown:
            raise BackendProtocolError(f"it does not know {', '.join(unknown)}, which was not asked for")
        self._version = offered
        return b""

    def _take_parameter(self, body: bytes) -> bytes:
        name, value = parse_parameter_status(body)
        self.welcome[name] = value
        return b""

    def _take_key(self, body: bytes) -> bytes:
        self.pid, self.key = parse_backend_key_data(body)
        return b""

    def _check_status(self, status: bytes) -> bytes:
        if status != b"I":
            raise BackendProtocolError(f"ReadyForQuery with status {status!r} at log-in")
        return b""


_READERS: Final[Mapping[str, Callable[[BackendLogin, bytes], bytes]]] = {
    "AuthenticationOk": BackendLogin._pass,
    "AuthenticationCleartextPassword": BackendLogin._answer_cleartext,
    "AuthenticationMD5Password": BackendLogin._answer_md5,
    "AuthenticationSASL": BackendLogin._begin_scram,
    "AuthenticationSASLContinue": BackendLogin._continue_scram,
    "AuthenticationSASLFinal": BackendLogin._finish_scram,
    "BackendKeyData": BackendLogin._take_key,
    "ErrorResponse": BackendLogin._take_error,
    "NegotiateProtocolVersion": BackendLogin._negotiate,
    "NoticeResponse": BackendLogin._take_notice,
    "ParameterStatus": BackendLogin._take_parameter,
    "ReadyForQuery": BackendLogin._check_status,
}
