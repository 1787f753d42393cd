from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.pools cimport Pools


cdef enum:
    STAY_US = 100_000            # a backend stays with its home so long, and a client elsewhere starves after so long

cdef class Homes:
    cdef Pools pools

    cdef bint is_owed(self, uint32_t slot, uint32_t worker, uint64_t ours_since, uint64_t now) noexcept nogil
    cdef bint serves_ours(self, uint32_t pool) noexcept nogil
    cdef bint has_room(self, uint32_t pool) noexcept nogil
    cdef bint is_moving(self, uint32_t pool) noexcept nogil
