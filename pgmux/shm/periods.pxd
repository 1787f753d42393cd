from libc.stdint cimport uint64_t

from pgmux.shm.layout cimport Board as BoardRecord
from pgmux.shm.segment cimport Segment


cdef class Periods:
    cdef readonly Segment segment
    cdef BoardRecord *board
    cdef uint64_t *totals        # [PERIODS][pools][TOTALS]
