from libc.stdint cimport uint32_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.resetting cimport Resetting
from pgmux.relay.streams cimport Chunk


cdef class CatchingUp(Resetting):
    cdef dict carriages                  # number of settings: Statement that sets so many

    cdef Step begin_catch_up(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef bint put_settings(self, Client client, Backend backend) except -1
    cdef bint may_ride(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except -1
    cdef Step put_ride(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef int put_tag(self, Backend backend, Chunk *chunk) except -1
    cdef bint is_untold(self, Backend backend, const char *reply, uint32_t total) except -1
    cdef bint end_ride(self, Backend backend, const char *error, size_t size) except -1
    cdef int ask_again(self, Client client, Backend backend) except -1
