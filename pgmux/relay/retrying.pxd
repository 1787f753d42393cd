from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport Naming
from pgmux.session.statements cimport Statement


cdef class Retrying(Naming):
    cdef bint can_retry(self, Backend backend) noexcept
    cdef int retry(self, Client client, Backend backend) except -1
