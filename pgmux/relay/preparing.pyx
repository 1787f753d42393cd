# cython: boundscheck=False, wraparound=False
"""What a backend must have prepared when it comes to the next request, and how it comes to have it.

What is prepared is believed only when ParseComplete has come: until then it is `inflight`, and good
for the same segment (up to the Sync), for within it both succeed or neither is executed. A segment
later it is prepared anew. Whatever is prepared is closed first, which is no error where there is
nothing to close: so a statement that is there without our knowing does no harm, and only what
is believed to be there and is not would. Therefore the baggage follows the replies, in their
order: ParseComplete adds, CloseComplete takes away.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport NOTED, OURS, expect, has_turns
from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.session.statements cimport Statement
from pgmux.shm.baggage cimport StatementId

from pgmux.session.statements import PREFIX as _PREFIX

cdef bytes PREFIX = _PREFIX
cdef bytes NOTHING = b"\0\0\0"   # the body of a Parse of an empty text without types


cdef class Preparing(Streams):
    """The statements of backends, prepared and closed in between."""

    cdef bint is_prepared(self, Backend backend, Statement statement) except -1:
        """Whether the statement can be relied upon where the next request of this segment is executed."""
        if backend.inflight:
            change = backend.inflight.get(statement.name)
            if change is not None and (change[0] == backend.segment or has_turns(&backend.replies)):
                return change == (backend.segment, True)
        return not backend.distrusted and self.pools.baggage.has(
            backend.slot, StatementId(statement.high, statement.low), statement.defined)

    cdef bint is_unsettled(self, Backend backend, Statement statement) except -1:
        """Whether a statement is prepared or closed in a segment that is not answered yet."""
        if not backend.inflight:
            return False
        change = backend.inflight.get(statement.name)
        return change is not None and change[0] != backend.segment and has_turns(&backend.replies)

    cdef bint may_be_aborted(self, Backend backend) noexcept:
        """Whether what comes next may be executed in a transaction that has failed."""
        return backend.status == c"E" or has_turns(&backend.replies)

    cdef int ensure(self, Backend backend, Statement statement) except -1:
        """See to it that the backend has the statement when it comes to what is put next."""
        if self.is_prepared(backend, statement):
            return 0
        self.make_room(backend)
        return self.prepare_anew(backend, statement)

    cdef int prepare_anew(self, Backend backend, Statement statement) except -1:
        self.close_statement(backend, statement.high, statement.low, statement.name)
        return self.inject(backend, statement)

    cdef int rely_on(self, Backend backend, Statement statement) except -1:
        """See to it that the backend has the statement that the request at hand names. If it has it already, the
        statement may be out of date there: then the request is asked again."""
        if not self.is_prepared(backend, statement):
            return self.ensure(backend, statement)
        if backend.is_first and not backend.poised:
            backend.recorded = statement
            backend.record.start = backend.record.end = 0
            backend.unrecorded = length(&self.requests)
        return 0

    cdef int inject(self, Backend backend, Statement statement) except -1:
        cdef bint is_owed
        if not statement.sql:
            is_owed = self.put_parse(backend, statement.name, statement.body, c"P" | OURS | NOTED)
        else:
            is_owed = self.put_execution(backend, statement.sql)
        self.counters[backend.pool].injections += 1
        if is_owed:
            backend.inflight[statement.name] = (backend.segment, True)
            backend.notes.append((INJECTED, None, None, statement))
        return 0

    cdef bint put_execution(self, Backend backend, bytes sql) except -1:
        """Have a text executed within the segment, by a statement and a portal of our own. Whether it is owed."""
        cdef bytes names = PREFIX + b"\0"
        cdef bint is_owed
        self.put_close(backend, PREFIX, c"C" | OURS)
        self.put_parse(backend, PREFIX, sql + NOTHING, c"P" | OURS)
        self.put_header(c"B", 2 * len(names) + 6)
        self.put_request(names + names + b"\0\0\0\0\0\0", 2 * len(names) + 6)
        expect(&backend.replies, c"B" | OURS)
        self.put_header(c"E", len(names) + 4)
        self.put_request(names + b"\0\0\0\0", len(names) + 4)
        is_owed = expect(&backend.replies, c"E" | OURS | NOTED)
        self.put_header(c"C", len(names) + 1)
        self.put_request(b"P" + names, len(names) + 1)
        expect(&backend.replies, c"C" | OURS)
        return is_owed

    cdef int make_room(self, Backend backend) except -1:
        """Close what was not used for longest, if one more would be too many."""
        cdef StatementId oldest
        coming = [name for name, (_, is_there) in backend.inflight.items() if is_there]
        if self.pools.baggage.slots[backend.slot].prepared_count + <uint32_t>len(coming) < self.pools.baggage.limit:
            return 0
        if self.pools.baggage.oldest(backend.slot, &oldest):
            name = PREFIX + b"%016x%016x" % (oldest.high, oldest.low)
            return self.close_statement(backend, oldest.high, oldest.low, name)
        if coming:
            digest = int(coming[0][len(PREFIX):], 16)
            return self.close_statement(backend, digest >> 64, digest & 0xFFFFFFFFFFFFFFFF, coming[0])
        return 0

    cdef int close_statement(self, Backend backend, uint64_t high, uint64_t low, bytes name) except -1:
        """Close a statement of ours, whether it is there or not."""
        defined = self.pools.baggage.defined(backend.slot, StatementId(high, low))
        was_there = self.pools.baggage.remove(backend.slot, StatementId(high, low))
        backend.inflight[name] = (backend.segment, False)
        if self.put_close(backend, name, c"C" | OURS | NOTED):
            backend.notes.append((EVICTED, None, name, (high, low, was_there, defined)))
        return 0

    cdef int ensure_unnamed(self, Client client, Backend backend) except -1:
        """The backend's unnamed statement is another's, or gone: give it the client's, or, if it has none, none."""
        if not client.unnamed_token:
            self.put_close(backend, b"", c"C" | OURS)
        else:
            self.put_header(c"P", 1 + length(&client.unnamed))
            self.put_request(b"", 1)
            self.put_request(client.unnamed.data + client.unnamed.start, length(&client.unnamed))
            expect(&backend.replies, c"P" | OURS)
            self.counters[backend.pool].server_parses += 1
        self.pools.baggage.slots[backend.slot].unnamed = client.unnamed_token
        return 0

    cdef int borrow_name(self, Backend backend, bytes name) except -1:
        """Have the name taken on the backend, for an error that only PostgreSQL can give. `return_names` frees it."""
        self.put_parse(backend, name, NOTHING, c"P" | OURS)
        return self.lend(backend, name)

    cdef int lend(self, Backend backend, bytes name) except -1:
        if backend.borrowed is None:
            backend.borrowed = []
        backend.borrowed.append(name)
        return 0

    cdef int return_names(self, Backend backend) except -1:
        """Before the next segment, or at rest: close the names that were borrowed."""
        borrowed, backend.borrowed = backend.borrowed, None
        for name in borrowed:
            if name.startswith(PREFIX):
                digest = int(name[len(PREFIX):], 16)
                self.close_statement(backend, digest >> 64, digest & 0xFFFFFFFFFFFFFFFF, name)
            else:
                self.put_close(backend, name, c"C" | OURS)
        self.put_sync(backend)
        backend.segment += 1
        return 0

    cdef int put_sync(self, Backend backend) except -1:
        self.put_header(c"S", 0)
        backend.unsynced = False
        return expect(&backend.replies, c"S" | OURS)

    cdef int put_parse(self, Backend backend, bytes name, bytes body, uint16_t request) except -1:
        self.put_header(c"P", len(name) + 1 + len(body))
        self.put_request(name, len(name) + 1)
        self.put_request(body, len(body))
        self.counters[backend.pool].server_parses += 1
        backend.unsynced = True
        return expect(&backend.replies, request)

    cdef int put_close(self, Backend backend, bytes name, uint16_t request) except -1:
        self.put_header(c"C", len(name) + 2)
        self.put_request(b"S", 1)
        self.put_request(name, len(name) + 1)
        backend.unsynced = True
        return expect(&backend.replies, request)
