from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.describing cimport Columns, OTHERS
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.noting cimport Noting
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement


cdef enum Step:                  # what becomes of a client's message
    PASS = 0                     # it goes to the backend
    DROP = 1                     # it goes nowhere
    WAIT = 2                     # it is held until there is a backend
    STOP = 3                     # the client is gone or going
    TAKEN = 4                    # it has been dealt with: the chunk stands behind it, or behind what was written anew
    MORE = 5                     # it must be read to its end first (client.wanted bytes)

cdef class Naming(Noting):
    cdef uint64_t tokens         # the last one given out: a moment in 1/256 microseconds, and this worker's number

    cdef Step study_parse(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step parse_unnamed(self, Client client, Backend backend, Chunk *chunk, uint32_t total, const char *text,
                            size_t body_size, bytes body, uint32_t traces, object study) except? STOP
    cdef Step study_bind(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Columns ensure_bound(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? OTHERS
    cdef int note_portal(self, Client client, Backend backend, const char *body, uint32_t size) except -1
    cdef Step study_describe(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_close(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef bytes name_in_text(self, Client client, Backend backend, object mention)
    cdef bytes rewrite_text(self, Client client, Backend backend, bytes text, object study)
    cdef Step note_aside(self, Client client, Backend backend) except? STOP
    cdef int forget_names(self, Client client, Backend backend, uint32_t place) except -1
    cdef int close_for_now(self, Backend backend, Statement statement) except -1
    cdef bint is_wavering(self, Client client, Backend backend, bytes name) except -1
    cdef int waver(self, Backend backend, bytes name) except -1
    cdef void forget_unnamed(self, Client client, Backend backend) noexcept
    cdef int touch(self, Client client, Backend backend, uint32_t traces, object study) except -1
    cdef int expect_recall(self, Client client, Backend backend) except -1
    cdef int recall(self, Client client, Backend backend, Chunk *chunk, uint32_t traces) except -1
