from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.layout cimport Ear
from pgmux.shm.segment cimport Segment


# An ear's word: epoch 56 bits, holder + 1 8 bits (0 = nobody). The epoch grows with every move.
cdef inline uint64_t epoch_of(uint64_t word) noexcept nogil:
    return word >> 8

cdef inline uint32_t holder_of(uint64_t word) noexcept nogil:
    """The worker that holds it, or 2^32 - 1."""
    return <uint32_t>(word & 0xFF) - 1

cdef inline uint64_t word_of(uint64_t epoch, uint32_t holder) noexcept nogil:
    return epoch << 8 | <uint32_t>(holder + 1)

cdef enum:
    NO_HOLDER = 0xFFFFFFFF

cdef class Ears:
    cdef readonly Segment segment
    cdef Ear *records
    cdef readonly uint32_t count

    cdef void _forget_backend(self, uint32_t ear) noexcept
    cdef bint move(self, uint32_t ear, uint64_t seen, uint32_t holder) noexcept nogil
