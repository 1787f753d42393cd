from libc.stdint cimport uint16_t, uint64_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.streams cimport Streams
from pgmux.session.statements cimport Statement


cdef enum Note:                  # what hangs on a NOTED request; notes are (Note, client, name, Statement)
    NAMED = 0                    # a Parse of the client's, which was sent: its name, and the statement on the backend
    SHARED = 1                   # a Parse of the client's, which was not sent: its name
    CLOSED = 2                   # a Close of the client's, which was not sent: its name was free since
    INJECTED = 3                 # a statement that we prepare in between
    EVICTED = 4                  # a statement that we close for want of room
    MENTIONED = 5                # a text that changes names: its name is (text sent, altered), see `take_back`
    DESCRIBED = 6                # a Describe of the client's: its name; for the unnamed statement, its token
    EXAMINED = 7                 # a Describe of ours: no name, and Statement or, for the unnamed statement, the client
    OUTDATED = 8                 # a Bind that is to fail, since the client knows other columns
    FORGOTTEN = 9                # DISCARD SEQUENCES of ours, see Recalling

cdef class Preparing(Streams):
    cdef bint is_prepared(self, Backend backend, Statement statement) except -1
    cdef bint is_unsettled(self, Backend backend, Statement statement) except -1
    cdef bint may_be_aborted(self, Backend backend) noexcept
    cdef int ensure(self, Backend backend, Statement statement) except -1
    cdef int rely_on(self, Backend backend, Statement statement) except -1
    cdef int prepare_anew(self, Backend backend, Statement statement) except -1
    cdef int inject(self, Backend backend, Statement statement) except -1
    cdef bint put_execution(self, Backend backend, bytes sql) except -1
    cdef int make_room(self, Backend backend) except -1
    cdef int close_statement(self, Backend backend, uint64_t high, uint64_t low, bytes name) except -1
    cdef int ensure_unnamed(self, Client client, Backend backend) except -1
    cdef int borrow_name(self, Backend backend, bytes name) except -1
    cdef int lend(self, Backend backend, bytes name) except -1
    cdef int return_names(self, Backend backend) except -1
    cdef int put_sync(self, Backend backend) except -1
    cdef int put_parse(self, Backend backend, bytes name, bytes body, uint16_t request) except -1
    cdef int put_close(self, Backend backend, bytes name, uint16_t request) except -1
