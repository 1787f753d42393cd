# cython: boundscheck=False, wraparound=False
"""A prepared statement that is out of date: "cached plan must not change result type".

PostgreSQL gives this error for a statement whose result has other columns than when it was prepared. A client
that prepares its own never meets what was prepared before a table was changed; one that shares backends would. So
the first request of a transaction that names a statement is recorded, and when it fails in this way, its client
hears nothing of that: the statement is prepared anew and the same bytes are sent again, once.

That is done only if nothing had been executed and nothing else was sent, and only if the request asks for the
columns (Describe), or the client would read the new rows by the old description: it is to have the error then,
as from PostgreSQL. In any case all that is prepared on any backend is prepared anew from here on, so that each
change of a table is met once.
"""
from libc.stdint cimport uint8_t, uint32_t

from pgmux.protocol.replies cimport expect
from pgmux.relay.buffer cimport append, length
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.sockets cimport big_endian
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement

cdef enum:
    HEADER = 5
    LONGEST_RECORD = 16384       # bytes; more is not kept, and not asked again


cdef class Retrying(Naming):
    """What is asked twice, so that the client need not."""

    cdef int record(self, Backend backend, const char *data, size_t size) except -1:
        if length(&backend.record) + size > LONGEST_RECORD:
            backend.recorded = None
            return 0
        append(&backend.record, data + backend.unrecorded, size - backend.unrecorded)
        backend.unrecorded = 0
        return 0

    cdef bint can_retry(self, Backend backend) noexcept:
        """Whether what was recorded is one whole segment that asks for its columns, and nothing was sent after it.

        It has one Bind at most, so the error is that of the first request: nothing of it was executed, and no
        reply of it has come. What is owed is the ReadyForQuery for its Sync.
        """
        cdef const char *data = backend.record.data
        cdef size_t at = 0, size = length(&backend.record)
        cdef uint32_t binds = 0, descriptions = 0
        cdef uint8_t request = 0
        if backend.recorded is None or backend.client is None or backend.replies.count != 1:
            return False
        while at + HEADER <= size and request != c"S":
            request = data[at]
            binds += request == c"B"
            descriptions += request == c"D"
            if request != c"B" and request != c"D" and request != c"E" and request != c"H" and request != c"S":
                return False
            at += <size_t>big_endian(<const uint8_t *>data + at + 1) + 1
        return at == size and request == c"S" and binds <= 1 and descriptions > 0

    cdef int retry(self, Client client, Backend backend) except -1:
        """Its segment has failed and is over: prepare the statement anew, and ask the same again."""
        cdef Chunk nothing
        cdef const char *data = backend.record.data
        cdef size_t at = 0, size = length(&backend.record)
        cdef Statement statement = backend.recorded
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        backend.recorded = None
        backend.at_rest = False
        self.pools.baggage.refresh(backend.slot)
        self.ensure(backend, statement)
        while at < size:
            expect(&backend.replies, <uint8_t>data[at])
            at += <size_t>big_endian(<const uint8_t *>data + at + 1) + 1
        self.put_request(data, size)
        backend.segment += 1
        backend.unsynced = False
        return self.post_requests(backend, &nothing)
