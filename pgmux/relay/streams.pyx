# cython: boundscheck=False, wraparound=False
"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept.

What goes on as it came is sent from where it lies. Where something is put in between, left out or
written anew, the chunk is put together in a buffer first, so that it leaves in one piece all the same.

Nothing here waits. What a socket does not take at once goes into its endpoint's `out`, and who
fills that stops reading the other side until it is empty again: at most one chunk is ever kept.
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from pgmux.relay.buffer cimport append, clear, length, shed
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
        clear(&self.requests)
        clear(&self.replies)

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

    # --- chunks that do not go on as they came

    cdef int put_request(self, const char *data, size_t size) except -1:
        """Put bytes of our own behind what goes to the backend."""
        return append(&self.requests, data, size)

    cdef int put_header(self, uint8_t kind, size_t body_bytes) except -1:
        """Put the header of a message that is to have so many bytes after it."""
        cdef size_t whole = body_bytes + 4
        cdef uint8_t[5] header
        header[0] = kind
        header[1], header[2], header[3], header[4] = whole >> 24, whole >> 16, whole >> 8, whole
        return append(&self.requests, <char *>header, 5)

    cdef int cut_requests(self, Chunk *chunk, size_t size) except -1:
        """What lies before the message at hand goes on; of the message `size` bytes do not."""
        if chunk.run < chunk.at:
            append(&self.requests, chunk.data + chunk.run, chunk.at - chunk.run)
        chunk.at += size
        chunk.run = chunk.at
        return 0

    cdef int post_requests(self, Backend backend, Chunk *chunk) except -1:
        """Send the backend what has been dealt with, in one piece."""
        if length(&self.requests):
            self.cut_requests(chunk, 0)
            self.send_to_backend(backend, self.requests.data, self.requests.end)
            self.requests.end = 0
            shed(&self.requests)
        elif chunk.run < chunk.at:
            self.send_to_backend(backend, chunk.data + chunk.run, chunk.at - chunk.run)
            chunk.run = chunk.at
        return 0

    cdef int cut_replies(self, Chunk *chunk, size_t size) except -1:
        """What lies before the message at hand goes on; of the message `size` bytes do not."""
        if chunk.run < chunk.at:
            append(&self.replies, chunk.data + chunk.run, chunk.at - chunk.run)
        chunk.at += size
        chunk.run = chunk.at
        return 0

    cdef int post_replies(self, Client client, Chunk *chunk) except -1:
        """Send the client what has been dealt with, in one piece."""
        if length(&self.replies):
            self.cut_replies(chunk, 0)
            if client is not None:
                self.send_to_client(client, self.replies.data, self.replies.end)
            self.replies.end = 0
            shed(&self.replies)
        elif chunk.run < chunk.at:
            if client is not None:
                self.send_to_client(client, chunk.data + chunk.run, chunk.at - chunk.run)
            chunk.run = chunk.at
        return 0

    cdef void queue(self, Endpoint endpoint):
        if not endpoint.queued:
            endpoint.queued = True
            self.ready.append(endpoint)
