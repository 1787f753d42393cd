"""A client's log-in, from its first byte until it is admitted, refused, or known to want a cancel.

Theory of operation. A `ClientLogin` is fed whatever the client sends, in any pieces. It answers through
`take_outgoing`, and says by `step` where it stands:

    STARTUP         waits for a start-up packet; requests for encryption are answered with N, once each
    PASSWORD        waits for a password, or for the answer to an md5 salt
    SASL_INITIAL    waits for SCRAM's first message
    SASL_FINAL      waits for SCRAM's proof
    AUTHENTICATED   the client is who it says and its database exists: the caller admits or refuses it
    ADMITTED        `admit` has greeted it; `rest` holds what it had already sent beyond the log-in
    CANCEL          `cancel_request` holds a key; nothing is answered, the caller closes
    REFUSED         the ErrorResponse is among what is to be sent, then the caller closes; log `reason`

Two rules. Every change of step goes through TRANSITIONS, and what is not in it cannot happen: no second
start-up packet, no way around a proof. And nothing that a client sends raises: it ends in a refusal.

A wrong password, an unknown user and a secret that does not suit auth_type are told apart only in `reason`:
the exchange is the same to its end. Whether a database exists is told only to who has authenticated.

There is no I/O and no clock here: the caller sends, receives, and refuses with LOGIN_TIMEOUT when it takes
too long.
"""

import os
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from pgmux.protocol import messages
from pgmux.protocol.errors import ClientProtocolError, OptionsError
from pgmux.protocol.scram import (
    MAX_MESSAGE_BYTES,
    MECHANISM,
    NONCE_BYTES,
    ScramServer,
    ScramVerifier,
    make_nonce,
)
from pgmux.protocol.startup import (
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    parse_options,
    parse_startup_packet,
    startup_packet_size,
)
from pgmux.session.doors import OWNERS, VIRTUAL_DATABASES, Doors
from pgmux.session.refusals import Refusal
from pgmux.session.secret import Secret, check_md5_answer, check_password
from pgmux.session.welcome import Welcome

MAX_PASSWORD_BYTES: Final = 65_535  # tokens instead of passwords may be long; PostgreSQL's limit is the same
MAX_MD5_BYTES: Final = 64  # "md5", 32 digits and a terminator are 36
MAX_SASL_BYTES: Final = MAX_MESSAGE_BYTES + 64  # and the name of the mechanism

_NOT_SETTINGS: Final = frozenset({"user", "database", "options", "replication"})
_NO_REPLICATION: Final = frozenset({"", "off", "false", "no", "0"})

_UNKNOWN: Final = "no such user, or one without a secret"
_UNSUITABLE: Final = "the secret of this user is an md5 hash, which SCRAM cannot use"

_GREETING_BEGINS: Final = messages.build_authentication_ok()
_GREETING_ENDS: Final = messages.build_ready_for_query(b"I")


class Step(IntEnum):
    """Where a log-in stands; the module's docstring says what each step means."""

    STARTUP = 0
    PASSWORD = 1
    SASL_INITIAL = 2
    SASL_FINAL = 3
    AUTHENTICATED = 4
    ADMITTED = 5
    CANCEL = 6
    REFUSED = 7


class Event(IntEnum):
    """What may happen to a log-in."""

    ENCRYPTION_DECLINED = 0
    CANCEL_ASKED = 1
    TRUSTED = 2
    PASSWORD_ASKED = 3
    SASL_ASKED = 4
    SASL_CHALLENGED = 5
    PROVED = 6
    ADMITTED = 7
    REFUSED = 8


TRANSITIONS: Final[Mapping[tuple[Step, Event], Step]] = {
    (Step.STARTUP, Event.ENCRYPTION_DECLINED): Step.STARTUP,
    (Step.STARTUP, Event.CANCEL_ASKED): Step.CANCEL,
    (Step.STARTUP, Event.TRUSTED): Step.AUTHENTICATED,
    (Step.STARTUP, Event.PASSWORD_ASKED): Step.PASSWORD,
    (Step.STARTUP, Event.SASL_ASKED): Step.SASL_INITIAL,
    (Step.SASL_INITIAL, Event.SASL_CHALLENGED): Step.SASL_FINAL,
    (Step.PASSWORD, Event.PROVED): Step.AUTHENTICATED,
    (Step.SASL_FINAL, Event.PROVED): Step.AUTHENTICATED,
    (Step.AUTHENTICATED, Event.ADMITTED): Step.ADMITTED,
    (Step.STARTUP, Event.REFUSED): Step.REFUSED,
    (Step.PASSWORD, Event.REFUSED): Step.REFUSED,
    (Step.SASL_INITIAL, Event.REFUSED): Step.REFUSED,
    (Step.SASL_FINAL, Event.REFUSED): Step.REFUSED,
    (Step.AUTHENTICATED, Event.REFUSED): Step.REFUSED,
}


class StepError(Exception):
    """The caller asked for what TRANSITIONS does not have: a defect of pgmux, never of a client."""


class ClientLogin:
    """One client's log-in. Feed it, send what it gives, look at `step`."""

    __slots__ = (
        "_buffer",
        "_declined",
        "_doors",
        "_doubt",
        "_is_owner",
        "_md5_salt",
        "_outgoing",
        "_scram",
        "_secret",
        "cancel_request",
        "database",
        "is_replication",
        "parameters",
        "protocol_version",
        "reason",
        "refusal",
        "settings",
        "step",
        "user",
    )

    def __init__(self, doors: Doors, is_owner: Callable[[], bool] = lambda: False) -> None:
        """`is_owner`: whether the client's process belongs to the user that pgmux runs as, or to root."""
        self.step = Step.STARTUP
        self.user = ""
        self.database = ""
        self.parameters: dict[str, str] = {}  # all that the client sent, as it sent it
        self.settings: dict[str, str] = {}  # what it wants set, `options` included; names in lower case
        self.is_replication = (
            False  # it wants a backend of its own, which speaks the replication protocol too
        )
        self.protocol_version = (3, 0)  # the one that is spoken, not the one asked for
        self.cancel_request: CancelRequest | None = None
        self.refusal: Refusal | None = None
        self.reason = ""  # of a refusal, for the log; never sent to the client
        self._doors = doors
        self._is_owner = is_owner
        self._buffer = bytearray()  # received and not yet understood
        self._outgoing = b""
        self._declined: tuple[type, ...] = ()  # the requests for encryption that were answered
        self._secret: Secret | None = None
        self._doubt = ""  # why this user cannot succeed, whatever the proof
        self._md5_salt = b""
        self._scram: ScramServer | None = None

    def __repr__(self) -> str:
        return f"<ClientLogin {self.step.name} user={self.user!r} database={self.database!r}>"

    # ---- for the caller

    def feed(self, data: bytes) -> None:
        """Take bytes from the client. Never raises for what they hold; once AUTHENTICATED, keeps them."""
        if self.step is Step.REFUSED or self.step is Step.CANCEL:
            return
        self._buffer += data
        try:
            while (read := _READERS.get(self.step)) is not None and read(self):
                pass
        except OptionsError as error:
            self._refuse(Refusal.INVALID_OPTIONS, problem=str(error))
        except ClientProtocolError as error:
            self._refuse(Refusal.MALFORMED, problem=str(error))

    def take_outgoing(self) -> bytes:
        """Give what is to be sent now, once."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    @property
    def rest(self) -> bytes:
        """What the client sent beyond its log-in: the beginning of its first query; empty before ADMITTED."""
        return bytes(self._buffer) if self.step is Step.ADMITTED else b""

    @property
    def options(self) -> str:
        """The start-up parameter `options` as it was sent; its settings are in `settings`."""
        return self.parameters.get("options", "")

    def admit(self, welcome: Welcome, pid: int, key: bytes) -> bytes:
        """Greet the client and give all that is now to be sent: what was outgoing, then the greeting.

        `pid` and `key` are those that its cancel requests will carry; the key has 4 bytes, from protocol 3.2
        on up to 256. Raises StepError unless the step is AUTHENTICATED, ValueError for a key of the wrong
        length.
        """
        if len(key) != 4 and self.protocol_version < (3, 2):
            raise ValueError(f"before protocol 3.2 a cancel key has 4 bytes, not {len(key)}")
        key_data = messages.build_backend_key_data(pid, key)
        self._move(Event.ADMITTED)
        greeting = welcome.build(self.settings)
        return self.take_outgoing() + _GREETING_BEGINS + greeting + key_data + _GREETING_ENDS

    def refuse(self, refusal: Refusal, detail: str | None = None, **values: str) -> bytes:
        """Refuse the client and give all that is now to be sent before the connection is closed.

        `values` fill the names in the refusal's message. Raises StepError once the log-in has ended.
        """
        self._refuse(refusal, detail, "", **values)
        return self.take_outgoing()

    # ---- steps

    def _move(self, event: Event) -> None:
        step = TRANSITIONS.get((self.step, event))
        if step is None:
            raise StepError(f"{event.name} cannot happen to a log-in at step {self.step.name}")
        self.step = step

    def _refuse(
        self, refusal: Refusal, detail: str | None = None, reason: str = "", /, **values: str
    ) -> None:
        self._move(Event.REFUSED)
        self._outgoing += refusal.build(detail, **values)
        self._buffer.clear()
        self.refusal = refusal
        self.reason = reason or refusal.describe(**values)

    def _read_startup(self) -> bool:
        """Read one start-up packet; False while it is incomplete."""
        if self._outgoing and self._buffer:
            # Sent before our answer to SSLRequest or GSSENCRequest was: who put it there cannot be known.
            raise ClientProtocolError("received unencrypted data after a request for encryption")
        size = startup_packet_size(self._buffer)
        if size is None or len(self._buffer) < size:
            return False
        packet = bytes(self._buffer[:size])
        del self._buffer[:size]
        request = parse_startup_packet(packet)
        if isinstance(request, StartupMessage):
            self._begin(request)
        elif isinstance(request, CancelRequest):
            self.cancel_request = request
            self._buffer.clear()
            self._move(Event.CANCEL_ASKED)
        else:
            self._decline_encryption(type(request))
        return True

    def _decline_encryption(self, request: type[SSLRequest] | type[GSSENCRequest]) -> None:
        if request in self._declined:
            raise ClientProtocolError(f"a second {request.__name__}")
        self._declined += (request,)
        self._outgoing += b"N"
        self._move(Event.ENCRYPTION_DECLINED)

    def _begin(self, message: StartupMessage) -> None:
        """Take what the StartupMessage says, and ask for the proof that auth_type demands."""
        version, parameters, extensions = message
        if version[0] != messages.LATEST_VERSION[0]:
            return self._refuse(Refusal.UNSUPPORTED_PROTOCOL, version=f"{version[0]}.{version[1]}")
        self.parameters = parameters
        self.user = parameters.get("user", "")
        if not self.user:
            return self._refuse(Refusal.NO_USER_NAME)
        self.database = parameters.get("database") or self.user
        self.is_replication = parameters.get("replication", "").lower() not in _NO_REPLICATION
        self.protocol_version = min(version, messages.LATEST_VERSION)
        if version > messages.LATEST_VERSION or extensions:
            self._outgoing += messages.build_negotiate_protocol_version(self.protocol_version, extensions)
        if self.database in VIRTUAL_DATABASES and self.user in OWNERS and self._is_owner():
            return self._trust()
        return _METHODS[self._doors.auth_type](self)

    # ---- methods: what auth_type asks of the client

    def _trust(self) -> None:
        self._move(Event.TRUSTED)
        self._enter()

    def _ask_password(self) -> None:
        self._look_up_secret()
        self._outgoing += messages.build_authentication_cleartext_password()
        self._move(Event.PASSWORD_ASKED)

    def _ask_md5(self) -> None:
        if isinstance(self._look_up_secret(), ScramVerifier):  # as PostgreSQL and PgBouncer do
            return self._ask_sasl()
        self._md5_salt = os.urandom(4)
        self._outgoing += messages.build_authentication_md5_password(self._md5_salt)
        return self._move(Event.PASSWORD_ASKED)

    def _ask_sasl(self) -> None:
        secret = self._doors.find_secret(self.user)
        verifier = self._doors.find_verifier(self.user, secret)
        if verifier is None:
            verifier = self._doors.stand_in_verifier(self.user)
            self._doubt = _UNKNOWN if secret is None else _UNSUITABLE
        self._scram = ScramServer(verifier, make_nonce(os.urandom(NONCE_BYTES)))
        self._outgoing += messages.build_authentication_sasl([MECHANISM])
        self._move(Event.SASL_ASKED)

    def _look_up_secret(self) -> Secret:
        secret = self._doors.find_secret(self.user)
        if secret is None:
            secret = self._doors.stand_in(self.user)
            self._doubt = _UNKNOWN
        self._secret = secret
        return secret

    # ---- answers

    def _read_answer(self, max_bytes: int) -> bytes | None:
        """Give the body of the client's PasswordMessage; None while it is incomplete."""
        kind = bytes(self._buffer[:1])
        if kind == b"\0":
            raise ClientProtocolError("a second start-up packet")
        if kind and kind != b"p":
            raise ClientProtocolError(
                f"expected a password message, got {messages.FRONTEND.get(kind, repr(kind))}"
            )
        message = messages.take_message(self._buffer, max_bytes, ClientProtocolError)
        return None if message is None else message.body

    def _read_password(self) -> bool:
        body = self._read_answer(MAX_MD5_BYTES if self._md5_salt else MAX_PASSWORD_BYTES)
        if body is None:
            return False
        self._judge(self._is_right(messages.parse_password_message(body)))
        return True

    def _is_right(self, answer: bytes) -> bool:
        secret = self._secret
        if secret is None:
            return False
        if self._md5_salt and not isinstance(secret, ScramVerifier):
            return check_md5_answer(self.user, secret, self._md5_salt, answer)
        return check_password(self.user, secret, answer)

    def _read_sasl_initial(self) -> bool:
        body = self._read_answer(MAX_SASL_BYTES)
        if body is None or self._scram is None:
            return False
        mechanism, client_first = messages.parse_sasl_initial_response(body)
        if mechanism != MECHANISM:
            raise ClientProtocolError("the client selected an invalid SASL authentication mechanism")
        self._outgoing += messages.build_authentication_sasl_continue(self._scram.challenge(client_first))
        self._move(Event.SASL_CHALLENGED)
        return True

    def _read_sasl_final(self) -> bool:
        body = self._read_answer(MAX_SASL_BYTES)
        if body is None or self._scram is None:
            return False
        server_final = self._scram.verify(body)
        if server_final is not None and not self._doubt:
            self._outgoing += messages.build_authentication_sasl_final(server_final)
        self._judge(server_final is not None)
        return True

    def _judge(self, is_right: bool) -> None:
        """Let in whose proof is right, and nobody of whom there is a doubt."""
        self._secret = self._scram = None
        if is_right and not self._doubt:
            self._move(Event.PROVED)
            self._enter()
        else:
            reason = self._doubt or "wrong password"
            self._refuse(Refusal.AUTHENTICATION_FAILED, None, reason, user=self.user)

    def _enter(self) -> None:
        """Check what only an authenticated client may be told of."""
        if not self._doors.has_database(self.database):
            return self._refuse(Refusal.NO_SUCH_DATABASE, database=self.database)
        settings = parse_options(self.options) if "options" in self.parameters else {}
        for name, value in self.parameters.items():
            if name not in _NOT_SETTINGS:
                settings[name.lower()] = value
        self.settings = settings
        return None


_READERS: Final[Mapping[Step, Callable[[ClientLogin], bool]]] = {
    Step.STARTUP: ClientLogin._read_startup,
    Step.PASSWORD: ClientLogin._read_password,
    Step.SASL_INITIAL: ClientLogin._read_sasl_initial,
    Step.SASL_FINAL: ClientLogin._read_sasl_final,
}

_METHODS: Final[Mapping[str, Callable[[ClientLogin], None]]] = {
    "trust": ClientLogin._trust,
    "password": ClientLogin._ask_password,
    "md5": ClientLogin._ask_md5,
    "scram-sha-256": ClientLogin._ask_sasl,
}
