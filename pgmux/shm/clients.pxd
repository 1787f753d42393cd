from libc.stdint cimport int32_t, uint32_t

from pgmux.shm.layout cimport ClientRecord
from pgmux.shm.segment cimport Segment


cdef enum:
    NO_RECORD = -1

cdef class Clients:
    cdef readonly Segment segment
    cdef ClientRecord *records
    cdef uint32_t count
    cdef readonly uint32_t limit  # max_client_conn: records from here on are spare
    cdef uint32_t next_try       # where this process looks for an unused record first

    cdef int32_t claim(self, uint32_t worker) noexcept nogil
    cdef bint _is_ours(self, uint32_t record, uint32_t worker) noexcept nogil
    cdef void forget(self, uint32_t record) noexcept nogil
    cpdef int name_user(self, uint32_t record, bytes user) except -1
    cpdef int admit(self, uint32_t record, bytes secret, uint32_t pool, bytes application_name) except -1
