from libc.stdint cimport uint32_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.recalling cimport Recalling
from pgmux.relay.streams cimport Chunk


cdef class Resetting(Recalling):
    cdef Step study_session(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_session_query(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_session_bind(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef int study_session_parse(self, Client client, Chunk *chunk, uint32_t total) except -1
    cdef Step study_execute(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef int put_reset(self, Client client, Backend backend, object study) except -1
    cdef tuple restore(self, Client client, Backend backend, uint32_t traces, object study)
    cdef int put_restored(self, Client client, Backend backend, tuple texts) except -1
