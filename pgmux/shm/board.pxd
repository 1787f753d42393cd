from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.layout cimport Board as BoardRecord, DatabaseRecord
from pgmux.shm.segment cimport Segment


cdef class Board:
    cdef readonly Segment segment
    cdef BoardRecord *record
    cdef DatabaseRecord *databases
    cdef readonly uint32_t count  # of records of databases

    cdef int32_t database_of(self, bytes name) except -2
    cdef int32_t oldest_vacant(self) except -2
    cdef bint pauses(self, uint32_t database) noexcept nogil
