from libc.stdint cimport uint8_t, uint32_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport STOP, Step
from pgmux.relay.retrying cimport Retrying
from pgmux.relay.streams cimport Chunk


cdef enum OwnNote:               # further notes, of requests that are all ours: (OwnNote, client, None, what)
    CAUGHT_UP = 16               # the settings are the client's now: SessionSettings, or None before the last text
    ASKED = 17                   # what the transaction has left: the names whose change may be a return
    UNDONE = 18                  # what the client began against its pool mode is rolled back
    DEFERRED = 20                # the client's BEGIN, which it believes done
    CLEANED = 19                 # nothing is left of a client that has gone; True when it was DISCARD ALL

cdef enum Finished:              # what else is to be gone on from when a chunk has been dealt with, beside OwnNotes
    WITHHELD = 32                # the client's last ReadyForQuery was kept back: ask first
    OVERSTEPPED = 33             # a transaction is open that the pool mode does not allow
    REFUSED = 34                 # PostgreSQL does not accept the client's settings
    STALE = 35                   # what was asked has met a statement that is out of date, and is to be asked again

cdef class Carrying(Retrying):
    cdef public bytes reset_query        # server_reset_query; empty = none
    cdef public bint defers_begin

    cdef bint open_lease(self, Client client, Backend backend) except -1
    cdef Step study_query(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step spare_backend(self, Client client, Chunk *chunk, uint32_t total) except? STOP
    cdef Step answer_alone(self, Client client, bytes text, object lone) except? STOP
    cdef Step begin_refused(self, Client client) except? STOP
    cdef int put_query(self, Backend backend, bytes text) except -1
    cdef uint32_t touch_settings(self, Client client, Backend backend, uint32_t lasting, object study) except? 0xFFFF
    cdef Step answer(self, Client client, str tag, uint8_t status) except? STOP
    cdef bint has_effect(self, Client client, object lone)
    cdef Step refuse_failed(self, Client client, uint8_t request) except? STOP
    cdef int pin(self, Client client, Backend backend, object found) except -1
    cdef int hear_channels(self, Client client, Backend backend, object heard) except -1
    cdef int ask(self, Client client, Backend backend) except -1
    cdef int hear(self, Client client, Backend backend, object resets) except -1
    cdef int conclude(self, Client client, Backend backend) except -1
    cdef int go_on(self, Client client) except -1
    cdef int forget_traces(self, Backend backend) except -1
    cdef int abandon(self, Client client, Backend backend) except -1
    cdef int clean(self, Backend backend) except -1
    cdef bint is_fatal(self, Backend backend)
    cdef int finish(self, Backend backend) except -1
    cdef int undo(self, Client client, Backend backend) except -1
    cdef int refuse_settings(self, Client client, Backend backend) except -1
    cdef int send_ready(self, Client client, uint8_t status) except -1
    cdef int settle_if_due(self, Backend backend) except -1
    cdef int lose(self, Backend backend, bint is_gone) except -1
    cdef int dismiss(self, Client client, bytes last_words) except -1
