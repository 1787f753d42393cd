from libc.stdint cimport uint32_t

from pgmux.relay.describing cimport Describing
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement


cdef class Noting(Describing):
    cdef list mentioned          # by the text at hand, see MENTIONED
    cdef list altered            # names in it: (place in bytes, bytes of the client's, bytes of ours)

    cdef int note_mentions(self, Client client, Backend backend, bytes text) except -1
    cdef bint mend_error(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except -1
    cdef int adopt_name(self, Client client, bytes name, Statement statement) except -1
    cdef int take_back(self, Backend backend, Client client, list mentioned, uint32_t done) except -1
    cdef int keep_note(self, Backend backend) except -1
    cdef int lapse_notes(self, Backend backend, uint32_t count) except -1
