# cython: boundscheck=False, wraparound=False
"""How a backend is brought to the settings of its next client.

What it takes goes in front of the client's first request and in the same segment of bytes: as Queries of our own, each
with a ReadyForQuery; settings that PostgreSQL has not accepted before are waited for, since what came after them
would otherwise be executed without them.

Each ReadyForQuery is a send of PostgreSQL's and wakes us, which costs more than the settings. So few and harmless
settings *ride* in front of a SELECT: an Execute of a prepared statement sets them, and the SELECT follows by Parse, Bind,
Describe and Execute in the same transaction, up to one Sync. The client hears of it what it would of its Query.

- Is the SELECT undone, so are the settings, and the backend has again what it had.
- Does what is ours fail, PostgreSQL skips the SELECT. The client hears why, as of a cancel that came early; but that
  somebody has deallocated our statement is none of its business: then it is asked again, behind Queries of our own.
- The CommandComplete is kept until the ReadyForQuery has come: a Query whose COMMIT fails has none.
- A Query behind an Execute without a Sync, which would be simpler, leaves the transaction open (as of PostgreSQL 18.4).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from pgmux.protocol.replies cimport OURS, expect
from pgmux.relay.asking cimport CAUGHT_UP
from pgmux.relay.buffer cimport append, length
from pgmux.relay.endpoint cimport Backend, CATCHING_UP, Client, RETRYING
from pgmux.relay.naming cimport PASS, STOP, Step, TAKEN, WAIT
from pgmux.relay.streams cimport Chunk
from pgmux.session.modes cimport SESSION
from pgmux.session.statements cimport Statement
from pgmux.shm.layout cimport UNKNOWN_SETTINGS

from pgmux.session.settings import carriage, catch_up, ride

cdef extern from "string.h" nogil:
    char *strcasestr(const char *haystack, const char *needle)
    void *memmem(const void *haystack, size_t size, const void *needle, size_t needle_size)

cdef extern from "strings.h" nogil:
    int strcasecmp(const char *one, const char *other)
    int strncasecmp(const char *one, const char *other, size_t size)

cdef enum:
    HEADER = 5
    VERB = 6                     # letters of SELECT
    LONGEST_RIDER = 16384        # bytes of a Query: it is kept, should it have to be asked again

cdef bytes NO_STATEMENT = b"\0C26000"      # field of an ErrorResponse: the statement is not there
cdef bytes EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"      # of the unnamed portal, all rows
# The unnamed statement: bound without values to the unnamed portal, that described and executed to its end.
cdef bytes RUN = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0D\0\0\0\6P\0" + EXECUTE + b"S\0\0\0\4"


cdef inline bint is_lone_select(const char *text, size_t size) noexcept nogil:
    """Whether a text is one SELECT, without parameters: then the extended protocol gives the same of it. `size`: of
    the text, without the zero behind it. (Of a Query no portal is told in pg_cursors, of a Bind one is.)"""
    if size <= VERB or strncasecmp(text, "select", VERB):
        return False
    if memchr(text, c";", size - 1) != NULL or memchr(text, c"$", size) != NULL:
        return False
    return memchr(text, 0, size + 1) == text + size and strcasestr(text, "pg_cursor") == NULL


cdef class CatchingUp(Resetting):
    """Settings that go in front of a client's first request: in Queries of their own, or in its transaction."""

    def __cinit__(self):
        self.carriages = {}

    cdef Step begin_catch_up(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """The backend has other settings than the client. WAIT when its request must wait for them, TAKEN when it
        went with them."""
        self.counters[backend.pool].catch_ups += 1
        if self.may_ride(client, backend, chunk, total):
            backend.riding = ride(self.pools.baggage.settings(backend.slot), client.settings.raw)
            if backend.riding is not None:
                return self.put_ride(client, backend, chunk, total)
        if self.put_settings(client, backend) and not client.settings.is_proven:
            backend.errand = CATCHING_UP
            return WAIT
        return PASS

    cdef bint put_settings(self, Client client, Backend backend) except -1:
        """Put Queries of our own that set what the client has. Whether there is anything to set."""
        cdef tuple texts = catch_up(self.pools.baggage.settings(backend.slot), client.settings.raw)
        cdef Py_ssize_t left = len(texts)
        for text in texts:
            left -= 1
            self.put_query(backend, text)
            backend.notes.append((CAUGHT_UP, client, None, None if left else client.settings))
        self.pools.baggage.set_settings(backend.slot, client.settings.raw, client.digest)
        return len(texts) > 0

    # --- settings that ride

    cdef bint may_ride(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except -1:
        """Whether the message at hand is a SELECT in a transaction of its own, that tells nothing of its session."""
        if chunk.data[chunk.at] != c"Q" or chunk.traces or total > LONGEST_RIDER or chunk.size - chunk.at < total:
            return False
        if client.mode == SESSION or client.deferred is not None or client.unsure is not None or client.pins:
            return False
        if backend.traces or backend.replies.count or backend.borrowed is not None:
            return False
        if not client.settings.is_proven or self.pools.baggage.slots[backend.slot].settings_bytes == UNKNOWN_SETTINGS:
            return False
        return total > HEADER and is_lone_select(chunk.data + chunk.at + HEADER, total - HEADER - 1)

    cdef Step put_ride(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """Put the settings, and behind them the SELECT at hand, in one transaction."""
        cdef const char *message = chunk.data + chunk.at
        cdef bytes values = backend.riding.values
        cdef Statement statement = self.carriages.get(backend.riding.size)
        if statement is None:
            statement = self.carriages[backend.riding.size] = self.library.parsed(
                carriage(backend.riding.size), b"", 0, 0, None)
        self.forget_unnamed(client, backend)
        self.cut_requests(chunk, total)
        backend.record.start = backend.record.end = 0
        append(&backend.record, message, total)
        self.ensure(backend, statement)
        self.put_header(c"B", 2 + len(statement.name) + len(values))
        self.put_request(b"", 1)
        self.put_request(statement.name, len(statement.name) + 1)
        self.put_request(values, len(values))
        self.put_request(EXECUTE, len(EXECUTE))
        self.put_header(c"P", total - HEADER + 3)
        self.put_request(b"", 1)
        self.put_request(message + HEADER, total - HEADER)
        self.put_request(b"\0", 2)
        self.put_request(RUN, len(RUN))
        for owed in (c"B" | OURS, c"E" | OURS, c"P" | OURS, c"B" | OURS, c"D", c"E", c"S"):
            expect(&backend.replies, owed)
        self.pools.baggage.set_settings(backend.slot, client.settings.raw, client.digest)
        backend.request_at_us = self.now
        backend.at_rest = backend.returning = backend.unsynced = backend.is_spared = False
        backend.segment += 1
        return TAKEN

    cdef int put_tag(self, Backend backend, Chunk *chunk) except -1:
        """The SELECT's transaction is over and its ReadyForQuery at hand: it has been executed."""
        if backend.tag is not None:
            self.cut_replies(chunk, 0)
            append(&self.replies, backend.tag, len(backend.tag))
            backend.tag = None
        return 0

    cdef bint is_untold(self, Backend backend, const char *reply, uint32_t total) except -1:
        """Whether a reply while settings ride is not for the client, or not yet: that there are no columns, of which
        nothing is said to a Query; the CommandComplete; the ParameterStatus of what rides, for it knows its own."""
        cdef bytes each
        if reply[0] == c"C":
            backend.tag = reply[:total]
            return True
        if reply[0] == c"S":
            for each in <tuple>backend.riding.names:
                if strcasecmp(reply + HEADER, each) == 0:
                    return True
        return reply[0] == c"n"

    cdef bint end_ride(self, Backend backend, const char *error, size_t size) except -1:
        """An ErrorResponse while settings ride: their transaction is undone. Whether the client hears of it."""
        backend.tag = None
        self.pools.baggage.set_settings(backend.slot, backend.riding.have, backend.riding.have_digest)
        if backend.client is None or memmem(error, size, <const char *>NO_STATEMENT, len(NO_STATEMENT)) == NULL \
                or not backend.replies.answered & OURS:
            return True
        backend.errand = RETRYING
        backend.last_reply = 0
        return False

    cdef int ask_again(self, Client client, Backend backend) except -1:
        """The SELECT was skipped, for somebody has deallocated our statement: the same by Queries."""
        cdef Chunk nothing
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        backend.riding = None
        backend.at_rest = False
        self.pools.baggage.forget_statements(backend.slot)
        self.put_settings(client, backend)
        expect(&backend.replies, c"Q")
        self.put_request(backend.record.data + backend.record.start, length(&backend.record))
        backend.segment += 1
        return self.post_requests(backend, &nothing)
