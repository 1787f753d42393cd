from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.retrying cimport Retrying


cdef enum OwnNote:               # further notes, of requests that are all ours: (OwnNote, client, None, what)
    CAUGHT_UP = 16               # the settings are the client's now: SessionSettings, or None before the last text
    ASKED = 17                   # what the transaction has left: the names whose change may be a return
    UNDONE = 18                  # what the client began against its pool mode is rolled back
    DEFERRED = 20                # the client's BEGIN, which it believes done
    CLEANED = 19                 # nothing is left of a client that has gone: Cleaned, or 0 before the last text
    AUDITED = 21                 # what a client has left without a word of it: the client
    RESTORED = 22                # settings of the client's start-up that it has reset are what they were at its start

cdef enum Finished:              # what else is to be gone on from when a chunk has been dealt with, beside OwnNotes
    WITHHELD = 32                # the client's last ReadyForQuery was kept back: ask first
    OVERSTEPPED = 33             # a transaction is open that the pool mode does not allow
    REFUSED = 34                 # PostgreSQL does not accept the client's settings
    STALE = 35                   # what was asked has met a statement that is out of date, and is to be asked again

cdef class Asking(Retrying):
    cdef public object own_settings      # frozenset of names (a.b) that functions set

    cdef int put_query(self, Backend backend, bytes text) except -1
    cdef int pin(self, Client client, Backend backend, object found) except -1
    cdef int hear_channels(self, Client client, Backend backend, object heard) except -1
    cdef int ask(self, Client client, Backend backend) except -1
    cdef int hear(self, Client client, Backend backend, object resets) except -1
    cdef int keep_notification(self, Client client, bytes message) except -1
    cdef int sound(self, Client client, Backend backend) except -1
    cdef int conclude(self, Client client, Backend backend) except -1
    cdef int proceed(self, Client client) except -1
    cdef int forget_traces(self, Backend backend) except -1
    cdef int send_ready(self, Client client, uint8_t status) except -1
    cdef int settle_if_due(self, Backend backend) except -1
    cdef int lose(self, Backend backend, bint is_gone) except -1
    cdef object take_answer(self, Backend backend)
    cdef bint may_pin(self, Client client, Backend backend) except -1
    cdef uint32_t count_pinned(self, Backend backend) except? 0xFFFF
    cdef int tell(self, Client client, bytes words) except -1
