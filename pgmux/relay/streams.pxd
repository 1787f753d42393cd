from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from pgmux.relay.buffer cimport Buffer, length
from pgmux.relay.endpoint cimport Backend, CARRY_BYTES, Client, Endpoint
from pgmux.relay.leasing cimport Leasing
from pgmux.relay.sockets cimport EAGAIN, EINTR, MSG_DONTWAIT, errno, recv
from pgmux.relay.volley cimport SHOT_BYTES, Volley


cdef enum:
    CHUNK_BYTES = 65536          # of one read; what a slow peer makes us keep is at most this much

cdef struct Chunk:               # what was read, and how far it has been dealt with
    const char *data
    size_t size
    size_t at                    # of the message at hand
    size_t run                   # from here up to `at` it goes on as it is, and has not gone yet
    uint32_t traces              # of the text of the Query at hand

cdef inline void carry(Endpoint endpoint, Chunk *chunk) noexcept:
    """Keep what there is of the message at hand, which is less than its header, for the next chunk."""
    endpoint.carried = chunk.size - chunk.at
    if endpoint.carried:
        memcpy(endpoint.carry, chunk.data + chunk.at, endpoint.carried)


cdef class Streams(Leasing):
    cdef char *buffer            # what was read last: CARRY_BYTES of room, then CHUNK_BYTES
    cdef list ready              # endpoints that are readable but had their turn
    cdef Buffer requests         # put together for a backend, because they differ from what the client sent
    cdef Buffer replies          # put together for a client, likewise
    cdef readonly Volley volley  # short sends of the present batch of events
    cdef bint is_collecting      # a batch is being served: it will be fired

    cdef inline Py_ssize_t read(self, Endpoint endpoint) noexcept:
        """Bytes read into the shared buffer; 0 = the peer is gone; -1 = nothing now."""
        cdef Py_ssize_t size
        if endpoint.tls is not None:
            return self.read_sealed(endpoint)
        size = recv(endpoint.fd, self.buffer + CARRY_BYTES, CHUNK_BYTES, MSG_DONTWAIT)
        if size < 0:
            if errno == EINTR:
                return -1
            if errno == EAGAIN:
                endpoint.readable = False
                return -1
            size = 0
        # A short read has emptied the socket: the next byte makes a new edge. Not so the end of the stream.
        elif size < CHUNK_BYTES and not endpoint.hung_up:
            endpoint.readable = False
        return size

    cdef inline Py_ssize_t read_chunk(self, Endpoint endpoint, char **data) noexcept:
        """The same, behind what the last chunk has left: bytes from `data` on."""
        cdef Py_ssize_t size = self.read(endpoint)
        data[0] = self.buffer + CARRY_BYTES
        if size <= 0 or not endpoint.carried:
            return size
        data[0] -= endpoint.carried
        size += endpoint.carried
        memcpy(data[0], endpoint.carry, endpoint.carried)
        endpoint.carried = 0
        return size

    cdef int send_to_client(self, Client client, const char *data, size_t size) except -1
    cdef int send_to_backend(self, Backend backend, const char *data, size_t size) except -1
    cdef int record(self, Backend backend, const char *data, size_t size) except -1
    cdef inline int post(self, Endpoint endpoint, const char *data, size_t size) except -1:
        """Send at the end of the batch what is short, and all else at once; behind what is kept already."""
        if (self.is_collecting and size <= SHOT_BYTES and not length(&endpoint.out)
                and self.volley.take(endpoint, data, size)):
            return 0
        return self.post_apart(endpoint, data, size)

    cdef int post_apart(self, Endpoint endpoint, const char *data, size_t size) except -1
    cdef int take_outcome(self, Endpoint endpoint, const char *data, size_t size, Py_ssize_t outcome) except -1
    cdef int keep(self, Endpoint endpoint, const char *data, size_t size) except -1
    cdef int flush(self, Endpoint endpoint) except -1
    cdef void queue(self, Endpoint endpoint)
    cdef int put_request(self, const char *data, size_t size) except -1
    cdef int put_header(self, uint8_t kind, size_t body_bytes) except -1
    cdef int cut_requests(self, Chunk *chunk, size_t size) except -1
    cdef int post_requests(self, Backend backend, Chunk *chunk) except -1
    cdef int cut_replies(self, Chunk *chunk, size_t size) except -1
    cdef int post_replies(self, Client client, Chunk *chunk) except -1
    cdef Py_ssize_t read_sealed(self, Endpoint endpoint) noexcept
    cdef int send_sealed(self, Endpoint endpoint) except -1
    cdef int hang_up(self, Client client) except -1
