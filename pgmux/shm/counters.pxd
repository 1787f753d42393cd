from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.atomics cimport log2_of
from pgmux.shm.layout cimport BUCKETS, Counters
from pgmux.shm.segment cimport Segment


cdef inline void observe(uint64_t *histogram, uint64_t duration_us) noexcept nogil:
    """Count one duration in its bucket."""
    cdef int bucket = log2_of(duration_us)
    histogram[bucket if bucket < BUCKETS else BUCKETS - 1] += 1


cdef class CounterTable:
    cdef readonly Segment segment
    cdef Counters *rows(self, uint32_t worker) noexcept nogil
    cdef int _add_up(self, uint32_t pool, uint64_t *sums) except -1
