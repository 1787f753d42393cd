from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.layout cimport ClientRecord
from pgmux.shm.segment cimport Segment


cdef enum:
    NO_RECORD = -1
    BURYING = 0xFFFF             # owner of a dead worker's record while the supervisor clears it
    AWAY = 0xFFFE                # owner of a record whose client is to come from the other segment: see crossing.pyx
    OVER = 0xFFFD                # owner of a record whose client has gone over into the other segment

# The owner word, from the lowest bit: worker + 1, 16 bits; giver + 1 while the client is on its way, 16 bits.
cdef inline uint64_t holder_of(uint64_t word) noexcept nogil:
    return word & 0xFFFF

cdef inline uint64_t giver_of(uint64_t word) noexcept nogil:
    return word >> 16

cdef inline bint has_left(uint64_t word) noexcept nogil:
    """Whether a record is nobody's of this segment's, and nobody's who will come."""
    return word == 0 or holder_of(word) == OVER

cdef inline uint64_t on_the_way(uint32_t giver, uint32_t heir) noexcept nogil:
    return <uint64_t>(giver + 1) << 16 | heir + 1

cdef class Clients:
    cdef readonly Segment segment
    cdef ClientRecord *records
    cdef uint32_t count
    cdef readonly uint32_t limit  # max_client_conn: records from here on are spare
    cdef uint32_t next_try       # where this process looks for an unused record first

    cdef int32_t claim(self, uint32_t worker) noexcept nogil
    cdef bint _is_ours(self, uint32_t record, uint32_t worker) noexcept nogil
    cdef void _raise_mark(self, uint32_t record) noexcept nogil
    cdef void forget(self, uint32_t record) noexcept nogil
    cdef bint _take(self, uint32_t record, uint64_t owner)
    cdef int _copy(self, uint32_t record, bytes secret, uint32_t pool, card) except -1
    cpdef int name_user(self, uint32_t record, bytes user) except -1
    cpdef int admit(self, uint32_t record, bytes secret, uint32_t pool, bytes application_name) except -1
