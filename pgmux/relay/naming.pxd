from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.streams cimport Chunk, Streams
from pgmux.session.statements cimport Library, Statement


cdef enum Step:                  # what becomes of a client's message
    PASS = 0                     # it goes to the backend
    DROP = 1                     # it goes nowhere
    WAIT = 2                     # it is held until there is a backend
    STOP = 3                     # the client is gone or going
    TAKEN = 4                    # it has been dealt with: the chunk stands behind it, or behind what was written anew
    MORE = 5                     # it must be read to its end first (client.wanted bytes)

cdef enum Note:                  # what hangs on a NOTED request; notes are (Note, client, name, Statement)
    NAMED = 0                    # a Parse of the client's, which was sent: its name, and the statement on the backend
    SHARED = 1                   # a Parse of the client's, which was not sent: its name
    CLOSED = 2                   # a Close of the client's, which was not sent: its name was free since
    INJECTED = 3                 # a statement that we prepare in between
    EVICTED = 4                  # a statement that we close for want of room
    MENTIONED = 5                # a text that changes names: its name is (text sent, altered), see `take_back`

cdef class Naming(Streams):
    cdef Library library
    cdef uint64_t tokens         # the last one given out: a moment in 1/256 microseconds, and this worker's number
    cdef list mentioned          # by the text at hand, see MENTIONED
    cdef list altered            # names in it: (place in bytes, bytes of the client's, bytes of ours)

    cdef Step study_parse(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef bytes meaning_of(self, Client client)
    cdef Step parse_unnamed(self, Client client, Backend backend, Chunk *chunk, uint32_t total, const char *text,
                            size_t body_size, bytes body, uint32_t traces, object study) except? STOP
    cdef Step study_bind(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_describe(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef Step study_close(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP
    cdef bytes name_in_text(self, Client client, Backend backend, object mention)
    cdef bytes rewrite_text(self, Client client, Backend backend, bytes text, object study)
    cdef int note_mentions(self, Client client, Backend backend, bytes text) except -1
    cdef Step note_aside(self, Client client, Backend backend) except? STOP
    cdef bint mend_error(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except -1
    cdef int forget_names(self, Client client, Backend backend, uint32_t place) except -1
    cdef int adopt_name(self, Client client, bytes name, Statement statement) except -1
    cdef int close_for_now(self, Backend backend, Statement statement) except -1
    cdef int lend(self, Backend backend, bytes name) except -1
    cdef bint put_execution(self, Backend backend, bytes sql) except -1
    cdef int close_statement(self, Backend backend, uint64_t high, uint64_t low, bytes name) except -1
    cdef bint is_unsettled(self, Backend backend, Statement statement) except -1
    cdef bint may_be_aborted(self, Backend backend) noexcept
    cdef bint is_wavering(self, Client client, Backend backend, bytes name) except -1
    cdef int waver(self, Backend backend, bytes name) except -1
    cdef bint is_prepared(self, Backend backend, Statement statement) except -1
    cdef int take_back(self, Backend backend, Client client, list mentioned, uint32_t done) except -1
    cdef int ensure(self, Backend backend, Statement statement) except -1
    cdef int rely_on(self, Backend backend, Statement statement) except -1
    cdef int inject(self, Backend backend, Statement statement) except -1
    cdef int make_room(self, Backend backend) except -1
    cdef int ensure_unnamed(self, Client client, Backend backend) except -1
    cdef int borrow_name(self, Backend backend, bytes name) except -1
    cdef int return_names(self, Backend backend) except -1
    cdef int put_sync(self, Backend backend) except -1
    cdef int put_parse(self, Backend backend, bytes name, bytes body, uint16_t request) except -1
    cdef int put_close(self, Backend backend, bytes name, uint16_t request) except -1
    cdef int keep_note(self, Backend backend) except -1
    cdef int lapse_notes(self, Backend backend, uint32_t count) except -1
    cdef void forget_unnamed(self, Client client, Backend backend) noexcept
    cdef int touch(self, Client client, Backend backend, uint32_t traces, object study) except -1
