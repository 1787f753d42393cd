# cython: boundscheck=False, wraparound=False
"""Notes: what hangs on requests that were sent, until it is known what became of them.

Kept when its request is answered, taken back when the request fails or is skipped after an error, latest first:
a request that is skipped was as if it had never come, and so is what it stood for.
"""
from libc.stdint cimport uint32_t

from pgmux.protocol.replies cimport NOTED
from pgmux.relay.buffer cimport append
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.preparing cimport (
    CLOSED, DESCRIBED, EVICTED, EXAMINED, FORGOTTEN, INJECTED, MENTIONED, NAMED, OUTDATED, SHARED,
)
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement
from pgmux.shm.baggage cimport SEVERAL, StatementId

from pgmux.session.complaints import mend, tell_outdated
from pgmux.session.statements import PREFIX as _PREFIX

cdef bytes PREFIX = _PREFIX


cdef class Noting(Describing):
    """What requests stood for, and what became of it."""

    def __cinit__(self):
        self.mentioned = []
        self.altered = []

    cdef int adopt_name(self, Client client, bytes name, Statement statement) except -1:
        if client.names is None:
            client.names = {}
        client.names[name] = statement
        return 0

    cdef int note_mentions(self, Client client, Backend backend, bytes text) except -1:
        """Behind a NOTED request whose text changes names: what to take back if it fails."""
        backend.notes.append((MENTIONED, client, (text, self.altered), self.mentioned))
        self.mentioned = []
        self.altered = []
        return 0

    cdef int keep_note(self, Backend backend) except -1:
        """The oldest noted request has been answered."""
        note, client, name, what = backend.notes.popleft()
        cdef Statement statement
        if note == NAMED or note == INJECTED:
            statement = what
            self.pools.baggage.add(backend.slot, StatementId(statement.high, statement.low), statement.defined)
        elif note == EVICTED:
            self.pools.baggage.remove(backend.slot, StatementId(what[0], what[1]))
        elif note == DESCRIBED or note == EXAMINED:
            self.keep_columns(backend, client, name, what, note == EXAMINED)
        elif note == MENTIONED:
            self.take_back(backend, client, what, backend.done if backend.query_failed else <uint32_t>-1)
        return 0

    cdef int lapse_notes(self, Backend backend, uint32_t count) except -1:
        """The oldest noted requests will never be answered: take back what they stood for, latest first."""
        lapsed = [backend.notes.popleft() for _ in range(count)]
        for note, client, name, what in reversed(lapsed):
            if note == MENTIONED:
                self.take_back(backend, client, what, 0)
                continue
            if note == EVICTED:
                if what[2]:
                    self.pools.baggage.add(backend.slot, StatementId(what[0], what[1]), what[3])
            elif note == NAMED or note == SHARED:
                names = (<Client>client).names
                if names is not None and names.get(name) is what:
                    names.pop(name)
            elif note == EXAMINED:
                self.end_examination(backend, client)
            elif note == CLOSED and what is not None:
                self.adopt_name(client, name, what)
            elif note == FORGOTTEN:
                self.pools.baggage.slots[backend.slot].recaller = SEVERAL
        return 0

    cdef int take_back(self, Backend backend, Client client, list mentioned, uint32_t done) except -1:
        """Of a text that was to change names so many statements have been executed: undo what the others stood for."""
        for name, statement, is_made, place in reversed(mentioned):
            if name is None:
                backend.distrusted = False
                if place < done:
                    self.pools.baggage.forget_statements(backend.slot)
            elif place < done:
                continue
            elif not is_made:
                self.adopt_name(client, name, statement)
            elif client.names is not None and client.names.get(name) is statement:
                client.names.pop(name)
        return 0

    cdef bint mend_error(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except -1:
        """An ErrorResponse that is the client's: where it names or counts what we have altered, write it anew."""
        cdef bytes error = chunk.data[chunk.at:chunk.at + total]
        cdef bytes mended
        altered = None
        if backend.notes and backend.replies.answered & NOTED:
            if backend.notes[0][0] == OUTDATED:
                mended = tell_outdated(error)
                self.cut_replies(chunk, 0)
                append(&self.replies, mended, len(mended))
                return True
            if backend.notes[0][0] == MENTIONED:
                altered = backend.notes[0][2]
        if altered is None and PREFIX not in error:
            return False
        mended = mend(error, client.names or {}, altered)
        if mended == error:
            return False
        self.cut_replies(chunk, 0)
        append(&self.replies, mended, len(mended))
        return True
