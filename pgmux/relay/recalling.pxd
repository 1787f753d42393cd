from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.asking cimport Asking
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.session.traces cimport ADVANCING, LEARNT, NAMES, RECALLING, UNSEEN


cdef enum:
    RECALLED = ADVANCING | RECALLING | NAMES | UNSEEN | LEARNT       # traces that matter here

cdef enum Recall:                # whether a client asks for last values
    UNTRIED = 0                  # it may
    ASKS = 1
    IN_VAIN = 2                  # a backend was reserved for it, and it has not

cdef class Recalling(Asking):
    cdef public uint64_t reserves_for_us  # last_value_reserve; 0 = none is reserved
    cdef set reserving           # clients for which a backend was reserved; for some it is no longer
    cdef uint64_t next_release_us        # no reservation ends before

    cdef void follow(self, Client client, Backend backend) noexcept
    cdef bint note_recall(self, Client client, Backend backend, uint32_t traces) except -1
    cdef bint stays_reserved(self, Client client, Backend backend) except -1
    cdef bint reserve(self, Client client, Backend backend) except -1
    cdef int release(self, Client client, Backend backend) except -1
    cdef int end_reservations(self) except -1
    cdef uint64_t until_release(self, uint64_t patience_us) noexcept
