from libc.stdint cimport uint8_t, uint32_t

from pgmux.protocol.replies cimport MISMATCH, Verdict
from pgmux.relay.carrying cimport Carrying
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.streams cimport Chunk


cdef class Exchange(Carrying):
    cdef int serve_client(self, Client client) except -1
    cdef int serve_backend(self, Backend backend) except -1
    cdef int take_requests(self, Client client, const char *data, size_t size) except -1
    cdef int take_replies(self, Backend backend, const char *data, size_t size) except -1
    cdef int take_stashed(self, Backend backend, const char *data, size_t size) except -1
    cdef int stop_at(self, Client client, Chunk *chunk, Step verdict) except -1
    cdef Step judge(self, Client client, Chunk *chunk, uint32_t total) except? STOP
    cdef bint replace(self, Client client, Backend backend) except -1
    cdef Step begin_request(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step read_on(self, Client client, Chunk *chunk, uint32_t total, uint8_t request) except? STOP
    cdef uint8_t status_of(self, Client client) noexcept
    cdef bint is_understood(self, Backend backend, Chunk *chunk) except -1
    cdef Verdict heed(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH
    cdef Verdict heed_ready(self, Backend backend, uint8_t status, Verdict verdict) except? MISMATCH
    cdef bint heed_error(self, Backend backend, Chunk *chunk, uint32_t total, Verdict verdict) except -1
    cdef Verdict heed_aside(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH
    cdef Verdict tell_spelling(self, Client client, const char *body, size_t size) except? MISMATCH
    cdef int put_fakes(self, Backend backend, Chunk *chunk) except -1
    cdef int fake_replies(self, Client client, Backend backend) except -1
    cdef int keep_backend(self, Client client, Backend backend) except -1
    cdef int close_borrowed(self, Backend backend) except -1
    cdef int refuse(self, Client client, bytes error) except -1
    cdef int terminate(self, Client client) except -1
    cdef int see_out(self, Client client) except -1
    cdef int vanish(self, Client client, bint politely) except -1
    cdef int orphan(self, Backend backend, bint midway, bint politely) except -1
    cdef int ask_cancel(self, Backend backend) except -1
    cdef int send_rollback(self, Backend backend) except -1
    cdef int send_sync(self, Backend backend) except -1
    cdef int end_private(self, Backend backend, bint midway, bint politely) except -1
    cdef int send_copy_fail(self, Backend backend) except -1
