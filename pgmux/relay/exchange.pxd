from libc.stdint cimport uint8_t, uint32_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.replying cimport Replying
from pgmux.relay.streams cimport Chunk


cdef class Exchange(Replying):
    cdef int serve_client(self, Client client) except -1
    cdef int take_requests(self, Client client, const char *data, size_t size) except -1
    cdef int stop_at(self, Client client, Chunk *chunk, Step verdict) except -1
    cdef Step judge(self, Client client, Chunk *chunk, uint32_t total) except? STOP
    cdef bint replace(self, Client client, Backend backend) except -1
    cdef Step begin_request(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step read_on(self, Client client, Chunk *chunk, uint32_t total, uint8_t request) except? STOP
    cdef uint8_t status_of(self, Client client) noexcept
    cdef int refuse(self, Client client, bytes error) except -1
