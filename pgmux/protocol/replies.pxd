from libc.stdint cimport uint8_t, uint32_t


cdef enum:
    NEAR = 16                    # requests in flight that need no memory of their own; a power of two

cdef enum Verdict:
    FORWARD = 1                  # the reply belongs to what was asked: pass it on
    MISMATCH = 0                 # it belongs to nothing that was asked: the backend is out of step

cdef struct Replies:             # what one backend owes, oldest first; lives in the relay's Backend
    uint8_t near[NEAR]           # a ring of request types, while it is enough
    uint8_t *far                 # the ring when it is not; NULL = near is in use
    uint32_t capacity
    uint32_t head
    uint32_t count
    bint failed                  # an error came and no Sync has been sent since: requests get no replies
    bint copying                 # the backend reads CopyData: Sync and Flush are ignored

cdef void begin(Replies *replies) noexcept nogil
cdef void end(Replies *replies) noexcept nogil
cdef int expect(Replies *replies, uint8_t request) except -1 nogil
cdef Verdict match(Replies *replies, uint8_t reply) noexcept nogil
cdef bint is_settled(Replies *replies) noexcept nogil
cdef bint needs_sync(Replies *replies) noexcept nogil
