from libc.stdint cimport uint8_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.streams cimport Streams


cdef enum Step:                  # what becomes of a client's message
    PASS = 0                     # it goes to the backend
    DROP = 1                     # it goes nowhere
    WAIT = 2                     # it is held until there is a backend
    STOP = 3                     # the client is gone or going

cdef class Exchange(Streams):
    cdef int serve_client(self, Client client) except -1
    cdef int serve_backend(self, Backend backend) except -1
    cdef int take_requests(self, Client client, const char *data, size_t size) except -1
    cdef int take_replies(self, Backend backend, const char *data, size_t size) except -1
    cdef Step judge(self, Client client, uint8_t request) except? STOP
    cdef int heed(self, Backend backend, uint8_t reply, uint8_t status) except -1
    cdef int settle_if_due(self, Backend backend) except -1
    cdef int refuse(self, Client client, bytes error) except -1
    cdef int dismiss(self, Client client, bytes last_words) except -1
    cdef int terminate(self, Client client) except -1
    cdef int see_out(self, Client client) except -1
    cdef int vanish(self, Client client, bint politely) except -1
    cdef int orphan(self, Backend backend, bint midway, bint politely) except -1
    cdef int ask_cancel(self, Backend backend) except -1
    cdef int send_rollback(self, Backend backend) except -1
    cdef int send_sync(self, Backend backend) except -1
    cdef int send_copy_fail(self, Backend backend) except -1
    cdef int lose(self, Backend backend, bint is_gone) except -1
