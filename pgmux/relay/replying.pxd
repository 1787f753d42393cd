from libc.stdint cimport uint8_t, uint32_t

from pgmux.protocol.replies cimport MISMATCH, Verdict
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.parting cimport Parting
from pgmux.relay.streams cimport Chunk


cdef class Replying(Parting):
    cdef int serve_backend(self, Backend backend) except -1
    cdef int take_replies(self, Backend backend, const char *data, size_t size) except -1
    cdef int take_stashed(self, Backend backend, const char *data, size_t size) except -1
    cdef bint is_understood(self, Backend backend, Chunk *chunk) except -1
    cdef Verdict heed(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH
    cdef Verdict heed_ready(self, Client client, Backend backend, uint8_t status, Verdict verdict) except? MISMATCH
    cdef bint heed_error(self, Backend backend, Chunk *chunk, uint32_t total, Verdict verdict) except -1
    cdef Verdict heed_aside(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH
    cdef Verdict tell_spelling(self, Client client, const char *body, size_t size) except? MISMATCH
    cdef int put_fakes(self, Backend backend, Chunk *chunk) except -1
    cdef int fake_replies(self, Client client, Backend backend) except -1
    cdef int choose_cleaning(self, Backend backend) except -1
    cdef int keep_backend(self, Client client, Backend backend) except -1
    cdef int close_borrowed(self, Backend backend) except -1
