from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.layout cimport WorkerRecord
from pgmux.shm.segment cimport Segment


cpdef enum Errand:       # what anybody may ask of a worker, as bits
    LOOK_FOR_GRANTS = 1  # scan the lease table: a grant may have been made without its bell
    OPEN_BACKENDS = 2    # clients wait in some pool: see whether a backend may be opened
    REFUSE_WAITERS = 4   # a log-in to PostgreSQL failed: tell those who wait for it
    BURY_BACKENDS = 8    # CLOSING slots were left to you
    RELOAD = 16          # the configuration's file has changed, and is good, or SET has changed something
    LOOK_AT_EARS = 32    # a worker has died, or an ear has changed hands
    HEAR_ANSWERS = 64    # auth_query has answered some worker, or failed to
    KILL_CLIENTS = 128   # the operator's KILL is on the board: send off whom it means
    DRAIN = 256          # hand your clients to others, then leave
    LET_LEAVE = 512      # take no new clients, and leave when the last has left by itself
    STAND_IN = 1024      # a worker has died: accept from its listening sockets too
    SHUT_DOORS = 2048    # a successor with another layout is ready: take nobody in any more
    EMIGRATE = 4096      # hand your clients over to its workers, then leave
    LOOK_INTO_INBOX = 8192  # backends were granted to you; the relay's own, it never comes to the worker

cpdef enum WorkerState:
    STARTING = 0
    SERVING = 1          # others may hand it clients
    DRAINING = 2         # it hands its own to others
    LEFT = 3             # it has left in order

cdef class Workers:
    cdef readonly Segment segment
    cdef WorkerRecord *records
    cdef uint64_t *inboxes
    cdef uint32_t words
    cdef int[256] _bells
    cdef readonly list bells     # eventfd of each worker; the same number in every process, by inheritance

    cdef void deliver(self, uint32_t worker, uint32_t slot) noexcept nogil
    cdef void ask(self, uint32_t worker, uint64_t errands) noexcept nogil
    cdef void ring(self, uint32_t worker) noexcept nogil
    cdef bint sleep(self, uint32_t worker) noexcept nogil
    cdef void rise(self, uint32_t worker) noexcept nogil
    cdef int32_t lightest(self, uint32_t but) noexcept nogil
    cdef bint is_away(self, uint32_t worker) noexcept nogil
    cdef uint64_t load_of(self, uint32_t worker) noexcept nogil
