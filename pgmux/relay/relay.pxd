from libc.stdint cimport uint64_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.loop cimport Loop


cdef class Relay(Loop):
    cdef int deliver(self, Client client) except -1
    cdef int retire_if_idle(self, Backend backend, uint64_t word, uint64_t idle_limit_us) except -1
