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

What is asked of a client, and what its answers are worth, is proof.pyx's. Whether a database exists is told only to
who has authenticated.

There is no I/O and no clock here: the caller sends, receives, and refuses with LOGIN_TIMEOUT when it takes
too long. Compiled, because clients that connect for each query pay for every line of it.
"""
from libc.stdint cimport int8_t, uint32_t

from pgmux.protocol.greeting cimport build_greeting
from pgmux.session.introduction cimport Introduction, LONGEST_REMEMBERED, remembered
from pgmux.session.proof cimport Proof, take_answer

from pgmux.protocol.errors import ClientProtocolError, OptionsError
from pgmux.protocol.startup import CancelRequest, SSLRequest, startup_packet_size
from pgmux.session.arrival import Arrival
from pgmux.session.hba import RolesWanted
from pgmux.session.introduction import introduce
from pgmux.session.refusals import Refusal

ALPN_PROTOCOL = "postgresql"                # RFC 7301; manual: "SSL Session Encryption"
cdef enum:
    TLS_HANDSHAKE = 0x16     # the first byte of a TLS connection; no start-up packet is so long
cdef tuple DEMANDING = ("require", "verify-ca", "verify-full")

cdef dict NO_SETTINGS = {}

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


cdef class ClientLogin:
    """One client's log-in. Feed it, send what it gives, look at `step`."""

    def __init__(self, doors, visitor=None, str tls_mode="disable"):
        """`visitor.arrival()` gives the client's Arrival; it is called when that is needed, once."""
        self.at = Step.STARTUP
        self.reason = ""
        self.settings = NO_SETTINGS
        self.doors = doors
        self.visitor = visitor
        self._buffer = bytearray()
        self.outgoing = b""
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
        return build_greeting(outgoing, told, pid, key)

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
        self.secret = self.proof = None
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
        if self.at == Step.PASSWORD or self.at == Step.SASL_INITIAL or self.at == Step.SASL_FINAL:
            return self.read_answer()
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
        self.proof = Proof(self.doors, user, self.secret)
        self.secret = None
        self.outgoing += self.proof.demand(method, self.arrival.encryption.end_point if self.is_encrypted else b"")
        return self._move(Event.SASL_ASKED if self.proof.is_sasl() else Event.PASSWORD_ASKED)

    # ---- answers

    cdef bint read_answer(self) except -1:
        """Read the next answer of those that prove who the client is; False while it is incomplete."""
        cdef bytes body = take_answer(self._buffer, self.proof.longest_answer()), reply
        if body is None:
            return False
        if self.at == Step.PASSWORD:
            self.judge(self.proof.check_password(body))
        elif self.at == Step.SASL_INITIAL:
            self.outgoing += self.proof.challenge(body)
            self._move(Event.SASL_CHALLENGED)
        else:
            reply = self.proof.verify(body)
            if reply:
                self.outgoing += reply
            self.judge(reply is not None)
        return True

    cdef int judge(self, bint is_right) except -1:
        """Let in whose proof is right, and nobody of whom there is a doubt."""
        cdef Proof proof = self.proof
        self.proof = None
        if is_right and not proof.doubt:
            self.credential = proof.credential
            self._move(Event.PROVED)
            return self.enter()
        return self.deny(Refusal.AUTHENTICATION_FAILED, proof.doubt or "wrong password", {"user": self.user})

    cdef int enter(self) except -1:
        """Check what only an authenticated client may be told of."""
        cdef str database = self.introduction.database
        if database not in self.doors.known_databases and not self.doors.has_database(database):
            return self.deny(Refusal.NO_SUCH_DATABASE, "", {"database": self.database})
        self.settings = self.introduction.settings
        return 0


_OBJECTIONS = {"peer": Refusal.PEER_FAILED, "reject": Refusal.NOT_LET_IN}
