from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.board cimport Board
from pgmux.shm.layout cimport PoolRecord, Slot
from pgmux.shm.leases cimport LeaseTable


cdef class Renewal:
    cdef LeaseTable leases
    cdef Board board
    cdef PoolRecord *records
    cdef Slot *slots

    cdef uint32_t database_of(self, uint64_t word) noexcept
