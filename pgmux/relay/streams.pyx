# cython: boundscheck=False, wraparound=False
"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept.

Nothing here waits. What a socket does not take at once goes into its endpoint's `out`, and who
fills that stops reading the other side until it is empty again: at most one chunk is ever kept.

A connection under TLS differs only here: what is read is opened first, what is sent is sealed
first, and what is kept is ciphertext (tls.pyx).
"""
from libc.stdlib cimport free, malloc

from pgmux.relay.buffer cimport append, clear, length
from pgmux.relay.endpoint cimport Backend, CARRY_BYTES, Client, Endpoint
from pgmux.relay.sockets cimport (
    EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, errno, recv, send, shutdown,
)
from pgmux.relay.tls cimport take_sealed


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

    cdef Py_ssize_t read_sealed(self, Endpoint endpoint) noexcept:
        """The same under TLS. What TLS itself has to say, a part of the handshake or an alert, is sent."""
        cdef bint has_more = True
        cdef Py_ssize_t size = endpoint.tls.receive(endpoint.fd, self.buffer + CARRY_BYTES, CHUNK_BYTES, &has_more)
        if not has_more and not endpoint.hung_up:
            endpoint.readable = False
        self.send_sealed(endpoint)
        return size

    cdef int send_sealed(self, Endpoint endpoint) except -1:
        """Send the ciphertext that TLS has made, after what was kept back."""
        cdef const char *data
        cdef size_t size = take_sealed(&data)
        if size:
            append(&endpoint.out, data, size)
            self.flush(endpoint)
        return 0

    cdef void hang_up(self, Client client) noexcept:
        """We have said our last word, and it has gone. The client's own are still read."""
        if client.tls is not None:
            client.tls.part(client.fd, NULL, 0)
        shutdown(client.fd, SHUT_WR)

    cdef int send_to_client(self, Client client, const char *data, size_t size) except -1:
        cdef Py_ssize_t sent = 0
        if client.tls is not None:
            if not client.tls.seal(data, size):
                return 0                     # in the middle of a handshake nothing can be said
            size = take_sealed(&data)
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
        if backend.tls is not None:
            if not backend.tls.seal(data, size):
                backend.broken = backend.readable = backend.hung_up = True
                self.queue(backend)
                return 0
            size = take_sealed(&data)
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
