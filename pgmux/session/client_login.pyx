"""A client's log-in, from its first byte until it is admitted, refused, or known to want a cancel.

Theory of operation. A `ClientLogin` is fed whatever the client sends, in any pieces. It answers through
`take_outgoing`, and says by `step` where it stands:

    STARTUP         waits for a start-up packet; a request for encryption that is not granted is answered with N
    ENCRYPTING      TLS begins: the caller sends what is outgoing, shakes hands, and says how that ended
    LOOKUP          the caller finds out about the user, and gives it to `answer_lookup`; nothing is read
    PASSWORD        waits for a password, or for the answer to an md5 salt
    SASL_INITIAL    waits for SCRAM's first message
    SASL_FINAL      waits for SCRAM's proof
    AUTHENTICATED   the client is who it says and its database exists: the caller admits or refuses it
    ADMITTED        `admit` has greeted it; `rest` holds what it had already sent beyond the log-in
    CANCEL          `cancel_request` holds a key; nothing is answered, the caller closes
    REFUSED         the ErrorResponse is among what is to be sent, then the caller closes; log `reason`

Two rules. Every change of step goes through TRANSITIONS, and what is not in it cannot happen: no second
start-up packet, no way around a proof. And nothing that a client sends raises: it ends in a refusal.

A wrong password, an unknown user and a secret that does not suit the method are told apart only in `reason`:
the exchange is the same to its end. Whether a database exists is told only to who has authenticated.

There is no I/O and no clock here: the caller sends, receives, and refuses with LOGIN_TIMEOUT when it takes
too long. Compiled, because clients that connect for each query pay for every line of it.
"""
import os

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from pgmux.protocol.scram_server cimport ScramServer, draw_nonce
from pgmux.session.introduction cimport Introduction, LONGEST_REMEMBERED, remembered

from pgmux.protocol import messages, names, scram
from pgmux.protocol.errors import ClientProtocolError, OptionsError
from pgmux.protocol.scram import ScramVerifier
from pgmux.protocol.startup import CancelRequest, SSLRequest, startup_packet_size
from pgmux.session.arrival import Arrival
from pgmux.session.hba import RolesWanted
from pgmux.session.introduction import introduce
from pgmux.session.refusals import Refusal
from pgmux.session.secret import check_md5_answer, prove_password

MAX_PASSWORD_BYTES = 65_535  # tokens instead of passwords may be long; PostgreSQL's limit is the same
MAX_MD5_BYTES = 64           # "md5", 32 digits and a terminator are 36
MAX_SASL_BYTES = scram.MAX_MESSAGE_BYTES + 64  # and the name of the mechanism

ALPN_PROTOCOL = "postgresql"                # RFC 7301; manual: "SSL Session Encryption"
cdef enum:
    TLS_HANDSHAKE = 0x16     # the first byte of a TLS connection; no start-up packet is so long
cdef tuple DEMANDING = ("require", "verify-ca", "verify-full")

_UNKNOWN = "no such user, or one without a secret"
_UNSUITABLE = "the secret of this user is an md5 hash, which SCRAM cannot use"

cdef bytes OFFER_SASL = messages.build_authentication_sasl([scram.MECHANISM])
cdef bytes OFFER_BOUND_SASL = messages.build_authentication_sasl([scram.MECHANISM_PLUS, scram.MECHANISM])
cdef bytes UNBOUND_CHOICE = scram.MECHANISM.encode() + b"\0"
cdef enum:
    SASL_CONTINUE = 11
    SASL_FINAL_WORD = 12

cdef dict NO_SETTINGS = {}
cdef bytes GREETING_BEGINS = messages.build_authentication_ok()
cdef bytes GREETING_ENDS = messages.build_ready_for_query(b"I")

TRANSITIONS = {
    (Step.STARTUP, Event.ENCRYPTION_DECLINED): Step.STARTUP,
    (Step.STARTUP, Event.ENCRYPTION_BEGUN): Step.ENCRYPTING,
    (Step.ENCRYPTING, Event.SECURED): Step.STARTUP,
    (Step.STARTUP, Event.CANCEL_ASKED): Step.CANCEL,
    (Step.STARTUP, Event.TRUSTED): Step.AUTHENTICATED,
    (Step.STARTUP, Event.LOOKUP_ASKED): Step.LOOKUP,
    (Step.STARTUP, Event.PASSWORD_ASKED): Step.PASSWORD,
    (Step.STARTUP, Event.SASL_ASKED): Step.SASL_INITIAL,
    (Step.LOOKUP, Event.TRUSTED): Step.AUTHENTICATED,
    (Step.LOOKUP, Event.PASSWORD_ASKED): Step.PASSWORD,
    (Step.LOOKUP, Event.SASL_ASKED): Step.SASL_INITIAL,
    (Step.SASL_INITIAL, Event.SASL_CHALLENGED): Step.SASL_FINAL,
    (Step.PASSWORD, Event.PROVED): Step.AUTHENTICATED,
    (Step.SASL_FINAL, Event.PROVED): Step.AUTHENTICATED,
    (Step.AUTHENTICATED, Event.GREETED): Step.ADMITTED,
    (Step.STARTUP, Event.DENIED): Step.REFUSED,
    (Step.ENCRYPTING, Event.DENIED): Step.REFUSED,
    (Step.LOOKUP, Event.DENIED): Step.REFUSED,
    (Step.PASSWORD, Event.DENIED): Step.REFUSED,
    (Step.SASL_INITIAL, Event.DENIED): Step.REFUSED,
    (Step.SASL_FINAL, Event.DENIED): Step.REFUSED,
    (Step.AUTHENTICATED, Event.DENIED): Step.REFUSED,
}
cdef int8_t NEXT[10][12]     # TRANSITIONS again, for _move; -1 = cannot happen
for _step in Step:
    for _event in Event:
        NEXT[<int>_step][<int>_event] = TRANSITIONS.get((_step, _event), -1)


class StepError(Exception):
    """The caller asked for what TRANSITIONS does not have: a defect of pgmux, never of a client."""


cdef bytes authentication(uint8_t code, bytes data):
    """AuthenticationSASLContinue or AuthenticationSASLFinal."""
    cdef uint32_t length = <uint32_t>len(data) + 8
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, length + 1)
    cdef char *at = PyBytes_AS_STRING(whole)
    memcpy(at, b"R\0\0\0\0\0\0\0", 8)
    at[3] = length >> 8                      # a mechanism's messages are at most some hundred bytes
    at[4] = length & 0xFF
    at[8] = code
    memcpy(at + 9, PyBytes_AS_STRING(data), len(data))
    return whole


cdef bytes unbound_client_first(bytes body):
    """What messages.parse_sasl_initial_response gives for the mechanism of nearly all; None for any other."""
    cdef Py_ssize_t begin = len(UNBOUND_CHOICE) + 4
    cdef const uint8_t *size = <const uint8_t *>PyBytes_AS_STRING(body) + begin - 4
    if len(body) < begin or memcmp(PyBytes_AS_STRING(body), PyBytes_AS_STRING(UNBOUND_CHOICE), begin - 4) != 0:
        return None
    if size[0] or size[1] or (size[2] << 8 | size[3]) != len(body) - begin:
        return None
    return body[begin:]


cdef bytes splice(bytes outgoing, bytes told, uint32_t pid, bytes key):
    """The greeting with a key of four bytes, in one piece: what nearly every client gets."""
    cdef Py_ssize_t before = len(outgoing) + len(GREETING_BEGINS) + len(told)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, before + 13 + len(GREETING_ENDS))
    cdef char *at = PyBytes_AS_STRING(whole)
    cdef int shift
    memcpy(at, PyBytes_AS_STRING(outgoing), len(outgoing))
    at += len(outgoing)
    memcpy(at, PyBytes_AS_STRING(GREETING_BEGINS), len(GREETING_BEGINS))
    at += len(GREETING_BEGINS)
    memcpy(at, PyBytes_AS_STRING(told), len(told))
    at += len(told)
    memcpy(at, b"K\0\0\0\x0c", 5)
    for shift in range(4):
        at[5 + shift] = pid >> (24 - 8 * shift) & 0xFF
    memcpy(at + 9, PyBytes_AS_STRING(key), 4)
    memcpy(at + 13, PyBytes_AS_STRING(GREETING_ENDS), len(GREETING_ENDS))
    return whole


cdef class ClientLogin:
    """One client's log-in. Feed it, send what it gives, look at `step`."""

    def __init__(self, doors, visitor=None, str tls_mode="disable"):
        """`visitor.arrival()` gives the client's Arrival; it is called when that is needed, once."""
        self.at = Step.STARTUP
        self.reason = self.doubt = ""
        self.settings = NO_SETTINGS
        self.doors = doors
        self.visitor = visitor
        self._buffer = bytearray()
        self.outgoing = self.md5_salt = b""
        self.answered = ()
        self.tls_mode = tls_mode

    def __repr__(self):
        return f"<ClientLogin {self.step.name} user={self.user!r} database={self.database!r}>"

    # ---- for the caller

    @property
    def step(self):
        """Where it stands; the module's docstring says what each step means."""
        return Step(self.at)

    @step.setter
    def step(self, Step step):
        self.at = step

    @property
    def user(self):
        """Whom the client says it is; empty before it has said so."""
        return "" if self.introduction is None else self.introduction.user

    @property
    def database(self):
        """Which database it wants."""
        return "" if self.introduction is None else self.introduction.database

    @property
    def parameters(self):
        """All that the client sent, as it sent it."""
        return {} if self.introduction is None else self.introduction.parameters

    @property
    def options(self):
        """The start-up parameter `options` as it was sent; its settings are in `settings`."""
        return self.parameters.get("options", "")

    @property
    def is_replication(self):
        """Whether it wants a backend of its own, which speaks the replication protocol too."""
        return self.introduction is not None and self.introduction.is_replication

    @property
    def protocol_version(self):
        """The one that is spoken, not the one asked for."""
        return (3, 0) if self.introduction is None else self.introduction.protocol_version

    @property
    def arrival(self):
        """How the client came in."""
        if self._arrival is None:
            self._arrival = Arrival() if self.visitor is None else self.visitor.arrival()
            self.visitor = None
        return self._arrival

    @property
    def wanted_roles(self):
        """At LOOKUP: the roles of which it is to be found out whether the user is a member."""
        return self.doors.roles

    cpdef int feed(self, bytes data) except -1:
        """Take bytes from the client. Never raises for what they hold; once AUTHENTICATED, keeps them."""
        if self.at == Step.REFUSED or self.at == Step.CANCEL:
            return 0
        if self.at == Step.STARTUP and len(data) <= LONGEST_REMEMBERED and not self._buffer and not self.outgoing:
            # Nearly always a packet comes in one piece, alone, and as it came before.
            introduction = remembered.get(data)
            if introduction is not None:
                return self.go_on(False, introduction)
        self._buffer += data
        return self.go_on(False)

    def answer_lookup(self, secret, roles):
        """Go on from LOOKUP: the user's secret, None where it has none or may not log in; and its roles.

        `secret`, too, where the lookup was about the roles alone. Raises StepError at another step.
        """
        if self.at != Step.LOOKUP:
            raise StepError(f"a lookup is answered at step {self.step.name}")
        self.was_looked_up = True
        self.secret = secret
        self.roles = roles
        self.doors.learn(secret)
        self.go_on(True)

    def take_outgoing(self):
        """Give what is to be sent now, once."""
        outgoing, self.outgoing = self.outgoing, b""
        return outgoing

    def take_ciphertext(self):
        """At ENCRYPTING: what the client has already sent of the handshake, once."""
        ciphertext = bytes(self._buffer)
        self._buffer.clear()
        return ciphertext

    def secure(self, str protocol):
        """The handshake is done. `protocol`: what ALPN has chosen, which counts where TLS began directly."""
        self._move(Event.SECURED)
        self.is_encrypted = True
        if self.is_direct and protocol != ALPN_PROTOCOL:
            self.deny(Refusal.MALFORMED, "", {"problem": f'direct TLS needs the ALPN protocol "{ALPN_PROTOCOL}"'})

    def lose(self, str reason):
        """The handshake has failed: nothing can be said to the client. `reason`: "" where it has just left."""
        self._move(Event.DENIED)
        self.reason = f"TLS handshake: {reason}" if reason else ""

    @property
    def rest(self):
        """What the client sent beyond its log-in: the beginning of its first query; empty before ADMITTED."""
        return bytes(self._buffer) if self.at == Step.ADMITTED else b""

    def admit(self, welcome, uint32_t pid, bytes key):
        """Greet the client and give all that is now to be sent: what was outgoing, then the greeting.

        `pid` and `key` are those that its cancel requests will carry; the key has 4 bytes, from protocol 3.2
        on up to 256. Raises StepError unless the step is AUTHENTICATED, ValueError for a key of the wrong
        length.
        """
        return self.admit_told(welcome.build(self.settings), pid, key)

    cdef bytes admit_told(self, bytes told, uint32_t pid, bytes key):
        """The same, where the ParameterStatus messages are there already."""
        cdef bytes outgoing = self.outgoing
        if len(key) != 4 and self.protocol_version < (3, 2):
            raise ValueError(f"before protocol 3.2 a cancel key has 4 bytes, not {len(key)}")
        self._move(Event.GREETED)
        self.outgoing = b""
        if len(key) == 4:
            return splice(outgoing, told, pid, key)
        key_data = messages.build_backend_key_data(pid, key)
        return b"".join((outgoing, GREETING_BEGINS, told, key_data, GREETING_ENDS))

    def refuse(self, refusal, detail=None, **values):
        """Refuse the client and give all that is now to be sent before the connection is closed.

        `values` fill the names in the refusal's message. Raises StepError once the log-in has ended.
        """
        self.deny(refusal, "", values, detail)
        return self.take_outgoing()

    # ---- steps

    cpdef int _move(self, Event event) except -1:
        cdef int8_t step = NEXT[<int>self.at][<int>event]
        if step < 0:
            raise StepError(f"{Event(event).name} cannot happen to a log-in at step {self.step.name}")
        self.at = <Step>step
        return 0

    cdef int deny(self, object refusal, str reason, dict values, str detail=None) except -1:
        self._move(Event.DENIED)
        self.outgoing += refusal.build(detail, **values)
        self._buffer.clear()
        self.refusal = refusal
        self.reason = reason or refusal.describe(**values)
        self.secret = self.scram = None
        return 0

    cdef int go_on(self, bint is_answered, Introduction introduction=None) except -1:
        """Do what can be done with what is there. What a client said wrong is its refusal, and raises nothing."""
        try:
            if introduction is not None:
                return self.begin(introduction)
            if is_answered:
                self.ask()
            while self.read():
                pass
        except OptionsError as error:
            self.deny(Refusal.INVALID_OPTIONS, "", {"problem": str(error)})
        except ClientProtocolError as error:
            self.deny(Refusal.MALFORMED, "", {"problem": str(error)})
        return 0

    cdef bint read(self) except -1:
        """Read the next message; False while it is incomplete, or where nothing is read."""
        if self.at == Step.STARTUP:
            return self.read_startup()
        if self.at == Step.PASSWORD:
            return self.read_password()
        if self.at == Step.SASL_INITIAL:
            return self.read_sasl_initial()
        if self.at == Step.SASL_FINAL:
            return self.read_sasl_final()
        return False

    cdef bint read_startup(self) except -1:
        cdef bytes packet
        if self._buffer and self._buffer[0] == TLS_HANDSHAKE and not self.is_encrypted:
            if not self.may_begin_tls():
                raise ClientProtocolError("the client begins with TLS, which is not offered here")
            self.is_direct = True
            self._move(Event.ENCRYPTION_BEGUN)
            return False
        if self.outgoing and self._buffer:
            # Sent before our answer to SSLRequest or GSSENCRequest was: who put it there cannot be known.
            raise ClientProtocolError("received unencrypted data after a request for encryption")
        packet = bytes(self._buffer)
        size = startup_packet_size(packet)
        if size is None or len(packet) < size:
            return False
        packet = packet[:size]
        request = remembered.get(packet) or introduce(packet)
        del self._buffer[:size]
        if type(request) is Introduction:
            self.begin(request)
        elif type(request) is CancelRequest:
            self.cancel_request = request
            self._buffer.clear()
            self._move(Event.CANCEL_ASKED)
        else:
            self.answer_encryption(request)
        return True

    cdef bint may_begin_tls(self) noexcept:
        return self.tls_mode != "disable" and not self.is_encrypted and not self.answered

    cdef int answer_encryption(self, object request) except -1:
        if self.is_encrypted or type(request) in self.answered:
            raise ClientProtocolError(f"a second {type(request).__name__}")
        if type(request) is SSLRequest and self.tls_mode != "disable":
            if self._buffer:
                raise ClientProtocolError("received unencrypted data after a request for encryption")
            self.outgoing += b"S"
            self._move(Event.ENCRYPTION_BEGUN)
        else:
            self.outgoing += b"N"
            self._move(Event.ENCRYPTION_DECLINED)
        self.answered += (type(request),)
        return 0

    cdef int begin(self, Introduction introduction) except -1:
        """Take what the StartupMessage says, and ask for the proof that is demanded."""
        self.introduction = introduction
        if not self.is_encrypted and self.tls_mode in DEMANDING:
            return self.deny(Refusal.TLS_REQUIRED, "", {"mode": self.tls_mode})
        if introduction.refusal is not None:
            refusal, values = introduction.refusal
            return self.deny(refusal, "", values)
        if introduction.answer:
            self.outgoing += introduction.answer
        if introduction.trusted_by is self.doors:    # whoever says this, from wherever: so it was found before
            self._move(Event.TRUSTED)
            self.settings = introduction.known_settings
            return 0
        return self.ask()

    cdef int ask(self) except -1:
        """Find out which proof is demanded, and ask for it."""
        if self.introduction.is_console and self.doors.is_owner(self.user, self.arrival):
            self._move(Event.TRUSTED)
            return self.enter()
        method = self.doors.method
        if method is None:
            try:
                method = self.doors.choose_method(self)
            except RolesWanted:
                self._move(Event.LOOKUP_ASKED)
                return 0
        if method is None:
            return self.turn_away(Refusal.NOT_LET_IN, "no rule matches")
        if method.looks_at_connection:
            objection = method.objection(self.arrival, self.user, self.doors.name_of_uid)
            if objection:
                return self.turn_away(_OBJECTIONS.get(method.name, Refusal.CERTIFICATE_FAILED), objection, method.line)
        if not method.is_settled_by_connection:
            return self.ask_for_secret(method.name)
        self._move(Event.TRUSTED)
        self.enter()
        if method is self.doors.method and not method.looks_at_connection and self.at == Step.AUTHENTICATED:
            self.introduction.trusted_by = self.doors
        return 0

    cdef int turn_away(self, object refusal, str reason, int line=0) except -1:
        arrival = self.arrival
        where = "the Unix socket" if arrival.is_unix else arrival.address
        encryption = "encrypted" if arrival.is_encrypted else "not encrypted"
        if line:
            reason = f"{reason} (line {line} of auth_hba_file)"
        values = {"user": self.user, "database": self.database, "address": where, "encryption": encryption}
        return self.deny(refusal, reason, values)

    cdef int ask_for_secret(self, str method) except -1:
        """Ask for the proof of a secret, of which something must be known before."""
        user = self.introduction.user
        if user in self.doors.secrets:
            self.secret = self.doors.secrets[user]
        elif not self.was_looked_up and self.doors.looks_up:
            self._move(Event.LOOKUP_ASKED)
            return 0
        if method == "scram-sha-256":
            return self.ask_sasl()
        if self.secret is None:
            self.secret = self.doors.stand_in(self.user)
            self.doubt = _UNKNOWN
        if method == "password":
            self.outgoing += messages.build_authentication_cleartext_password()
        elif isinstance(self.secret, ScramVerifier):     # as PostgreSQL and PgBouncer do
            return self.ask_sasl()
        else:
            self.md5_salt = os.urandom(4)
            self.outgoing += messages.build_authentication_md5_password(self.md5_salt)
        self._move(Event.PASSWORD_ASKED)
        return 0

    cdef int ask_sasl(self) except -1:
        verifier = self.secret
        if type(verifier) is not ScramVerifier:
            verifier = self.doors.find_verifier(self.user, self.secret)
        if verifier is None:
            verifier = self.doors.stand_in_verifier(self.user)
            self.doubt = _UNKNOWN if self.secret is None else _UNSUITABLE
        end_point = self.arrival.encryption.end_point if self.is_encrypted else b""
        self.scram = ScramServer(verifier, draw_nonce(), end_point)
        self.outgoing += OFFER_BOUND_SASL if end_point else OFFER_SASL
        self._move(Event.SASL_ASKED)
        return 0

    # ---- answers

    cdef bytes read_answer(self, Py_ssize_t max_bytes):
        """Give the body of the client's PasswordMessage; None while it is incomplete."""
        if self._buffer and self._buffer[0] != c"p":
            if self._buffer[0] == 0:
                raise ClientProtocolError("a second start-up packet")
            kind = bytes(self._buffer[:1])
            raise ClientProtocolError(f"expected a password message, got {names.FRONTEND.get(kind, repr(kind))}")
        cdef uint8_t *header = <uint8_t *>PyByteArray_AS_STRING(self._buffer)
        cdef Py_ssize_t length
        cdef bytes body
        if len(self._buffer) < 5:
            return None
        length = <int32_t>(<uint32_t>header[1] << 24 | header[2] << 16 | header[3] << 8 | header[4])
        if not 4 <= length <= max_bytes:
            raise ClientProtocolError(f"invalid message length {length}, at most {max_bytes} bytes are expected here")
        if len(self._buffer) <= length:
            return None
        body = PyBytes_FromStringAndSize(<char *>header + 5, length - 4)
        if len(self._buffer) == length + 1:
            PyByteArray_Resize(self._buffer, 0)
        else:
            del self._buffer[:length + 1]
        return body

    cdef bint read_password(self) except -1:
        body = self.read_answer(MAX_MD5_BYTES if self.md5_salt else MAX_PASSWORD_BYTES)
        if body is None:
            return False
        answer = messages.parse_password_message(body)
        if self.md5_salt:
            is_right = check_md5_answer(self.user, self.secret, self.md5_salt, answer)
            credential = self.secret
        else:
            credential = prove_password(self.user, self.secret, answer)
            is_right = credential is not None
        self.judge(is_right, credential)
        return True

    cdef bint read_sasl_initial(self) except -1:
        cdef bytes body = self.read_answer(MAX_SASL_BYTES)
        cdef str mechanism = scram.MECHANISM
        cdef bytes client_first
        if body is None:
            return False
        client_first = unbound_client_first(body)
        if client_first is None:
            mechanism, client_first = messages.parse_sasl_initial_response(body)
        challenge = self.scram.challenge(client_first, mechanism)
        self.outgoing += authentication(SASL_CONTINUE, challenge)
        self._move(Event.SASL_CHALLENGED)
        return True

    cdef bint read_sasl_final(self) except -1:
        body = self.read_answer(MAX_SASL_BYTES)
        if body is None:
            return False
        server_final = self.scram.verify(body)
        if server_final is not None and not self.doubt:
            self.outgoing += authentication(SASL_FINAL_WORD, server_final)
        self.judge(server_final is not None, self.scram.keys)
        return True

    cdef int judge(self, bint is_right, object credential) except -1:
        """Let in whose proof is right, and nobody of whom there is a doubt."""
        self.secret = self.scram = None
        if is_right and not self.doubt:
            self.credential = credential
            self._move(Event.PROVED)
            return self.enter()
        return self.deny(Refusal.AUTHENTICATION_FAILED, self.doubt or "wrong password", {"user": self.user})

    cdef int enter(self) except -1:
        """Check what only an authenticated client may be told of."""
        cdef str database = self.introduction.database
        if database not in self.doors.known_databases and not self.doors.has_database(database):
            return self.deny(Refusal.NO_SUCH_DATABASE, "", {"database": self.database})
        self.settings = self.introduction.settings
        return 0


_OBJECTIONS = {"peer": Refusal.PEER_FAILED, "reject": Refusal.NOT_LET_IN}
