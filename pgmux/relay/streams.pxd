from pgmux.relay.endpoint cimport Backend, Client, Endpoint
from pgmux.relay.leasing cimport Leasing


cdef enum:
    CHUNK_BYTES = 65536          # of one read; what a slow peer makes us keep is at most this much

cdef class Streams(Leasing):
    cdef char *buffer            # what was read last: CARRY_BYTES of room, then CHUNK_BYTES
    cdef list ready              # endpoints that are readable but had their turn

    cdef int send_to_client(self, Client client, const char *data, size_t size) except -1
    cdef int send_to_backend(self, Backend backend, const char *data, size_t size) except -1
    cdef int flush(self, Endpoint endpoint) except -1
    cdef void queue(self, Endpoint endpoint)
    cdef Py_ssize_t read(self, Endpoint endpoint) noexcept
    cdef Py_ssize_t read_sealed(self, Endpoint endpoint) noexcept
    cdef int send_sealed(self, Endpoint endpoint) except -1
    cdef void hang_up(self, Client client) noexcept
