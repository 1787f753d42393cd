from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.atomics cimport load
from pgmux.shm.layout cimport Board as BoardRecord, DatabaseRecord
from pgmux.shm.segment cimport Segment


cdef class Board:
    cdef readonly Segment segment
    cdef BoardRecord *record
    cdef DatabaseRecord *databases
    cdef readonly uint32_t count  # of records of databases

    cdef int32_t database_of(self, bytes name) except -2
    cdef int32_t oldest_vacant(self) except -2

    cdef inline bint pauses(self, uint32_t database) noexcept nogil:
        """Whether the operator lets no client of the database have a backend now."""
        return load(&self.segment.header.paused) or load(&self.databases[database].paused)
