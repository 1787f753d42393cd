# cython: boundscheck=False, wraparound=False
"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept.

What goes on as it came is sent from where it lies. Where something is put in between, left out or
written anew, the chunk is put together in a buffer first, so that it leaves in one piece all the same.

Nothing here waits. What a socket does not take at once goes into its endpoint's `out`, and who
fills that stops reading the other side until it is empty again: at most one chunk is ever kept.

A connection under TLS differs only here: what is read is opened first, what is sent is sealed
first, and what is kept is ciphertext (tls.pyx).
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from pgmux.relay.buffer cimport append, clear, length, shed
from pgmux.relay.endpoint cimport Backend, CARRY_BYTES, Client, Endpoint
from pgmux.relay.poller cimport CLIENT, EDGES
from pgmux.relay.sockets cimport (
    EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, errno, send, shutdown,
)
from pgmux.relay.tls cimport take_sealed
from pgmux.relay.volley cimport SHOT_BYTES, Shot, Volley


cdef class Streams(Leasing):
    """The bytes of this worker's sockets."""

    def __cinit__(self):
        self.buffer = <char *>malloc(CARRY_BYTES + CHUNK_BYTES)
        if self.buffer == NULL:
            raise MemoryError()
        self.ready = []
        self.volley = Volley()

    def __dealloc__(self):
        free(self.buffer)
        clear(&self.requests)
        clear(&self.replies)

    cdef Py_ssize_t read_sealed(self, Endpoint endpoint) noexcept:
        """`read` under TLS. What TLS itself has to say, a part of the handshake or an alert, is sent."""
        cdef bint has_more = True
        cdef Py_ssize_t size = endpoint.tls.receive(endpoint.fd, self.buffer + CARRY_BYTES, CHUNK_BYTES, &has_more)
        if not has_more and not endpoint.hung_up:
            endpoint.readable = False
        self.send_sealed(endpoint)
        return size

    cdef int send_sealed(self, Endpoint endpoint) except -1:
        """Send the ciphertext that TLS has made, behind all that was sent before."""
        cdef const char *data
        cdef size_t size = take_sealed(&data)
        return self.post(endpoint, data, size) if size else 0

    cdef int hang_up(self, Client client) except -1:
        """We have said our last word, and it has gone. The client's own are still read."""
        if client.tls is not None:
            self.fire()                          # what is said below goes past the volley
            client.tls.part(client.fd, NULL, 0)
        shutdown(client.fd, SHUT_WR)
        return 0

    cdef inline int send_to_client(self, Client client, const char *data, size_t size) except -1:
        if client.tls is None:
            return self.post(client, data, size)
        if client.tls.seal(data, size):          # else in the middle of a handshake, where nothing can be said
            self.send_sealed(client)
        return 0

    cdef inline int send_to_backend(self, Backend backend, const char *data, size_t size) except -1:
        if backend is None or backend.broken:
            return 0
        if backend.client is not None:
            self.counters[backend.pool].bytes_received += size
        if backend.recorded is not None:
            self.record(backend, data, size)
        if backend.tls is None:
            return self.post(backend, data, size)
        if backend.tls.seal(data, size):
            return self.send_sealed(backend)
        backend.broken = backend.readable = backend.hung_up = True
        self.queue(backend)
        return 0

    cdef int record(self, Backend backend, const char *data, size_t size) except -1:
        """Keep what is sent, should it have to be sent again. Retrying's."""
        raise NotImplementedError

    cdef int post_apart(self, Endpoint endpoint, const char *data, size_t size) except -1:
        """Send what the volley has not taken: it may be long, or the volley full, or something else in front of it."""
        cdef Py_ssize_t sent
        cdef bint was_full = self.is_collecting and size <= SHOT_BYTES and not length(&endpoint.out)
        if was_full or self.volley.holds(endpoint):
            self.fire()
        if was_full and not length(&endpoint.out) and self.volley.take(endpoint, data, size):
            return 0
        if length(&endpoint.out):
            return append(&endpoint.out, data, size)
        sent = send(endpoint.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        return self.take_outcome(endpoint, data, size, sent if sent >= 0 else -errno)

    cdef int take_outcome(self, Endpoint endpoint, const char *data, size_t size, Py_ssize_t outcome) except -1:
        """What became of a send: the bytes that its socket took, or -errno. Keeps the rest."""
        if outcome == -EINTR:                    # the socket may take it: no edge would tell us
            outcome = send(endpoint.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            outcome = outcome if outcome >= 0 else -errno
        if outcome >= 0 or outcome == -EAGAIN:
            outcome = max(outcome, 0)
            return self.keep(endpoint, data + outcome, size - outcome) if <size_t>outcome < size else 0
        endpoint.readable = endpoint.hung_up = True      # its end will be read; until then there is nobody
        if isinstance(endpoint, Backend):
            # It may have said why it went: read that first, and from the ready list,
            # since the shared buffer may be in use here.
            (<Backend>endpoint).broken = True
            self.queue(endpoint)
        return 0

    cdef int keep(self, Endpoint endpoint, const char *data, size_t size) except -1:
        """Keep what a socket did not take, until it has room."""
        cdef Client client
        append(&endpoint.out, data, size)
        if isinstance(endpoint, Client):
            client = <Client>endpoint
            if not client.wants_room:
                client.wants_room = True
                self.watch_otherwise(client.fd, CLIENT, client.record, client.serial, EDGES)
        return 0

    cdef int fire(self) except -1:
        """Make the sends of this batch. Afterwards `out` holds what was not taken, and a lease may be given up."""
        cdef uint32_t at, count = self.volley.fire() if self.volley.count else 0
        cdef Shot *shot
        for at in range(count if self.volley.is_short else 0):
            shot = &self.volley.shots[at]
            if shot.outcome != <int32_t>shot.size:
                self.take_outcome(<Endpoint>shot.endpoint, self.volley.data + shot.start, shot.size, shot.outcome)
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
