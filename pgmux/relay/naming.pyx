# cython: boundscheck=False, wraparound=False
"""Names of prepared statements on their way.

The client's own name becomes the statement's id, which is prepared first where the backend lacks it.

What a client's name means is decided when its Parse or Close comes, as if it had succeeded
already, since clients send ahead; a note is kept with the request, and when the request fails
or is skipped after an error, what was decided is taken back, latest first. What a backend has
prepared is believed only when ParseComplete has come: until then it is `inflight`, and good for
the same segment (up to the Sync), for within it both succeed or neither is executed. A segment
later it is prepared anew. Whatever is prepared is closed first, which is no error where there is
nothing to close: so a statement that is there without our knowing does no harm, and only what
is believed to be there and is not would. Therefore the baggage follows the replies, in their
order: ParseComplete adds, CloseComplete takes away.

A name that is taken or unknown is an error that PostgreSQL itself must give, exactly and at the
right moment: an unknown one is passed on as it is, and for a taken one the client's name is
borrowed: given to an empty statement in front of the Parse, and closed before the next segment.

Within a segment an error skips all that follows, so what is decided on the assumption of success
is taken back with it. Not so in the next segment: a message whose name was changed in a segment
that is not answered yet waits for the answer.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memchr

from pgmux.protocol.replies cimport FAKED, NOTED, OURS, expect, has_turns
from pgmux.relay.buffer cimport append, clear, length
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement
from pgmux.session.traces cimport BLOCK, FREEING, NOTIFYING, find_traces
from pgmux.shm.baggage cimport StatementId

from pgmux.session.complaints import mend
from pgmux.session.statements import PREFIX as _PREFIX
from pgmux.session.studies import Verb, study as study_text

cdef enum:
    HEADER = 5
    LONGEST_NAME = 63            # bytes: PostgreSQL cuts what is longer (NAMEDATALEN)
    NAME_BYTES = 64              # a first guess at how much of a Bind holds both its names

cdef bytes PREFIX = _PREFIX
cdef uint32_t TELLING = ~<uint32_t>(BLOCK | FREEING | NOTIFYING)    # traces for which a text is looked at more closely

cdef bytes NOTHING = b"\0\0\0"   # the body of a Parse of an empty text without types


cdef inline const char *_after_zero(const char *data, size_t size) noexcept nogil:
    """Behind the string at the beginning; NULL when it does not end in time."""
    cdef const char *end = <const char *>memchr(data, 0, size) if size else NULL
    return NULL if end == NULL else end + 1


cdef class Naming(Streams):
    """Parse, Bind, Describe and Close of clients whose backends change."""

    def __cinit__(self):
        self.mentioned = []
        self.altered = []

    cdef Step study_parse(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Parse, read whole: pass it on under the statement's id, or answer it ourselves."""
        cdef const char *name = chunk.data + chunk.at + HEADER
        cdef const char *text = _after_zero(name, total - HEADER)
        cdef const char *types = NULL if text == NULL else _after_zero(text, total - (text - (name - HEADER)))
        cdef const char *tail
        cdef size_t body_size
        cdef uint32_t traces
        cdef Statement statement
        cdef bytes own_name, body
        self.counters[backend.pool].parses += 1
        if types == NULL:
            expect(&backend.replies, c"P")
            return PASS                      # PostgreSQL says what is wrong with it
        own_name = name[:min(text - 1 - name, LONGEST_NAME)]
        if self.is_wavering(client, backend, own_name):
            return WAIT
        body_size = total - (text - (name - HEADER))
        traces = find_traces(text, types - 1 - text, client.backslashes)
        study = body = None
        if traces & TELLING:
            study = study_text(text[:types - 1 - text], traces)
            traces = study.traces
            if study.mentions:
                if has_turns(&backend.replies):
                    return WAIT
                self.cut_requests(chunk, 0)
                body = self.rewrite_text(client, backend, text[:types - 1 - text], study)
                tail = types - 1
                body += tail[:body_size - (tail - text)]
        if not own_name:
            return self.parse_unnamed(client, backend, chunk, total, text, body_size, body, traces, study)
        self.waver(backend, own_name)
        if client.names is not None and own_name in client.names:
            self.cut_requests(chunk, 0)
            self.borrow_name(backend, own_name)
            expect(&backend.replies, c"P")
            return PASS
        if body is None:
            body = text[:body_size]
        statement = self.library.parsed(body, self.meaning_of(client), traces, study)
        self.adopt_name(client, own_name, statement)
        self.cut_requests(chunk, total)
        if self.is_prepared(backend, statement) and not self.may_be_aborted(backend):
            if expect(&backend.replies, c"P" | FAKED | NOTED):
                backend.notes.append((SHARED, client, own_name, statement))
            backend.is_spared = backend.is_first
            return self.note_aside(client, backend)
        self.make_room(backend)
        self.close_statement(backend, statement.high, statement.low, statement.name)
        if self.put_parse(backend, statement.name, body, c"P" | NOTED):
            backend.inflight[statement.name] = (backend.segment, True)
            backend.notes.append((NAMED, client, own_name, statement))
        return self.note_aside(client, backend)

    cdef bytes meaning_of(self, Client client):
        """What gives a text its meaning at this moment: settings, and the tables as they are.

        After an ALTER or DROP a Parse is another statement than before, with an id of its own: who has the old one
        hears of the change as from PostgreSQL, and who prepares now is not given what was prepared before. A Parse
        that passes the ALTER on its way may still get the old one, as it may directly.
        """
        cdef uint64_t definitions = self.pools.baggage.definitions()
        return client.settings.meaning if not definitions else client.settings.meaning + b"%d" % definitions

    cdef Step parse_unnamed(self, Client client, Backend backend, Chunk *chunk, uint32_t total, const char *text,
                            size_t body_size, bytes body, uint32_t traces, study) except? STOP:
        """The unnamed statement goes as it is; a copy is kept, for a backend that has another's."""
        client.unnamed.start = client.unnamed.end = 0
        if body is None:
            append(&client.unnamed, text, body_size)
        else:
            append(&client.unnamed, body, len(body))
        self.tokens += 1 << 8
        client.unnamed_token = self.tokens
        client.unnamed_traces = traces
        client.unnamed_study = study
        self.pools.baggage.slots[backend.slot].unnamed = client.unnamed_token
        if traces:
            self.touch(client, backend, traces, study)
        if body is None:
            self.counters[backend.pool].server_parses += 1
            expect(&backend.replies, c"P")
            return PASS
        self.cut_requests(chunk, total)
        if self.put_parse(backend, b"", body, c"P" | NOTED):
            self.note_mentions(client, backend, body)
        return TAKEN

    cdef Step study_bind(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Bind, of which both names have come: name the statement by its id; its values go on as they come."""
        cdef const char *portal = chunk.data + chunk.at + HEADER
        cdef size_t available = min(total, chunk.size - chunk.at)
        cdef const char *name = _after_zero(portal, available - HEADER)
        cdef const char *rest = NULL if name == NULL else _after_zero(name, available - (name - (portal - HEADER)))
        cdef Statement statement
        cdef bytes own_name, portal_name
        cdef size_t head
        if rest == NULL:
            if available < total:
                client.wanted = min(total, 2 * available + NAME_BYTES)
                return MORE
            expect(&backend.replies, c"B")
            return PASS
        own_name = name[:min(rest - 1 - name, LONGEST_NAME)]
        if self.is_wavering(client, backend, own_name):
            return WAIT
        statement = None if client.names is None else client.names.get(own_name)
        if statement is not None and self.is_unsettled(backend, statement):
            return WAIT
        study = client.unnamed_study if not own_name else None if statement is None else statement.study
        backend.poised = study is not None and study.forgets_at >= 0
        if not own_name:
            if self.pools.baggage.slots[backend.slot].unnamed != client.unnamed_token or not client.unnamed_token:
                self.cut_requests(chunk, 0)
                self.ensure_unnamed(client, backend)
            if client.unnamed_traces:
                self.touch(client, backend, client.unnamed_traces, client.unnamed_study)
        if statement is None and not own_name.startswith(PREFIX):
            expect(&backend.replies, c"B")
            return PASS
        portal_name = portal[:name - 1 - portal]
        head = rest - (portal - HEADER)
        self.cut_requests(chunk, head)
        if statement is not None:
            self.rely_on(backend, statement)
            if statement.traces:
                self.touch(client, backend, statement.traces, statement.study)
        own_name = b"?" + own_name if statement is None else statement.name
        self.put_header(c"B", len(portal_name) + len(own_name) + 2 + total - head)
        self.put_request(portal_name, len(portal_name) + 1)
        self.put_request(own_name, len(own_name) + 1)
        client.remain = total - head
        expect(&backend.replies, c"B")
        return TAKEN

    cdef Step study_describe(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Describe, read whole."""
        cdef const char *message = chunk.data + chunk.at
        cdef bytes own_name
        cdef Statement statement
        if total < HEADER + 2 or message[HEADER] != c"S":
            expect(&backend.replies, c"D")
            return PASS
        own_name = (message + HEADER + 1)[:min(total - HEADER - 2, LONGEST_NAME)]
        if self.is_wavering(client, backend, own_name):
            return WAIT
        statement = None if client.names is None else client.names.get(own_name)
        if statement is not None and self.is_unsettled(backend, statement):
            return WAIT
        if not own_name:
            if self.pools.baggage.slots[backend.slot].unnamed != client.unnamed_token or not client.unnamed_token:
                self.cut_requests(chunk, 0)
                self.ensure_unnamed(client, backend)
        if statement is None and not own_name.startswith(PREFIX):
            expect(&backend.replies, c"D")
            return PASS
        self.cut_requests(chunk, total)
        if statement is not None:
            self.rely_on(backend, statement)
        own_name = b"?" + own_name if statement is None else statement.name
        self.put_header(c"D", len(own_name) + 2)
        self.put_request(b"S", 1)
        self.put_request(own_name, len(own_name) + 1)
        expect(&backend.replies, c"D")
        return TAKEN

    cdef Step study_close(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Close, read whole: the name is free again, the statement stays where it is prepared."""
        cdef const char *message = chunk.data + chunk.at
        cdef bytes own_name
        cdef Statement statement
        if total < HEADER + 2 or message[HEADER] != c"S" or total == HEADER + 2:
            if total == HEADER + 2 and message[HEADER] == c"S":
                self.forget_unnamed(client, backend)
            expect(&backend.replies, c"C")
            return PASS
        own_name = (message + HEADER + 1)[:min(total - HEADER - 2, LONGEST_NAME)]
        if self.is_wavering(client, backend, own_name):
            return WAIT
        self.waver(backend, own_name)
        statement = None if client.names is None else client.names.pop(own_name, None)
        self.cut_requests(chunk, total)
        if expect(&backend.replies, c"C" | FAKED | NOTED):
            backend.notes.append((CLOSED, client, own_name, statement))
        return TAKEN

    # --- names in SQL

    cdef bytes rewrite_text(self, Client client, Backend backend, bytes text, object study):
        """The text with the statements' ids in place of the client's names; `mentioned` says which it changes."""
        cdef list parts = []
        cdef size_t at = 0
        for mention in study.mentions:
            name = self.name_in_text(client, backend, mention)
            if name is not None:
                self.altered.append((mention.start, mention.end - mention.start, len(name)))
                parts += [text[at:mention.start], name]
                at = mention.end
        parts.append(text[at:])
        return b"".join(parts)

    cdef bytes name_in_text(self, Client client, Backend backend, object mention):
        """What PREPARE, EXECUTE or DEALLOCATE is to say in place of the client's name; None = just that.

        What a text prepares or deallocates is not believed: after it the statement is closed, and prepared
        by us when it is wanted. So it does not matter how far the text was executed.
        """
        cdef Statement statement = None if client.names is None else client.names.get(mention.name)
        if mention.verb is not Verb.EXECUTE:
            self.waver(backend, mention.name)
        if mention.verb is Verb.PREPARE:
            if statement is not None:
                self.borrow_name(backend, mention.name)
                return None
            statement = self.library.prepared(mention.definition, self.meaning_of(client), 0, None)
            self.adopt_name(client, mention.name, statement)
            self.mentioned.append((mention.name, statement, True, mention.place))
            self.close_for_now(backend, statement)
            backend.inflight[statement.name] = (backend.segment, True)
            return statement.name
        if statement is None:
            return b'"?' + mention.name.replace(b'"', b'""') + b'"' if mention.name.startswith(PREFIX) else None
        self.ensure(backend, statement)
        if mention.verb is Verb.DEALLOCATE:
            client.names.pop(mention.name)
            self.mentioned.append((mention.name, statement, False, mention.place))
            backend.inflight[statement.name] = (backend.segment, False)
            self.lend(backend, statement.name)
        return statement.name

    cdef int close_for_now(self, Backend backend, Statement statement) except -1:
        """The text at hand prepares it: there must be none before, and afterwards it is closed."""
        self.close_statement(backend, statement.high, statement.low, statement.name)
        return self.lend(backend, statement.name)

    cdef int lend(self, Backend backend, bytes name) except -1:
        if backend.borrowed is None:
            backend.borrowed = []
        backend.borrowed.append(name)
        return 0

    cdef int note_mentions(self, Client client, Backend backend, bytes text) except -1:
        """Behind a NOTED request whose text changes names: what to take back if it fails."""
        backend.notes.append((MENTIONED, client, (text, self.altered), self.mentioned))
        self.mentioned = []
        self.altered = []
        return 0

    cdef Step note_aside(self, Client client, Backend backend) except? STOP:
        """A text with a name of its own has been prepared, whose execution changes names: the note hangs on a
        Close of ours."""
        if self.mentioned or self.altered:
            self.put_close(backend, PREFIX, c"C" | OURS | NOTED)
            self.note_mentions(client, backend, None)
        return TAKEN

    cdef int forget_names(self, Client client, Backend backend, uint32_t place) except -1:
        """DEALLOCATE ALL, DISCARD ALL: all names are free. Until it is known whether it is executed nothing
        is relied upon."""
        if client.names:
            self.mentioned += [(name, statement, False, place) for name, statement in client.names.items()]
            client.names = None
        self.mentioned.append((None, None, False, place))
        self.waver(backend, None)
        backend.distrusted = True
        return 0

    cdef int adopt_name(self, Client client, bytes name, Statement statement) except -1:
        if client.names is None:
            client.names = {}
        client.names[name] = statement
        return 0

    # --- what a backend must have

    cdef bint is_prepared(self, Backend backend, Statement statement) except -1:
        """Whether the statement can be relied upon where the next request of this segment is executed."""
        if backend.inflight:
            change = backend.inflight.get(statement.name)
            if change is not None and (change[0] == backend.segment or has_turns(&backend.replies)):
                return change == (backend.segment, True)
        return not backend.distrusted and self.pools.baggage.has(
            backend.slot, StatementId(statement.high, statement.low))

    cdef bint is_unsettled(self, Backend backend, Statement statement) except -1:
        """Whether a statement is prepared or closed in a segment that is not answered yet."""
        if not backend.inflight:
            return False
        change = backend.inflight.get(statement.name)
        return change is not None and change[0] != backend.segment and has_turns(&backend.replies)

    cdef bint may_be_aborted(self, Backend backend) noexcept:
        """Whether what comes next may be executed in a transaction that has failed."""
        return backend.status == c"E" or has_turns(&backend.replies)

    cdef bint is_wavering(self, Client client, Backend backend, bytes name) except -1:
        """Whether what a name means depends on a segment that is not answered yet."""
        cdef uint32_t last
        if not backend.wavering or not has_turns(&backend.replies):
            return False
        last = max(<uint32_t>backend.wavering.get(name, 0), <uint32_t>backend.wavering.get(None, 0))
        return last != 0 and last - 1 != backend.segment

    cdef int waver(self, Backend backend, bytes name) except -1:
        """What a name means (None: any) changes with this segment."""
        backend.wavering[name] = backend.segment + 1
        return 0

    cdef int ensure(self, Backend backend, Statement statement) except -1:
        """See to it that the backend has the statement when it comes to what is put next."""
        if self.is_prepared(backend, statement):
            return 0
        self.make_room(backend)
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
        was_there = self.pools.baggage.remove(backend.slot, StatementId(high, low))
        backend.inflight[name] = (backend.segment, False)
        if self.put_close(backend, name, c"C" | OURS | NOTED):
            backend.notes.append((EVICTED, None, name, (high, low, was_there)))
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

    # --- what became of it

    cdef int keep_note(self, Backend backend) except -1:
        """The oldest noted request has been answered."""
        note, client, _name, what = backend.notes.popleft()
        cdef Statement statement
        if note == NAMED or note == INJECTED:
            statement = what
            self.pools.baggage.add(backend.slot, StatementId(statement.high, statement.low))
        elif note == EVICTED:
            self.pools.baggage.remove(backend.slot, StatementId(what[0], what[1]))
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
                    self.pools.baggage.add(backend.slot, StatementId(what[0], what[1]))
            elif note == NAMED or note == SHARED:
                names = (<Client>client).names
                if names is not None and names.get(name) is what:
                    names.pop(name)
            elif note == CLOSED and what is not None:
                self.adopt_name(client, name, what)
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
        if backend.notes and backend.replies.answered & NOTED and backend.notes[0][0] == MENTIONED:
            altered = backend.notes[0][2]
        if altered is None and PREFIX not in error:
            return False
        mended = mend(error, client.names or {}, altered)
        if mended == error:
            return False
        self.cut_replies(chunk, 0)
        append(&self.replies, mended, len(mended))
        return True

    cdef void forget_unnamed(self, Client client, Backend backend) noexcept:
        """There is no unnamed statement any more, on the backend and for the client."""
        self.pools.baggage.slots[backend.slot].unnamed = 0
        if client.unnamed_token:
            client.unnamed_token = 0
            client.unnamed_traces = 0
            client.unnamed_study = None
            clear(&client.unnamed)

    cdef int touch(self, Client client, Backend backend, uint32_t traces, object study) except -1:
        """A text that may change the session is about to be executed. Carrying's."""
        raise NotImplementedError
