from libc.stdint cimport uint32_t

from pgmux.session.introduction cimport Introduction
from pgmux.session.proof cimport Proof

cpdef enum Step:
    STARTUP = 0
    PASSWORD = 1
    SASL_INITIAL = 2
    SASL_FINAL = 3
    LOOKUP = 4
    AUTHENTICATED = 5
    ADMITTED = 6
    CANCEL = 7
    REFUSED = 8
    ENCRYPTING = 9

cpdef enum Event:
    ENCRYPTION_DECLINED = 0
    CANCEL_ASKED = 1
    TRUSTED = 2
    PASSWORD_ASKED = 3
    SASL_ASKED = 4
    SASL_CHALLENGED = 5
    LOOKUP_ASKED = 6
    PROVED = 7
    GREETED = 8
    DENIED = 9
    ENCRYPTION_BEGUN = 10
    SECURED = 11

cdef class ClientLogin:
    cdef Step at                         # the step; moved by _move alone
    cdef readonly Introduction introduction  # None before the StartupMessage
    cdef readonly object cancel_request
    cdef readonly object refusal
    cdef readonly str reason             # of a refusal, for the log; never sent to the client
    cdef readonly dict settings          # what it wants set, once it is AUTHENTICATED
    cdef readonly object credential      # by which PostgreSQL would let us in as this user; None = none came out
    cdef readonly bint was_looked_up     # PostgreSQL was asked about this user
    cdef object visitor                  # knows its Arrival; None = it has been asked
    cdef object _arrival
    cdef object doors
    cdef readonly bytearray _buffer      # received and not yet understood
    cdef bytes outgoing
    cdef tuple answered                  # the requests for encryption that were answered
    cdef str tls_mode                    # client_tls_sslmode, as far as it holds for this connection
    cdef readonly bint is_encrypted      # by TLS, and the handshake is done
    cdef readonly bint is_direct         # TLS began without an SSLRequest
    cdef readonly object roles           # of the user's, those that rules name; None = not known
    cdef object secret                   # what was found out about the user, until there is a proof to compare with it
    cdef Proof proof                     # what the client is asked for; None = nothing, or no more

    cpdef int feed(self, bytes data) except -1
    cpdef int _move(self, Event event) except -1
    cdef int deny(self, object refusal, str reason, dict values, str detail=*) except -1
    cdef int go_on(self, bint is_answered, Introduction introduction=*) except -1
    cdef bint read(self) except -1
    cdef bint read_startup(self) except -1
    cdef int answer_encryption(self, object request) except -1
    cdef bint may_begin_tls(self) noexcept
    cdef int begin(self, Introduction introduction) except -1
    cdef int ask(self) except -1
    cdef int turn_away(self, object refusal, str reason, int line=*) except -1
    cdef int ask_for_secret(self, str method) except -1
    cdef bint read_answer(self) except -1
    cdef int judge(self, bint is_right) except -1
    cdef int enter(self) except -1
    cdef bytes admit_told(self, bytes told, uint32_t pid, bytes key)
