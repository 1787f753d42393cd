# cython: boundscheck=False, wraparound=False
"""The columns that clients were told of their statements, and those that a backend would give.

A client that has been told a statement's columns reads the rows of every later execution by them. PostgreSQL
keeps that true: when a table has changed since, it gives "cached plan must not change result type". But a backend
that has not had the statement prepares it as the table is now, and would give the new rows. So a client's name
stands for a statement *and the columns it was told*, a backend's cell has the columns it gives there, and where
they are not known to be equal the backend prepares the statement and is asked for its columns, before anything
of the request is sent: a round trip, once a backend and statement, and only for who does not ask in the same breath.

Why no row is read by another description. The request is held until the columns have come; if they are others,
it goes to PostgreSQL with the name of no statement, which makes it fail at its place, with all that follows and
the transaction it is in, and the error is written anew. If they are the same and the table changes now, the
backend has the statement as it was, and PostgreSQL notices itself.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp

from pgmux.protocol.columns cimport NO_COLUMNS, digest_columns
from pgmux.protocol.replies cimport NOTED, OURS, expect
from pgmux.relay.endpoint cimport Backend, Client, EXAMINING
from pgmux.relay.preparing cimport DESCRIBED, EXAMINED
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement
from pgmux.shm.baggage cimport StatementId

cdef enum:
    HEADER = 5


cdef class Describing(Preparing):
    """Who knows which columns, and whether it is so still."""

    cdef Columns settle_columns(self, Client client, Backend backend, Statement statement, Chunk *chunk,
                                uint32_t total) except? OTHERS:
        """A Bind of which the client has been told columns, that may be others here. `statement` None: the unnamed."""
        cdef uint32_t told = client.unnamed_told if statement is None else statement.told
        if backend.status == c"E" or self.asks_for_columns(chunk, total):
            return AS_TOLD
        if backend.examined is (client if statement is None else statement):
            return AS_TOLD if backend.described == told else OTHERS
        self.cut_requests(chunk, 0)
        self.examine(client, backend, statement)
        return ASKED

    cdef bint asks_for_columns(self, Chunk *chunk, uint32_t total) noexcept:
        """Whether a Describe of its portal follows the Bind at hand, so that its client is told anew."""
        cdef const char *message = chunk.data + chunk.at
        cdef size_t left = chunk.size - chunk.at
        cdef const char *following = message + total
        cdef const char *name = message + HEADER
        cdef size_t portal_bytes
        if left < total + HEADER + 2:
            return False
        portal_bytes = <const char *>memchr(name, 0, total - HEADER) - name + 1
        return (left >= total + HEADER + 1 + portal_bytes and following[0] == c"D" and following[HEADER] == c"P"
                and not memcmp(following + HEADER + 1, name, portal_bytes))

    cdef int examine(self, Client client, Backend backend, Statement statement) except -1:
        """Prepare what is about to be bound, whatever is there, and ask for its columns; meanwhile the client waits.

        A Flush, for a Sync would commit what came before it.
        """
        cdef bytes name = b"" if statement is None else statement.name
        if statement is None:
            self.ensure_unnamed(client, backend)
        else:
            self.make_room(backend)
            self.prepare_anew(backend, statement)
        self.put_header(c"D", len(name) + 2)
        self.put_request(b"S", 1)
        self.put_request(name, len(name) + 1)
        if expect(&backend.replies, c"D" | OURS | NOTED):
            backend.notes.append((EXAMINED, client, None, client if statement is None else statement))
            backend.errand = EXAMINING
        self.put_header(c"H", 0)
        return 0

    cdef int note_description(self, Client client, Backend backend, bytes name, object what) except -1:
        """The client asks for columns: what it is told is kept."""
        if expect(&backend.replies, c"D" | NOTED):
            backend.notes.append((DESCRIBED, client, name, what))
        return 0

    cdef int hear_columns(self, Backend backend, const char *message, uint32_t total) except -1:
        """A RowDescription or NoData, read whole, that completes a NOTED Describe."""
        backend.described = NO_COLUMNS if message[0] == c"n" else digest_columns(message + HEADER, total - HEADER)
        return 0

    cdef int keep_columns(self, Backend backend, object client, bytes name, object what, bint is_ours) except -1:
        """They have come: of a statement, or of the unnamed one, which is known by its client or its token."""
        cdef Client asker = client
        cdef Statement statement
        cdef Statement known
        if isinstance(what, Statement):
            statement = what
            self.pools.baggage.describe(backend.slot, StatementId(statement.high, statement.low), backend.described)
            known = None if is_ours or asker.names is None else asker.names.get(name)
            if known is not None and known.name == statement.name:
                asker.names[name] = self.library.told_of(known, backend.described)
        elif not is_ours and asker.unnamed_token == what:
            asker.unnamed_told = backend.described
        if is_ours:
            backend.examined = what
            self.end_examination(backend, asker)
        return 0

    cdef int end_examination(self, Backend backend, Client client) except -1:
        """The columns have come, or an error has, which is the client's: it goes on."""
        if backend.client is client and backend.errand == EXAMINING:
            backend.finished = EXAMINED_COLUMNS
        return 0
