from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport Replies
from pgmux.relay.buffer cimport Buffer


cpdef enum ClientPhase:
    LOGIN = 0                # talks to session/client_login.py, by way of the worker's reception
    IDLE = 1                 # has no backend and needs none
    PARKED = 2               # waits for a backend; what it asked is in `held`
    LEASED = 3               # has one
    LEAVING = 4              # has been told why; closed once it has read that, or soon
    GONE = 5                 # socket closed, record freed

cdef enum:
    HEADER_BYTES = 5         # of a message: type and length
    CARRY_BYTES = 8          # of an incomplete header or ReadyForQuery, kept for the next read

cdef class Endpoint:
    cdef readonly int fd                 # -1 = none
    cdef uint32_t serial                 # tells this socket's events from its predecessor's
    cdef bint readable                   # an edge came and no read has given EAGAIN since
    cdef bint hung_up                    # the peer sends no more: read on until 0
    cdef bint queued                     # is in the relay's ready list
    cdef uint8_t carried                 # bytes in carry
    cdef char carry[CARRY_BYTES]
    cdef uint64_t remain                 # bytes of the present message still to come
    cdef Buffer out                      # what the socket has not taken yet

cdef class Client(Endpoint):
    cdef readonly uint32_t record        # its index in shared memory and in this worker's table
    cdef readonly ClientPhase phase      # moved by Leasing.enter alone
    cdef bint dropping                   # the rest of the present message is not forwarded
    cdef readonly bint terminated        # it said Terminate: nothing more is read, what it asked is answered
    cdef bint skipping                   # an error was sent in place of replies: drop all up to Sync
    cdef Buffer held                     # requests read before there was a backend to send them to
    cdef Lobby lobby                     # of its pool; None before the log-in
    cdef Backend backend                 # None unless LEASED
    cdef int64_t ticket                  # in the pool's wait queue, while PARKED
    cdef Client before, after            # neighbours in the lobby
    cdef uint64_t since_us               # when it parked, or when its lease began
    cdef uint64_t deadline_us            # of LOGIN and LEAVING
    cdef bint expecting                  # authenticated, waits for its pool's first backend: nothing is read
    cdef public object login             # the worker's, until admitted
    cdef readonly bint is_unix
    cdef readonly uint64_t waited_us     # for the backend it has, or had last
    cdef readonly bytes last_words       # the error that it was sent off with; None = it was not

cdef class Backend(Endpoint):
    cdef readonly uint32_t slot
    cdef readonly uint64_t generation    # of the slot, for which fd is its socket
    cdef readonly int32_t pool           # -1 = not leased by us since the socket came
    cdef bint watched                    # is in our epoll
    cdef bint awaited                    # leased by us, but its descriptor has not come yet
    cdef bint orphaned                   # leased by us, its client gone: draining
    cdef bint closing                    # CLOSING and ours: waiting for PostgreSQL to end it
    cdef bint at_rest                    # the last word was a ReadyForQuery with status I, and nothing is owed
    cdef bint broken                     # a write failed: read its last words, then give it up
    cdef uint8_t status                  # of the last ReadyForQuery: I, T or E
    cdef uint8_t last_reply              # type of the last message from it; E before the end = the client was told
    cdef uint32_t cancels                # cancel requests on their way: not to be leased before they settle
    cdef uint64_t deadline_us            # of orphaned and closing
    cdef uint64_t request_at_us          # when the query under way was sent
    cdef Client client                   # None unless leased by us for a client
    cdef Replies replies

cdef class Lobby:
    cdef readonly uint32_t pool
    cdef readonly uint32_t waiting       # clients parked here, in this worker
    cdef Client first, last
    cdef int32_t favourite               # the slot this worker used last, -1 = none
    cdef public bint asked               # the worker knows that a backend is wanted, or has none to open
    cdef public uint64_t wait_limit_us   # query_wait_timeout; 0 = none

    cdef void append(self, Client client)
    cdef void remove(self, Client client)
