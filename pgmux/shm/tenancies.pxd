from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.board cimport Board
from pgmux.shm.layout cimport PoolRecord
from pgmux.shm.leases cimport LeaseTable
from pgmux.shm.segment cimport Segment


cdef class Tenancies:
    cdef readonly Segment segment
    cdef LeaseTable leases
    cdef Board board
    cdef PoolRecord *records
    cdef uint32_t count          # of pool records

    cdef bint join(self, uint32_t pool, uint64_t tenancy, uint32_t worker) noexcept nogil
    cdef void leave(self, uint32_t pool, uint32_t worker) noexcept nogil
    cdef bint is_vacant(self, uint32_t pool) noexcept
    cdef int evict(self) noexcept
