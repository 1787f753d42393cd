from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.segment cimport Segment


cpdef enum Standing:             # of a client, as its record tells: the relay's ClientPhase, seen from outside
    LOGGING_IN = 0
    IDLE = 1                     # has no backend and needs none
    WAITING = 2                  # for a backend
    SERVED = 3                   # has one
    LEAVING = 4
    GONE = 5

cdef enum:
    CONSOLES = 0xFFFFFFFE        # pools from here on are names of the console

cdef struct Headcount:           # of one pool, while it is being counted
    uint32_t idle                # clients, by their phase
    uint32_t waiting
    uint32_t served
    uint32_t opening             # backends
    uint32_t free
    uint32_t serving             # leased for a client, or granted to one
    uint32_t cleaning            # leased for nobody: being brought back clean
    uint32_t being_cancelled     # of these, those that only wait for a cancel request to settle
    uint32_t closing
    uint32_t outdated            # backends to be closed when they are not in use
    uint32_t cancels             # cancel requests on their way
    uint64_t waiting_since_us     # of the client that waits longest; 0 = nobody waits

cdef class Survey:
    cdef readonly Segment segment

    cdef int count_clients(self, Headcount *pools, uint32_t count, uint32_t *others) noexcept nogil
    cdef int count_backends(self, Headcount *pools, uint32_t count, uint64_t now) noexcept nogil
    cdef bint serves_away(self, uint32_t slot) noexcept nogil
    cdef dict _describe(self, uint32_t pool, Headcount *head, uint64_t now)
