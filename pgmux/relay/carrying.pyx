# cython: boundscheck=False, wraparound=False
"""A session's state, carried from backend to backend: how a lease begins, and how it ends.

A lease begins by bringing the backend's settings to the client's, in front of the client's first request
(catching_up.pyx).

When a client leaves something that nobody asked about, or that cannot be carried, the backend is
cleaned by DISCARD ALL before the next; where it can be nothing but settings, by RESET ALL, and keeps its statements.
"""
from libc.stdint cimport uint8_t, uint32_t

from pgmux.protocol.replies cimport NOTED, expect
from pgmux.relay.asking cimport (
    ASKED, AUDITED, CAUGHT_UP, CLEANED, OVERSTEPPED, REFUSED, RESTORED, STALE, UNDONE, WITHHELD,
)
from pgmux.relay.auditing cimport ANYTHING
from pgmux.relay.describing cimport EXAMINED_COLUMNS
from pgmux.relay.endpoint cimport (
    ASKING, Backend, CATCHING_UP, Client, NO_ERRAND, RESETTING, SUBSCRIBING, UNDOING,
)
from pgmux.relay.leasing cimport CLOSE_WITHIN_US
from pgmux.relay.naming cimport DROP, PASS, STOP, TAKEN, Step
from pgmux.relay.preparing cimport FORGOTTEN, INJECTED
from pgmux.relay.recalling cimport RECALLED
from pgmux.relay.streams cimport Chunk
from pgmux.session.modes cimport SESSION, STATEMENT
from pgmux.session.traces cimport (
    ADVANCING, BLOCK, DISCARDING, EMPTYING, FREEING, HOLDING, LISTENING, LOADING, LOCKING, NAMES, NOTIFYING, RECALLING,
    SETTINGS, TEMPORARY, UNSEEN,
)
from pgmux.shm.baggage cimport SEVERAL
from pgmux.shm.layout cimport UNKNOWN_SETTINGS

from pgmux.session.inquiry import Pin, suspects
from pgmux.session.studies import Lone, study as study_text

cdef uint32_t LIBRARY = Pin.LOADED_LIBRARY
cdef bytes UNSETTING = b"RESET ALL; RESET SESSION AUTHORIZATION"

cdef enum Cleaned:               # what a backend has lost by what cleaned it
    EVERYTHING = 1
    STATEMENTS = 2
    SETTINGS_ALONE = 3

cdef enum:
    ASKED_AGAIN = 3              # times; a statement_timeout looks like a cancel, and might come each time
    HEADER = 5
    LONGEST_NAME = 63            # bytes, see Naming
    LONGEST_LONE = 120           # bytes of a text that may be one command alone
    LASTING = SETTINGS | LISTENING | TEMPORARY | HOLDING | LOCKING | LOADING | UNSEEN


cdef class Carrying(CatchingUp):
    """What a session must find again on whatever backend its next transaction has."""

    # --- a lease begins

    cdef Step open_lease(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """Put in front of the client's first request what its session needs. WAIT when it must be waited for, TAKEN
        when the request has gone with it."""
        backend.fresh = False
        self.pools.baggage.refresh(backend.slot)
        self.follow(client, backend)
        if self.is_unlearnt(client):
            self.touch_unlearnt(client, backend)
        if (self.pools.baggage.slots[backend.slot].settings_digest != client.digest
                or self.pools.baggage.slots[backend.slot].settings_bytes == UNKNOWN_SETTINGS):
            return self.begin_catch_up(client, backend, chunk, total)
        return PASS

    # --- a Query

    cdef Step study_query(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Query that is read whole, or is too long to be. `chunk.traces` are those of its text."""
        cdef bytes text
        cdef const char *message = chunk.data + chunk.at
        self.forget_unnamed(client, backend)
        if chunk.traces & RECALLED:
            self.recall(client, backend, chunk, chunk.traces)
        if not chunk.traces & ~<uint32_t>(BLOCK | FREEING | NOTIFYING | ADVANCING | RECALLING) and not client.pins:
            if client.channels is not None:
                backend.traces |= chunk.traces & NOTIFYING
            expect(&backend.replies, c"Q")
            return PASS
        if chunk.traces & UNSEEN and chunk.size - chunk.at < total:
            self.touch(client, backend, ANYTHING, None)
            expect(&backend.replies, c"Q")
            return PASS
        text = message[HEADER:total - 1]
        study = study_text(text, chunk.traces)
        self.touch(client, backend, study.traces | chunk.traces & (FREEING | DISCARDING), study)
        restored = self.restore(client, backend, chunk.traces, study)
        if study.forgets_at >= 0:
            self.forget_names(client, backend, study.forgets_at)
        if not study.mentions and not self.mentioned and not restored:
            expect(&backend.replies, c"Q")
            return PASS
        self.cut_requests(chunk, total)
        text = self.rewrite_text(client, backend, text, study)
        if backend.unsynced:                     # what was put in front may fail, and must not take the Query along
            self.put_sync(backend)
        self.put_header(c"Q", len(text) + 1)
        self.put_request(text, len(text) + 1)
        if expect(&backend.replies, c"Q" | NOTED):
            self.note_mentions(client, backend, text)
        self.put_restored(client, backend, restored)
        return TAKEN

    cdef int touch(self, Client client, Backend backend, uint32_t traces, object study) except -1:
        """A text that may change the session is about to be executed: remember what to ask for at the end."""
        cdef uint32_t lasting = traces & LASTING
        if client.pins and traces & FREEING:
            lasting |= suspects(client.pins)
        if study is None:
            backend.touched_any = backend.touched_any or lasting & (SETTINGS | UNSEEN) != 0
        elif lasting & (SETTINGS | UNSEEN):
            lasting = self.touch_settings(client, backend, lasting, study)
        if lasting & LISTENING and study is not None:
            if not study.listens and not client.channels and not backend.traces & LISTENING:
                lasting &= ~<uint32_t>LISTENING
            elif study.unlistens is None:
                backend.unlistened_all = True
            elif study.unlistens:
                backend.unlistened = (backend.unlistened or set()) | set(study.unlistens)
        if traces & NOTIFYING and client.channels is not None:
            lasting |= NOTIFYING
        if traces & EMPTYING and study is not None:
            self.news.append(("emptied", study.empties))
        backend.traces |= lasting
        return 0

    cdef uint32_t touch_settings(self, Client client, Backend backend, uint32_t lasting, object study) except? 0xFFFF:
        cdef set returned = set(study.resets)
        if study.resets_all:
            returned |= client.settings.values.keys()
            returned |= backend.touched or set()
        if study.sets or returned:
            backend.touched = (backend.touched or set()) | study.sets | returned
            backend.returned = ((backend.returned or set()) | returned) - study.sets
        backend.touched_any = backend.touched_any or study.sets_any
        if not backend.touched and not backend.touched_any:
            lasting &= ~<uint32_t>(SETTINGS | UNSEEN)
        return lasting

    # --- what needs no backend

    cdef Step spare_backend(self, Client client, Chunk *chunk, uint32_t total) except? STOP:
        """A message of a client that has no backend: DROP when we have answered it, PASS when it needs one."""
        cdef const char *message = chunk.data + chunk.at
        cdef bytes name
        if message[0] == c"Q":
            if not chunk.traces & (BLOCK | SETTINGS | DISCARDING | NAMES | LISTENING) or total > LONGEST_LONE:
                return self.refuse_failed(client, c"Q") if client.failed else PASS
            name = message[HEADER:total - 1]
            return self.answer_alone(client, name, study_text(name, chunk.traces).lone)
        if client.failed:
            return self.refuse_failed(client, message[0])
        if message[0] == c"C" and total > HEADER + 2 and message[HEADER] == c"S":
            if client.names is not None:
                name = (message + HEADER + 1)[:min(total - HEADER - 2, LONGEST_NAME)]
                client.names.pop(name, None)
                client.row.statements = len(client.names)
            self.send_to_client(client, b"3\0\0\0\4", 5)
            return DROP
        return PASS

    cdef Step answer_alone(self, Client client, bytes text, object lone) except? STOP:
        """A text that may be one command alone. BEGIN is put off until there is more to do, and its end may
        come before that."""
        cdef bint is_open = client.deferred is not None or client.failed
        if is_open and lone in (Lone.COMMIT, Lone.ROLLBACK):
            tag = Lone.ROLLBACK if client.failed else lone
            client.deferred = None
            client.failed = False
            return self.answer(client, tag.value, c"I")
        if client.failed:
            return self.refuse_failed(client, c"Q")
        if is_open or lone is None:
            return PASS
        if lone is Lone.BEGIN or lone is Lone.START:
            if client.mode == STATEMENT:
                return self.begin_refused(client)
            if not self.defers_begin or client.mode == SESSION:
                return PASS
            client.deferred = text
            return self.answer(client, lone.value, c"T")
        if self.has_effect(client, lone):
            return PASS
        if lone is Lone.DEALLOCATE_ALL or lone is Lone.DISCARD_ALL:
            client.names = None
            client.row.statements = 0
        return self.answer(client, lone.value, c"I")

    cdef bint has_effect(self, Client client, object lone):
        """Whether a backend is needed for a command: it takes back what the client really has."""
        if lone is Lone.DEALLOCATE_ALL:
            return False
        if lone is Lone.UNLISTEN_ALL:
            return client.channels is not None
        if lone is Lone.RESET_ALL:
            return client.settings is not client.startup
        return lone is not Lone.DISCARD_ALL or client.settings is not client.startup or client.channels is not None

    cdef Step answer(self, Client client, str tag, uint8_t status) except? STOP:
        cdef bytes raw = tag.encode()
        cdef bytes answer = b"C" + (len(raw) + 5).to_bytes(4, "big") + raw + b"\0Z\0\0\0\5" + bytes([status])
        self.send_to_client(client, answer, len(answer))
        return DROP

    cdef Step begin_refused(self, Client client) except? STOP:
        """pool_mode statement: there are no transactions of several."""
        cdef bytes error = self.desk.no_transactions()
        self.send_to_client(client, error, len(error))
        self.send_ready(client, c"I")
        return DROP

    cdef Step refuse_failed(self, Client client, uint8_t request) except? STOP:
        """The client's transaction has failed before it began: PostgreSQL's answer until it ends it."""
        cdef bytes error = self.desk.in_failed_transaction()
        self.send_to_client(client, error, len(error))
        if request == c"Q" or request == c"F":
            self.send_ready(client, c"E")
        else:
            client.skipping = True
        return DROP

    # --- a client leaves

    cdef int abandon(self, Client client, Backend backend) except -1:
        """The client is about to be taken from its backend for good: see what must be cleaned up behind it."""
        if backend.traces & LASTING & ~<uint32_t>SETTINGS or client.pins or backend.errand == ASKING \
                or backend.errand == SUBSCRIBING:
            backend.soiled = True
        elif backend.traces or backend.errand == CATCHING_UP:
            self.pools.baggage.set_settings(backend.slot, None, 0)
        if client.mode == SESSION:
            backend.cleaning = self.reset_query
        if backend.soiled:
            backend.cleaning = b"DISCARD ALL"
        elif backend.unsettled and backend.cleaning is None:
            backend.cleaning = UNSETTING
        if client.pins & LIBRARY:
            self.pools.slots[backend.slot].expires_s = 1         # nothing takes a library away but the end
        client.pins = 0
        self.pools.slots[backend.slot].pins = 0
        backend.errand = NO_ERRAND
        backend.heard = backend.examined = None
        return self.forget_traces(backend)

    cdef int clean(self, Backend backend) except -1:
        """The backend is at rest and its client has gone: run what makes it clean. Settled when that has succeeded."""
        cdef Chunk nothing
        cdef Cleaned cleaned = SETTINGS_ALONE if backend.cleaning is UNSETTING else EVERYTHING
        texts = [backend.cleaning] if backend.cleaning else []
        if cleaned == EVERYTHING and backend.cleaning.strip(b" ;").upper() != b"DISCARD ALL":
            cleaned = STATEMENTS
            texts.append(b"DEALLOCATE ALL")      # whatever else is left, nobody shall execute another's statement
            self.pools.baggage.set_settings(backend.slot, None, 0)
        left = len(texts)
        for text in texts:
            left -= 1
            self.put_query(backend, text)
            backend.notes.append((CLEANED, None, None, 0 if left else cleaned))
        backend.cleaning = None
        backend.soiled = backend.unsettled = False
        backend.errand = RESETTING
        backend.at_rest = False
        backend.orphaned = True
        backend.deadline_us = self.now + CLOSE_WITHIN_US
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        return self.post_requests(backend, &nothing)

    # --- what became of our own requests

    cdef int keep_note(self, Backend backend) except -1:
        """The oldest noted request has been answered. Our own Queries come with their ReadyForQuery; what
        follows from them is done when the whole chunk has been dealt with (`finish`)."""
        note, client, _name, what = backend.notes[0]
        if note < CAUGHT_UP:
            return CatchingUp.keep_note(self, backend)
        backend.notes.popleft()
        if note == RESTORED or note == CAUGHT_UP and what is None:
            return 0
        if note == CLEANED:
            backend.finished = note if what else 0
            if what == EVERYTHING:
                self.pools.baggage.forget(backend.slot)
            elif what == STATEMENTS:
                self.pools.baggage.forget_statements(backend.slot)
            elif what == SETTINGS_ALONE:
                self.pools.baggage.set_settings(backend.slot, b"", 0)
        elif note == AUDITED and not backend.query_failed:
            backend.finished = note
            backend.audited = what
        elif note == AUDITED and self.asks_functions:
            backend.finished = note
            self.give_up_study(self.lobbies[backend.pool])       # the rest is asked all the same
        elif note == AUDITED:                    # a server that is not quite PostgreSQL: it is let alone
            backend.finished = note
            self.audit_interval_us = 0
            self.news.append(("audit refused", backend.slot))
        elif note == ASKED and backend.query_failed:
            if backend.client is client:
                backend.returned = set(what)
                backend.finished = WITHHELD
        elif backend.client is client:           # else it has left meanwhile
            if note == CAUGHT_UP:
                what.prove()
            if note != CAUGHT_UP or backend.errand == CATCHING_UP:
                backend.finished = note
                backend.returned = set(what) if note == ASKED else None
        return 0

    cdef bint is_fatal(self, Backend backend, bint is_cancelled):
        """Our own request has failed. Whether the backend cannot be used any more.

        A cancel that was meant for the client's query may reach PostgreSQL as it answers our question (it signals a
        process and its group, twice in all): then that is asked again.
        """
        note = backend.notes[0][0]
        backend.mishap = True
        if note == CAUGHT_UP:
            backend.finished = REFUSED
        elif note == FORGOTTEN:
            self.pools.baggage.slots[backend.slot].recaller = SEVERAL
        elif note == ASKED and is_cancelled and backend.asked_again < ASKED_AGAIN:
            backend.asked_again += 1
            return False
        return note != FORGOTTEN and note != INJECTED and note != CAUGHT_UP and note != AUDITED and note != RESTORED

    cdef int finish(self, Backend backend) except -1:
        """What we asked ourselves has been answered: go on from there."""
        cdef Client client = backend.client
        cdef uint8_t finished = backend.finished
        backend.finished = 0
        if finished == ASKED and client is not None:
            return self.hear(client, backend, backend.returned)
        if finished == AUDITED:
            backend.errand = NO_ERRAND
            return self.hear_audit(backend)
        if finished == REFUSED:
            return 0 if client is None else self.refuse_settings(client, backend)
        if finished == WITHHELD and client is not None:
            return self.ask(client, backend) if backend.traces != NOTIFYING else self.sound(client, backend)
        if finished == OVERSTEPPED and client is not None:
            return self.undo(client, backend)
        backend.errand = NO_ERRAND
        if finished == STALE and client is not None:
            if backend.riding is not None:
                self.ask_again(client, backend)
            else:
                self.retry(client, backend)
            return self.proceed(client)
        if (finished == CAUGHT_UP or finished == EXAMINED_COLUMNS) and client is not None:
            return self.resume(client)
        if finished == UNDONE and client is not None:
            self.send_ready(client, c"I")
        self.settle_if_due(backend)
        return 0 if client is None else self.proceed(client)

    cdef int undo(self, Client client, Backend backend) except -1:
        """The client has begun a transaction that its pool mode does not allow."""
        cdef bytes error
        cdef Chunk nothing
        if backend.status == c"T":
            error = self.desk.no_transactions()
            self.send_to_client(client, error, len(error))
        self.put_query(backend, b"ROLLBACK")
        backend.notes.append((UNDONE, client, None, None))
        backend.errand = UNDOING
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        return self.post_requests(backend, &nothing)

    cdef int refuse_settings(self, Client client, Backend backend) except -1:
        """PostgreSQL does not accept what the client's session is to have: its own words, and the end."""
        cdef bytes reason = self.desk.settings_refused(bytes(backend.heard or b""))
        cdef bint was_waited_for = backend.errand == CATCHING_UP
        backend.heard = None
        self.pools.baggage.set_settings(backend.slot, None, 0)
        self.dismiss(client, reason)
        return 0 if was_waited_for else self.lose(backend, False)

    cdef int dismiss(self, Client client, bytes last_words) except -1:
        """Parting's."""
        raise NotImplementedError
