from libc.stdint cimport uint64_t

from pgmux.relay.carrying cimport Carrying
from pgmux.relay.endpoint cimport Backend, Client

cdef uint64_t NEVER


cdef class Parting(Carrying):
    cdef int terminate(self, Client client) except -1
    cdef int see_out(self, Client client) except -1
    cdef int vanish(self, Client client, bint politely) except -1
    cdef int orphan(self, Backend backend, bint midway, bint politely) except -1
    cdef int ask_cancel(self, Backend backend) except -1
    cdef int send_rollback(self, Backend backend) except -1
    cdef int send_sync(self, Backend backend) except -1
    cdef int end_private(self, Backend backend, bint midway, bint politely) except -1
    cdef int send_copy_fail(self, Backend backend) except -1
