from libc.stdint cimport uint8_t, uint32_t

from pgmux.relay.catching_up cimport CatchingUp
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.streams cimport Chunk


cdef bytes UNSETTING             # takes away all settings, by whatever name, and nothing else

cdef class Carrying(CatchingUp):
    cdef public bytes reset_query        # server_reset_query; empty = none
    cdef public bint defers_begin

    cdef Step open_lease(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_query(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step spare_backend(self, Client client, Chunk *chunk, uint32_t total) except? STOP
    cdef Step answer_alone(self, Client client, bytes text, object lone) except? STOP
    cdef Step begin_refused(self, Client client) except? STOP
    cdef uint32_t touch_settings(self, Client client, Backend backend, uint32_t lasting, object study) except? 0xFFFF
    cdef Step answer(self, Client client, str tag, uint8_t status) except? STOP
    cdef bint has_effect(self, Client client, object lone)
    cdef Step refuse_failed(self, Client client, uint8_t request) except? STOP
    cdef int abandon(self, Client client, Backend backend) except -1
    cdef int clean(self, Backend backend) except -1
    cdef bint is_fatal(self, Backend backend, bint is_cancelled)
    cdef int finish(self, Backend backend) except -1
    cdef int undo(self, Client client, Backend backend) except -1
    cdef int refuse_settings(self, Client client, Backend backend) except -1
    cdef int dismiss(self, Client client, bytes last_words) except -1
