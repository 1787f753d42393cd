from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pgmux.shm.atomics cimport load
from pgmux.shm.layout cimport Slot
from pgmux.shm.segment cimport Segment


cpdef enum Phase:        # of a backend's slot; MOVES in leases.pyx is the law
    EMPTY = 0            # no socket
    OPENING = 1          # its owner is connecting and logging in
    FREE = 2             # any worker may take it
    LEASED = 3           # its owner alone may touch the socket
    GRANTED = 4          # handed to its owner, which has not picked it up yet
    CLOSING = 5          # its owner is waiting for PostgreSQL to end the connection

cpdef enum Private:      # whether a backend was opened for one client alone, and for what
    NOT_PRIVATE = 0
    PHYSICAL = 1         # replication
    LOGICAL = 2

cpdef enum Verb:
    OPEN = 0
    ADOPT = 1
    TAKE = 2
    RELEASE = 3
    GRANT = 4
    ACCEPT = 5
    RECALL = 6
    RETURN = 7
    CLOSE = 8
    FENCE = 9
    CLEAR = 10

cdef enum:
    VERBS = 11
    NOBODY = 0xFF        # owner of an EMPTY or FREE slot
    NO_POOL = 0xFFFF     # pool of an EMPTY slot

cdef struct Move:
    uint32_t origins     # bit p set = legal from Phase p
    uint8_t target
    bint renews          # the generation grows: leases and sockets of before are void


# A lease word, from the lowest bit: phase 4, owner 8, pool 16, grants 8, generation 28. `grants` counts the
# GRANTs, so that one grant is told from the next to the same worker, and a granter recalls its own alone.
cdef enum:
    OWNER_AT = 4
    POOL_AT = 12
    GRANTS_AT = 28
    GENERATION_AT = 36

cdef inline uint32_t phase_of(uint64_t word) noexcept nogil:
    return word & 0xF

cdef inline uint32_t owner_of(uint64_t word) noexcept nogil:
    return (word >> OWNER_AT) & 0xFF

cdef inline uint32_t pool_of(uint64_t word) noexcept nogil:
    return (word >> POOL_AT) & 0xFFFF

cdef inline uint64_t generation_of(uint64_t word) noexcept nogil:
    return word >> GENERATION_AT

cdef inline bint is_held(uint64_t word, uint32_t phase, uint32_t owner) noexcept nogil:
    return (word & 0xFFF) == (owner << OWNER_AT | phase)


cdef inline bint is_usable_by(uint32_t worker, const Slot *slot) noexcept nogil:
    return slot.home == 0 or slot.home == worker + 1

cdef uint64_t moved(uint64_t seen, uint32_t verb, uint32_t owner, uint32_t pool) noexcept nogil


cdef class LeaseTable:
    cdef readonly Segment segment
    cdef Slot *slots
    cdef readonly uint32_t count

    cdef inline uint64_t word(self, uint32_t slot) noexcept nogil:
        return load(&self.slots[slot].word)

    cdef uint64_t introduced(self, uint32_t slot) noexcept nogil
    cdef bint move(
        self, uint32_t slot, uint64_t seen, uint32_t verb, uint32_t owner, uint32_t pool) noexcept nogil
