from pgmux.relay.endpoint cimport Backend, Client, Endpoint
from pgmux.relay.leasing cimport Leasing
from pgmux.relay.volley cimport Volley


cdef enum:
    CHUNK_BYTES = 65536          # of one read; what a slow peer makes us keep is at most this much

cdef class Streams(Leasing):
    cdef char *buffer            # what was read last: CARRY_BYTES of room, then CHUNK_BYTES
    cdef list ready              # endpoints that are readable but had their turn
    cdef readonly Volley volley  # short sends of the present batch of events
    cdef bint is_collecting      # a batch is being served: it will be fired

    cdef int send_to_client(self, Client client, const char *data, size_t size) except -1
    cdef int send_to_backend(self, Backend backend, const char *data, size_t size) except -1
    cdef int post(self, Endpoint endpoint, const char *data, size_t size) except -1
    cdef int note(self, Endpoint endpoint, const char *data, size_t size, Py_ssize_t outcome) except -1
    cdef int flush(self, Endpoint endpoint) except -1
    cdef void queue(self, Endpoint endpoint)
    cdef Py_ssize_t read(self, Endpoint endpoint) noexcept
