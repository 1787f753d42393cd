# cython: boundscheck=False, wraparound=False
"""Names of prepared statements on their way.

The client's own name becomes the statement's id, which is prepared first where the backend lacks it.

What a client's name means is decided when its Parse or Close comes, as if it had succeeded
already, since clients send ahead; a note is kept with the request (noting.pyx), and when the request
fails or is skipped after an error, what was decided is taken back.

A name that is taken or unknown is an error that PostgreSQL itself must give, exactly and at the
right moment: an unknown one is passed on as it is, and for a taken one the client's name is
borrowed: given to an empty statement in front of the Parse, and closed before the next segment.

After an ALTER or DROP a Parse is good only for backends that prepare it as of then: who has an older name
hears of the change as from PostgreSQL, and who prepares now is not given what was prepared before. A Parse
that passes the ALTER on its way may still get the old one, as it may directly.

Within a segment an error skips all that follows, so what is decided on the assumption of success
is taken back with it. Not so in the next segment: a message whose name was changed in a segment
that is not answered yet waits for the answer.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from pgmux.protocol.columns cimport UNTOLD
from pgmux.protocol.replies cimport FAKED, NOTED, OURS, expect, has_turns
from pgmux.relay.buffer cimport append, clear
from pgmux.relay.describing cimport ASKED, AS_TOLD, Columns, OTHERS
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.preparing cimport CLOSED, NAMED, OUTDATED, SHARED
from pgmux.relay.streams cimport Chunk
from pgmux.session.statements cimport Statement
from pgmux.session.traces cimport ADVANCING, BLOCK, FREEING, NOTIFYING, RECALLING, find_traces
from pgmux.shm.baggage cimport StatementId

from pgmux.session.statements import PREFIX as _PREFIX
from pgmux.session.studies import Verb, study as study_text

cdef enum:
    HEADER = 5
    LONGEST_NAME = 63            # bytes: PostgreSQL cuts what is longer (NAMEDATALEN)
    NAME_BYTES = 64              # a first guess at how much of a Bind holds both its names

cdef bytes PREFIX = _PREFIX
# Traces for which a text is looked at more closely.
cdef uint32_t TELLING = ~<uint32_t>(BLOCK | FREEING | NOTIFYING | ADVANCING | RECALLING)


cdef inline const char *_after_zero(const char *data, size_t size) noexcept nogil:
    """Behind the string at the beginning; NULL when it does not end in time."""
    cdef const char *end = <const char *>memchr(data, 0, size) if size else NULL
    return NULL if end == NULL else end + 1


cdef class Naming(Noting):
    """Parse, Bind, Describe and Close of clients whose backends change."""

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
        if types == NULL:
            self.counters[backend.pool].parses += 1
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
        self.counters[backend.pool].parses += 1      # each once: from here on it does not wait
        if not own_name:
            return self.parse_unnamed(client, backend, chunk, total, text, body_size, body, traces, study)
        self.waver(backend, own_name)
        if traces & RECALLING:
            self.expect_recall(client, backend)
        if client.names is not None and own_name in client.names:
            self.cut_requests(chunk, 0)
            self.borrow_name(backend, own_name)
            expect(&backend.replies, c"P")
            return PASS
        if body is None:
            body = text[:body_size]
        statement = self.library.parsed(body, client.settings.meaning, self.pools.baggage.definitions(), traces, study)
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
        client.unnamed_told = UNTOLD
        self.pools.baggage.slots[backend.slot].unnamed = client.unnamed_token
        if traces:
            self.touch(client, backend, traces, study)
            self.recall(client, backend, chunk, traces)
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
        cdef bytes own_name, portal_name, name_there
        cdef size_t head
        cdef Columns columns = AS_TOLD
        if rest == NULL:
            if available < total:
                client.wanted = min(total, 2 * available + NAME_BYTES)
                return MORE
            self.counters[backend.pool].binds += 1
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
        backend.resetting = None
        if client.restores and study is not None and (study.resets or study.resets_all):
            backend.resetting = study
        if not own_name:
            columns = self.ensure_bound(client, backend, chunk, total)
            if columns == ASKED:
                return WAIT
            if client.unnamed_traces:
                self.touch(client, backend, client.unnamed_traces, client.unnamed_study)
                self.recall(client, backend, chunk, client.unnamed_traces)
        elif statement is not None and statement.told and statement.told != self.pools.baggage.columns(
                backend.slot, StatementId(statement.high, statement.low)):
            columns = self.settle_columns(client, backend, statement, chunk, total)
            if columns == ASKED:
                return WAIT
        backend.examined = backend.untold = None
        self.counters[backend.pool].binds += 1
        if statement is None and columns == AS_TOLD and not own_name.startswith(PREFIX):
            expect(&backend.replies, c"B")
            return PASS
        portal_name = portal[:name - 1 - portal]
        head = rest - (portal - HEADER)
        self.cut_requests(chunk, head)
        if statement is not None:
            self.rely_on(backend, statement)
            if statement.traces:
                self.touch(client, backend, statement.traces, statement.study)
                self.recall(client, backend, chunk, statement.traces)
            if not statement.told:
                backend.untold = (portal_name, own_name, statement)
        name_there = statement.name if statement is not None else b"?" + own_name
        if columns == OTHERS:
            name_there = b"?" + PREFIX + own_name        # nobody's
        self.put_header(c"B", len(portal_name) + len(name_there) + 2 + total - head)
        self.put_request(portal_name, len(portal_name) + 1)
        self.put_request(name_there, len(name_there) + 1)
        client.remain = total - head
        if columns == AS_TOLD:
            expect(&backend.replies, c"B")
        elif expect(&backend.replies, c"B" | NOTED):
            backend.notes.append((OUTDATED, client, None, None))
        return TAKEN

    cdef Columns ensure_bound(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? OTHERS:
        """The unnamed statement is about to be bound: see to it that it is the client's, with the columns it knows."""
        cdef bint is_there = client.unnamed_token != 0 and (
            self.pools.baggage.slots[backend.slot].unnamed == client.unnamed_token)
        cdef Columns columns = AS_TOLD
        if client.unnamed_told and (not is_there or backend.examined is client):
            columns = self.settle_columns(client, backend, None, chunk, total)
        if not is_there and columns == AS_TOLD:
            self.cut_requests(chunk, 0)
            self.ensure_unnamed(client, backend)
        return columns

    cdef Step study_describe(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Describe, read whole."""
        cdef const char *message = chunk.data + chunk.at
        cdef bytes own_name, name_there
        cdef Statement statement
        if total < HEADER + 2 or message[HEADER] != c"S":
            self.note_portal(client, backend, message + HEADER, total - HEADER)
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
        if not own_name:
            self.note_description(client, backend, b"", client.unnamed_token)
            return PASS
        if statement is None and not own_name.startswith(PREFIX):
            expect(&backend.replies, c"D")
            return PASS
        self.cut_requests(chunk, total)
        name_there = b"?" + own_name if statement is None else statement.name
        if statement is not None:
            self.rely_on(backend, statement)
        self.put_header(c"D", len(name_there) + 2)
        self.put_request(b"S", 1)
        self.put_request(name_there, len(name_there) + 1)
        if statement is None:
            expect(&backend.replies, c"D")
        else:
            self.note_description(client, backend, own_name, statement)
        return TAKEN

    cdef int note_portal(self, Client client, Backend backend, const char *body, uint32_t size) except -1:
        """A Describe of a portal. What it tells of a statement is kept if the client knows nothing of it yet."""
        cdef tuple untold = backend.untold
        if untold is not None and size >= 2 and untold[0] == body[1:size - 1]:
            backend.untold = None
            return self.note_description(client, backend, untold[1], untold[2])
        expect(&backend.replies, c"D")
        return 0

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
            statement = self.library.prepared(mention.definition, client.settings.meaning,
                                              self.pools.baggage.definitions(), 0, None)
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

    cdef void forget_unnamed(self, Client client, Backend backend) noexcept:
        """There is no unnamed statement any more, on the backend and for the client."""
        self.pools.baggage.slots[backend.slot].unnamed = 0
        if client.unnamed_token:
            client.unnamed_token = 0
            client.unnamed_traces = 0
            client.unnamed_study = None
            client.unnamed_told = UNTOLD
            clear(&client.unnamed)

    cdef int touch(self, Client client, Backend backend, uint32_t traces, object study) except -1:
        """A text that may change the session is about to be executed. Carrying's."""
        raise NotImplementedError

    cdef int expect_recall(self, Client client, Backend backend) except -1:
        """A text has come that asks for the last values of sequences. Recalling's."""
        raise NotImplementedError

    cdef int recall(self, Client client, Backend backend, Chunk *chunk, uint32_t traces) except -1:
        """A text is about to be executed that may advance sequences, or ask for their last values. Recalling's."""
        raise NotImplementedError
