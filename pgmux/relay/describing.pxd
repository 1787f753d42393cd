from libc.stdint cimport uint32_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.preparing cimport Preparing
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Library, Statement


cdef enum Columns:               # of what is about to be bound
    AS_TOLD = 0                  # as the client knows them, or it knows none, or is about to be told
    OTHERS = 1                   # not as it knows them: it must not read them
    ASKED = 2                    # the backend is being asked

cdef enum:
    EXAMINED_COLUMNS = 36        # as of Finished: the columns have come that a Bind waits for

cdef class Describing(Preparing):
    cdef Library library

    cdef Columns settle_columns(self, Client client, Backend backend, Statement statement, Chunk *chunk,
                                uint32_t total) except? OTHERS
    cdef bint asks_for_columns(self, Chunk *chunk, uint32_t total) noexcept
    cdef int examine(self, Client client, Backend backend, Statement statement) except -1
    cdef int note_description(self, Client client, Backend backend, bytes name, object what) except -1
    cdef int hear_columns(self, Backend backend, const char *message, uint32_t total) except -1
    cdef int end_examination(self, Backend backend, Client client) except -1
    cdef int keep_columns(self, Backend backend, object client, bytes name, object what, bint is_ours) except -1
