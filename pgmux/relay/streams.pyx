# cython: boundscheck=False, wraparound=False
"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept.

Nothing here waits. What a socket does not take at once goes into its endpoint's `out`, and who
fills that stops reading the other side until it is empty again: at most one chunk is ever kept.
"""
from libc.stdlib cimport free, malloc

from pgmux.relay.buffer cimport append, clear, length
from pgmux.relay.endpoint cimport Backend, CARRY_BYTES, Client, Endpoint
from pgmux.relay.sockets cimport EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, errno, recv, send


cdef class Streams(Leasing):
    """The bytes of this worker's sockets."""

    def __cinit__(self):
        self.buffer = <char *>malloc(CARRY_BYTES + CHUNK_BYTES)
        if self.buffer == NULL:
            raise MemoryError()
        self.ready = []

    def __dealloc__(self):
        free(self.buffer)

    cdef Py_ssize_t read(self, Endpoint endpoint) noexcept:
        """Bytes read into the shared buffer; 0 = the peer is gone; -1 = nothing now."""
        cdef Py_ssize_t size = recv(endpoint.fd, self.buffer + CARRY_BYTES, CHUNK_BYTES, MSG_DONTWAIT)
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

    cdef int send_to_client(self, Client client, const char *data, size_t size) except -1:
        cdef Py_ssize_t sent = 0
        if not length(&client.out):
            sent = send(client.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    client.readable = client.hung_up = True   # its end will be read; until then there is nobody
                    return 0
                sent = 0
        if <size_t>sent < size:
            append(&client.out, data + sent, size - sent)
        return 0

    cdef int send_to_backend(self, Backend backend, const char *data, size_t size) except -1:
        cdef Py_ssize_t sent = 0
        if backend is None or backend.broken:
            return 0
        if backend.client is not None:
            self.counters[backend.pool].bytes_received += size
        if not length(&backend.out):
            sent = send(backend.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    # It may have said why it went: read that first, and from the ready list,
                    # since the shared buffer is in use here.
                    backend.broken = backend.readable = backend.hung_up = True
                    self.queue(backend)
                    return 0
                sent = 0
        if <size_t>sent < size:
            append(&backend.out, data + sent, size - sent)
        return 0

    cdef int flush(self, Endpoint endpoint) except -1:
        """Send what was kept back. Whether all of it has gone is length(&endpoint.out)."""
        cdef Py_ssize_t sent
        while length(&endpoint.out):
            sent = send(endpoint.fd, endpoint.out.data + endpoint.out.start, length(&endpoint.out),
                        MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    clear(&endpoint.out)
                    endpoint.readable = endpoint.hung_up = True
                return 0
            endpoint.out.start += sent
        clear(&endpoint.out)
        return 0

    cdef void queue(self, Endpoint endpoint):
        if not endpoint.queued:
            endpoint.queued = True
            self.ready.append(endpoint)
