from libc.stdint cimport int64_t, uint32_t, uint64_t

from pgmux.shm.atomics cimport load
from pgmux.shm.layout cimport PoolRecord
from pgmux.shm.segment cimport Segment


cdef enum:
    NO_TICKET = -1

cdef class WaitQueue:
    cdef readonly Segment segment
    cdef PoolRecord *pools
    cdef uint64_t *rings
    cdef uint32_t cells          # of one ring: a power of two
    cdef uint32_t shift          # log2 of cells

    cdef int64_t park(self, uint32_t pool, uint32_t worker, uint64_t now) noexcept nogil
    cdef bint is_waiting(self, uint32_t pool, int64_t ticket) noexcept nogil
    cdef bint leave(self, uint32_t pool, int64_t ticket) noexcept nogil
    cdef int64_t head(self, uint32_t pool, uint32_t *worker, uint64_t now, uint64_t *age_us) noexcept nogil
    cdef bint pop(self, uint32_t pool, int64_t ticket) noexcept nogil

    cdef inline bint is_empty(self, uint32_t pool) noexcept nogil:
        """Whether no ticket is queued, not even one that has left. The head is read first: neither ever goes back,
        so they meet only if they were level as the tail was read.

        A ticket that is in its cell, while its worker has not moved the tail yet, is not seen. Nor need it be: its
        worker moves the tail, *then* looks for a free backend.
        """
        cdef uint64_t head = load(&self.pools[pool].head)
        return head >= load(&self.pools[pool].tail)
