from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport Replies
from pgmux.relay.buffer cimport Buffer
from pgmux.relay.tls cimport Tls
from pgmux.session.client_login cimport ClientLogin
from pgmux.session.modes cimport PoolMode
from pgmux.session.statements cimport Statement
from pgmux.shm.layout cimport ClientRecord, Slot


cpdef enum ClientPhase:
    LOGIN = 0                # talks to session/client_login.py, by way of the worker's reception
    IDLE = 1                 # has no backend and needs none
    PARKED = 2               # waits for a backend; what it asked is in `held`
    LEASED = 3               # has one
    LEAVING = 4              # has been told why; closed once it has read that, or soon
    GONE = 5                 # socket closed, record freed

cdef enum Errand:            # of our own, for which a client waits
    NO_ERRAND = 0
    CATCHING_UP = 1          # bringing its settings to the client's, which PostgreSQL may refuse
    ASKING = 2               # what a transaction has left of its session
    SUBSCRIBING = 3          # until notifications of the client's channels reach us
    RESETTING = 4            # making it clean after a client that has left
    UNDOING = 5              # a transaction that the pool mode does not allow
    RETRYING = 6             # what met a statement that is out of date, see Retrying
    AUDITING = 7             # what a client has left, that has let it go
    EXAMINING = 8            # whether a statement still gives the columns that the client was told, see Describing

cdef enum PinPolicy:         # of on_pin
    ALLOW = 0
    WARN = 1                 # and tell the client and the log
    REJECT = 2

cdef enum:
    HEADER_BYTES = 5         # of a message: type and length
    CARRY_BYTES = 8          # of an incomplete header or ReadyForQuery, kept for the next read
    READS_A_TURN = 8         # chunks of one socket before the others have their turn
    LONGEST_MESSAGE = 0x3FFFFFFF    # PostgreSQL's own limit (MaxAllocSize)

cdef uint64_t NO_LORE            # no moment: nothing is known of functions, or not asked

cdef class Endpoint:
    cdef readonly int fd                 # -1 = none
    cdef uint32_t serial                 # tells this socket's events from its predecessor's
    cdef bint readable                   # an edge came and no read has given EAGAIN since
    cdef bint hung_up                    # the peer sends no more: read on until 0
    cdef bint queued                     # is in the relay's ready list
    cdef uint8_t carried                 # bytes in carry
    cdef char carry[CARRY_BYTES]
    cdef uint64_t remain                 # bytes of the present message still to come
    cdef uint64_t volley                 # the last one that it had a shot in
    cdef Buffer out                      # what the socket has not taken yet, as ciphertext where there is `tls`
    cdef readonly Tls tls                # None = the connection is not encrypted

cdef class Client(Endpoint):
    cdef readonly uint32_t record        # its index in shared memory and in this worker's table
    cdef ClientRecord *row               # the record itself, ours to write until the client is GONE
    cdef readonly ClientPhase phase      # moved by Leasing.enter alone
    cdef bint dropping                   # the rest of the present message is not forwarded
    cdef readonly bint terminated        # it said Terminate: nothing more is read, what it asked is answered
    cdef bint skipping                   # an error was sent in place of replies: drop all up to Sync
    cdef Buffer held                     # requests read before there was a backend to send them to
    cdef Lobby lobby                     # of its pool; None before the log-in
    cdef bint is_own                     # pgmux's own question to PostgreSQL, no application's
    cdef bint is_guest                   # counted in the pool of its lobby; see shm/tenancies.pyx
    cdef Backend backend                 # None unless LEASED
    cdef int32_t last_slot               # it had before; -1 = none
    cdef int64_t ticket                  # in the pool's wait queue, while PARKED
    cdef Client before, after            # neighbours in the lobby
    cdef uint64_t since_us               # when it parked, or when its lease began
    cdef uint64_t deadline_us            # of LEAVING; in LOGIN, when its word began to be awaited
    cdef bint expecting                  # its log-in waits for PostgreSQL (a lookup, the first backend): nothing is read
    cdef bint wants_room                 # its socket once did not take all: since then we are told when it has room
    cdef bint is_logging_in              # is in the relay's `logging_in` or `awaiting`
    cdef readonly ClientLogin login      # until admitted
    cdef readonly bint is_unix
    cdef readonly PoolMode mode          # when it gives its backend back
    cdef size_t wanted                   # bytes to be in `held` before its first message is understood; 0 = none
    cdef uint64_t digest                 # of `settings`
    cdef public object settings          # SessionSettings: what its session has set now
    cdef public object startup           # SessionSettings: what it had set at its log-in, to which RESET goes back
    cdef bint restores                   # it had set something then
    cdef dict resets                     # in session mode, its statements that reset settings: Study by name; None = none
    cdef dict names                      # its name of a prepared statement: Statement; None = it has none
    cdef Buffer unnamed                  # its unnamed statement: a Parse's body from the text on
    cdef uint64_t unnamed_token          # tells it from any other unnamed statement; 0 = it has none
    cdef uint32_t unnamed_traces         # of its text, bits of Trace
    cdef object unnamed_study            # Study of its text; None without traces
    cdef uint32_t unnamed_told           # digest of the columns that it was told of it; 0 = none
    cdef object unsure                   # frozenset of settings whose spelling it has not been told; None = none
    cdef bint backslashes                # its strings have escapes: standard_conforming_strings is off
    cdef public object channels          # frozenset it listens to; None = none
    cdef readonly uint32_t pins          # bits of Pin: why it keeps its backend
    cdef bytes deferred                  # its BEGIN, answered by us and not sent yet; None = there is none
    cdef bint failed                     # its deferred transaction has failed before it began
    cdef bint overrun                    # more notifications waited for it than are kept: it must go
    cdef list pending                    # notifications that wait for its transaction's end or its socket; None = none
    cdef size_t pending_bytes
    cdef readonly uint64_t waited_us     # for the backend it has, or had last
    cdef readonly bytes last_words       # the error that it was sent off with; None = it was not
    cdef public bint stays               # it cannot be handed to another worker
    cdef uint8_t recall                  # Recall: whether it asks for last values of sequences
    cdef bint recalls_now                # its Query at hand does: it is best served where it was before
    cdef uint64_t reserved_until_us      # its backend is kept for it so long, though it is at rest; 0 = it is not

    cdef int64_t credential(self, int which) noexcept

cdef class Backend(Endpoint):
    cdef readonly uint32_t slot
    cdef Slot *row                       # the slot's, in shared memory: whose it is says its word
    cdef readonly uint64_t generation    # of the slot, for which fd is its socket
    cdef readonly int32_t pool           # -1 = not leased by us since the socket came
    cdef bint watched                    # is in our epoll
    cdef bint awaited                    # leased by us, but its descriptor has not come yet
    cdef bint orphaned                   # leased by us, its client gone: draining
    cdef bint private                    # opened for one client and closed with it: never leased to another
    cdef bint closing                    # CLOSING and ours: waiting for PostgreSQL to end it
    cdef bint at_rest                    # the last word was a ReadyForQuery with status I, and nothing is owed
    cdef bint broken                     # a write failed: read its last words, then give it up
    cdef uint8_t status                  # of the last ReadyForQuery: I, T or E
    cdef uint8_t last_reply              # type of the last message from it; E before the end = the client was told
    cdef uint32_t cancels                # cancel requests on their way: not to be leased before they settle
    cdef uint64_t deadline_us            # of orphaned and closing
    cdef uint64_t request_at_us          # when the query under way was sent
    cdef uint64_t began_at_us            # when the transaction under way began
    cdef uint64_t rested_at_us           # when the last ReadyForQuery came
    cdef bytes overtime                  # a query has taken too long and is being cancelled: what to say then; None
    cdef Client client                   # None unless leased by us for a client
    cdef Replies replies
    cdef Errand errand                   # what we ask of it ourselves, while its client waits
    cdef bint fresh                      # the lease has begun and nothing was sent yet
    cdef bint follows                    # its client's transaction before this one was here too
    cdef bint advanced                   # sequences may have been advanced in this lease
    cdef bint recalled                   # and its client may ask for their values in its next transaction
    cdef bint unsynced                   # extended requests were sent and no Sync after them
    cdef uint32_t segment                # counts the Syncs of a lease: what one error makes fail
    cdef object notes                    # deque of what hangs on NOTED requests, oldest first
    cdef list borrowed                   # names on loan to an empty statement, see Naming; None = none
    cdef bint returning                  # its client has been told that all is over; we close borrowed names, and no more
    cdef dict inflight                   # name of a statement that is being prepared or closed: (segment, is prepared)
    cdef dict wavering                   # client's name that was changed, None = all: number of the segment, plus one
    cdef uint32_t traces                 # of this transaction's texts, bits of Trace
    cdef set touched                     # settings this transaction may have changed; None = it has named none
    cdef bint touched_any                # it may have changed any setting
    cdef bint touched_unlearnt           # even one of its own (a.b) that only a function names which we do not know
    cdef set returned                    # settings it may have taken back to where they were; None = none
    cdef set unlistened                  # channels that it gave up; None = none
    cdef bint unlistened_all
    cdef uint8_t asked_again             # times that a late cancel has hit the question about them
    cdef list overheard                  # notifications that came since it was told to listen; None = none
    cdef bint undone                     # its last command was a ROLLBACK, or failed
    cdef bint redefines                  # its transaction has altered or dropped something
    cdef bint makes_code                 # its transaction has made a function or the like
    cdef bint soiled                     # something was left on it that only DISCARD ALL takes away
    cdef bint unsettled                  # settings may have been left on it whose names nobody knows
    cdef bytes cleaning                  # what is to be run when it is at rest and its client has left; None = nothing
    cdef uint8_t finished                # OwnNote or Finished: what to go on from when the chunk has been dealt with
    cdef bint dropping                   # the rest of the present message is not forwarded
    cdef bytearray heard                 # DataRows of our own question, as they come; None = none is asked
    cdef bint mishap                     # our own request has failed
    cdef bint query_failed               # an error has come since the last ReadyForQuery
    cdef bint distrusted                 # its statements may be gone, or not: nothing is relied upon
    cdef bint poised                     # what was bound last makes it forget its statements when it is executed
    cdef object resetting                # Study of what was bound last, if that resets settings of a start-up; else None
    cdef uint32_t done                   # statements completed since the last ReadyForQuery
    cdef Buffer stash                    # of an incomplete message that must be read whole
    cdef bint is_first                   # the request at hand is the first of its transaction that is sent
    cdef bint is_spared                  # so far nothing of the transaction had to be sent
    cdef Statement recorded              # the statement that the first request names, should it be asked again; None
    cdef Buffer record                   # what was sent since, the first request included
    cdef size_t unrecorded               # bytes in front of the first request, in the same piece
    cdef Client audited                  # who had it before the audit; None = there is none
    cdef uint64_t lore_asked             # as of when the audit asks for functions; NO_LORE = it does not
    cdef tuple untold                    # what was bound last, if its client knows no columns: (portal, name, Statement)
    cdef uint32_t described              # digest of the columns that it told last
    cdef object examined                 # whose columns those are, by our own question: Statement, or Client; None

cdef class Greeting:
    cdef readonly uint32_t pool
    cdef readonly uint64_t tenancy
    cdef readonly bytes application_name
    cdef readonly bytes told             # ParameterStatus messages
    cdef readonly PoolMode mode
    cdef readonly object settings        # SessionSettings that it asked for
    cdef uint64_t digest                 # of `settings`
    cdef bint backslashes                # `settings` have standard_conforming_strings off
    cdef readonly object unsure          # frozenset of settings whose spelling `told` could not know; None = none
    cdef readonly object credential      # what the last who was told this had proved; it is known already
    cdef readonly uint32_t edition       # the relay's, when it was made: it holds for no other

cdef class Lobby:
    cdef readonly uint32_t pool
    cdef readonly uint32_t waiting       # clients parked here, in this worker
    cdef Client first, last
    cdef int32_t favourite               # the slot this worker used last, -1 = none
    cdef public bint asked               # the worker knows that a backend is wanted, or has none to open
    cdef public uint64_t wait_limit_us   # query_wait_timeout; 0 = none
    cdef public uint32_t least           # min_pool_size: so many backends are kept, idle or not
    cdef public uint8_t on_pin           # PinPolicy
    cdef public uint32_t most_pinned     # of its backends may be pinned at once
    cdef public str login_user           # who logs in to PostgreSQL
    cdef uint64_t lore                   # as of when its database's functions are known (Header.lore), or NO_LORE
    cdef uint64_t lore_asked             # and were asked for last
    cdef uint64_t studied_at_us          # when that was
    cdef uint64_t renewed_after_us       # until they are asked for again
    cdef uint32_t asked_in_vain          # times in a row that there was no answer

    cdef void append(self, Client client)
    cdef void remove(self, Client client)
