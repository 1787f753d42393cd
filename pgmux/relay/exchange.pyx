# cython: boundscheck=False, wraparound=False
"""The bytes between a client and the backend it has leased, both ways.

A chunk is read into one buffer that all sockets of the worker share, its messages are framed
by their headers alone, and the run of bytes is sent on from where it lies: a body is never
copied unless the other side does not take it at once. What it does not take (at most one
chunk) is kept, and nothing more is read from the first until it has gone: a result of a
gigabyte costs 64 kB.

Three things are never done: act on half a ReadyForQuery; let go of a backend that still owes
a reply or waits for the rest of a message; pass on a reply that nobody asked for.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from pgmux.protocol.replies cimport (
    FORWARD, MISHAP, MISMATCH, NOTED, OURS, SWALLOW, Verdict, expect, has_turns, is_ours, is_settled, match,
    needs_sync, take_faked,
)
from pgmux.relay.buffer cimport Buffer, append, clear, length
from pgmux.relay.asking cimport DEFERRED, OVERSTEPPED, STALE, WITHHELD
from pgmux.relay.endpoint cimport (
    Backend, CARRY_BYTES, Client, GONE, HEADER_BYTES, IDLE, LEASED, LEAVING, PARKED, RETRYING,
)
from pgmux.relay.naming cimport DROP, MORE, PASS, STOP, Step, TAKEN, WAIT
from pgmux.relay.sockets cimport big_endian, close
from pgmux.relay.streams cimport Chunk
from pgmux.session.modes cimport KEEP, REFUSE, SESSION, STATEMENT, rest_of
from pgmux.session.traces cimport DISCARDING, NAMES, RECALLING, SETTINGS, UNSEEN, find_traces
from pgmux.shm.counters cimport observe

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t size, const void *needle, size_t needle_size)

LINGER_US = 2_000_000            # a client that was told why it must go has so long to read it
ORPHAN_US = 10_000_000           # a backend whose client vanished has so long to come clean
cdef uint64_t NEVER = 1 << 62     # a backend whose client said Terminate has as long as its query takes

cdef enum:
    READS_A_TURN = 8              # chunks of one socket before the others have their turn
    LONGEST_MESSAGE = 0x3FFFFFFF  # PostgreSQL's own limit (MaxAllocSize)
    READY_BYTES = 6               # of a ReadyForQuery
    DONE_BYTES = 7                # of a CommandComplete, at least
    LONGEST_STUDIED = 1 << 20     # bytes of a Query that is read whole before it goes on

cdef enum Request:               # kinds of client messages, by what they need
    ILLEGAL = 0
    WORK = 1                     # a backend
    SYNC = 2                     # a ReadyForQuery; ours will do when there is no backend
    NUDGE = 3                    # Flush: nothing, when there is no backend
    COPYING = 4                  # CopyData, CopyDone, CopyFail: a backend that reads them, else nothing
    TERMINATE = 5

KINDS = {                        # of requests, by the letters of the messages; all others are ILLEGAL
    b"QPBDECF": WORK,
    b"S": SYNC,
    b"H": NUDGE,
    b"dcf": COPYING,
    b"X": TERMINATE,
}
cdef uint8_t REQUESTS[256]
for _letters, _kind in KINDS.items():
    for _letter in bytearray(_letters):
        REQUESTS[_letter] = _kind

cdef uint8_t IS_STUDIED[256]     # requests whose content matters where backends change
for _letter in bytearray(b"QPBDC"):
    IS_STUDIED[_letter] = 1
cdef uint8_t IS_EXTENDED[256]
for _letter in bytearray(b"PBDEC"):
    IS_EXTENDED[_letter] = 1

cdef bytes CHANGED_PLAN = b"\0RRevalidateCachedQuery\0"     # field of an ErrorResponse: the routine that gave it

FAKES = {b"P": b"1\0\0\0\4", b"C": b"3\0\0\0\4"}      # the replies that we make ourselves, by request


cdef class Exchange(Carrying):
    """Requests one way, replies the other. Relay feeds it with events."""

    # --- client to backend

    cdef int serve_client(self, Client client) except -1:
        """Read what the client sent, as long as there is somewhere to put it."""
        cdef int _turn
        cdef Py_ssize_t size
        cdef char *data
        for _turn in range(READS_A_TURN):
            if not client.readable or client.phase != IDLE and client.phase != LEASED:
                return 0
            if self.moves_out and self.may_move(client):
                self.news.append(("movable", client))
                return 0
            if client.terminated or length(&client.out) or length(&client.held) and not client.wanted:
                return 0
            if client.backend is not None and (length(&client.backend.out) or client.backend.awaited
                                               or client.backend.broken or client.backend.errand):
                return 0
            data = self.buffer + CARRY_BYTES - client.carried
            memcpy(data, client.carry, client.carried)
            size = self.read(client)
            if size == 0:
                return self.vanish(client, False)
            if size < 0:
                return 0
            size += client.carried
            client.carried = 0
            if client.wanted:
                append(&client.held, data, size)
                if length(&client.held) >= client.wanted:
                    self.resume(client)
            else:
                self.take_requests(client, data, size)
        if client.readable:
            self.queue(client)
        return 0

    cdef int take_requests(self, Client client, const char *data, size_t size) except -1:
        """Frame the client's messages and send on, write anew, drop or hold them."""
        cdef Chunk chunk
        cdef size_t step
        cdef uint32_t message
        cdef Step verdict
        chunk.data, chunk.size, chunk.at, chunk.run = data, size, 0, 0
        while chunk.at < size:
            if client.remain:
                step = min(client.remain, size - chunk.at)
                chunk.at += step
                client.remain -= step
                if client.dropping:
                    chunk.run = chunk.at
                    client.dropping = client.remain > 0
                continue
            if size - chunk.at < HEADER_BYTES:
                break
            message = big_endian(<const uint8_t *>data + chunk.at + 1)
            verdict = self.judge(client, &chunk, message + 1) if 4 <= message <= LONGEST_MESSAGE else STOP
            if verdict == PASS:
                client.remain = <size_t>message + 1
            elif verdict == DROP:
                client.remain = <size_t>message + 1
                client.dropping = True
                self.post_requests(client.backend, &chunk)
            elif verdict != TAKEN:
                self.post_requests(client.backend, &chunk)
                return self.stop_at(client, &chunk, verdict)
        self.post_requests(client.backend, &chunk)
        client.carried = size - chunk.at
        memcpy(client.carry, data + chunk.at, client.carried)
        if client.backend is not None and client.backend.at_rest:
            self.settle_if_due(client.backend)
        return 0

    cdef int stop_at(self, Client client, Chunk *chunk, Step verdict) except -1:
        """The message at hand cannot be dealt with now, or never."""
        cdef uint8_t request = chunk.data[chunk.at]
        if verdict == WAIT or verdict == MORE:
            return append(&client.held, chunk.data + chunk.at, chunk.size - chunk.at)
        if REQUESTS[request] == TERMINATE:
            return self.terminate(client)
        return self.dismiss(client, self.desk.malformed(chr(request)))

    cdef Step judge(self, Client client, Chunk *chunk, uint32_t total) except? STOP:
        """What becomes of the client's message at hand, of `total` bytes."""
        cdef uint8_t request = chunk.data[chunk.at]
        cdef Request kind = <Request>REQUESTS[request]
        cdef bint is_studied = IS_STUDIED[request] and (client.mode != SESSION or request == c"Q")
        cdef Step verdict
        cdef Backend backend
        if kind == TERMINATE or kind == ILLEGAL:
            return STOP
        if client.skipping:
            if kind == SYNC:
                client.skipping = False
                self.send_ready(client, self.status_of(client))
            return DROP
        if is_studied:
            verdict = self.read_on(client, chunk, total, request)
            if verdict != PASS:
                return verdict
        if client.phase == IDLE:
            if kind == SYNC:
                self.send_ready(client, self.status_of(client))
            if kind != WORK:
                return DROP
            if is_studied or client.failed:
                verdict = self.spare_backend(client, chunk, total)
                if verdict != PASS:
                    return verdict
            if not self.acquire(client):
                return WAIT
        backend = client.backend
        if backend.fresh and not self.has_lease(backend):
            if not self.replace(client, backend):
                return STOP if client.phase == LEAVING else WAIT
            backend = client.backend
        if backend.awaited or backend.errand:
            return WAIT
        if backend.cancels and not backend.replies.count:
            return WAIT                      # a cancel on its way was meant for what has been answered
        if backend.at_rest and (kind == NUDGE or kind == COPYING):
            return DROP                      # PostgreSQL ignores them too, and would not answer
        if client.mode == STATEMENT and backend.segment and kind == WORK:
            return WAIT                      # until the statement before has been answered, which may need all else
        return self.begin_request(client, backend, chunk, total)

    cdef bint replace(self, Client client, Backend backend) except -1:
        """The client was to have a backend that is another's by now: nothing is sent there. Whether it has one now.

        Nothing of a transaction has begun, so it can have any; but not if its session has something on that one.
        """
        cdef bint needs_that_one = client.mode == SESSION or client.pins
        self.news.append(("handed on twice", backend.slot))
        client.pins = 0
        self.detach(client)
        self.drop_socket(backend)
        self.enter(client, IDLE)
        if needs_that_one:
            self.dismiss(client, self.desk.backend_lost())
            return False
        return self.acquire(client)

    cdef Step begin_request(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """The backend is there and the message may go: in front of it, what its session needs."""
        cdef uint8_t request = chunk.data[chunk.at]
        cdef Step verdict
        if request == c"Q" and chunk.traces & (NAMES | DISCARDING) and client.mode != SESSION \
                and has_turns(&backend.replies):
            return WAIT                      # what names mean in it depends on what comes before
        backend.is_first = (backend.fresh or backend.is_spared) and client.deferred is None
        backend.is_spared = False
        if backend.fresh:
            backend.began_at_us = self.now
            if self.open_lease(client, backend):
                return WAIT
        if client.deferred is not None:
            self.put_query(backend, client.deferred)
            backend.notes.append((DEFERRED, client, None, None))
            client.deferred = None
        if backend.replies.count == 0:
            backend.request_at_us = self.now
        backend.at_rest = backend.returning = False
        if client.mode == SESSION:
            if request == c"Q" and chunk.traces:
                return self.study_session_query(client, backend, chunk, total)
            expect(&backend.replies, request)
            return PASS
        if request == c"S":
            backend.segment += 1
            backend.unsynced = False
            expect(&backend.replies, c"S")
            return PASS
        if backend.replies.failed:           # PostgreSQL skips everything up to the Sync
            return PASS
        if backend.borrowed is not None and not backend.unsynced:
            self.cut_requests(chunk, 0)
            self.return_names(backend)
        if IS_EXTENDED[request]:
            backend.unsynced = True
            if request == c"P":
                return self.study_parse(client, backend, chunk, total)
            if request == c"B":
                return self.study_bind(client, backend, chunk, total)
            if request == c"D":
                return self.study_describe(client, backend, chunk, total)
            if request == c"C":
                return self.study_close(client, backend, chunk, total)
            if backend.poised:
                backend.poised = False
                self.forget_names(client, backend, 0)
                if expect(&backend.replies, c"E" | NOTED):
                    self.note_mentions(client, backend, None)
                return PASS
        elif request == c"Q":
            backend.segment += 1
            backend.unsynced = False
            verdict = self.study_query(client, backend, chunk, total)
            backend.segment += 1
            return verdict
        elif request == c"F":
            backend.segment += 1
        elif request == c"H" and backend.notes:
            self.fake_replies(client, backend)
        expect(&backend.replies, request)
        return PASS

    cdef Step read_on(self, Client client, Chunk *chunk, uint32_t total, uint8_t request) except? STOP:
        """Whether enough of a message has come for its content to be looked at; of a Query, what traces it leaves."""
        cdef size_t available = chunk.size - chunk.at
        client.wanted = 0
        if available < total and request != c"B":
            if request != c"Q" or total <= LONGEST_STUDIED:
                client.wanted = total
                return MORE
            chunk.traces = SETTINGS | UNSEEN
        elif request == c"Q":
            chunk.traces = find_traces(chunk.data + chunk.at + HEADER_BYTES, total - HEADER_BYTES - 1,
                                       client.backslashes) if total > HEADER_BYTES else 0
            client.recalls_now = chunk.traces & RECALLING != 0
        return PASS

    cdef uint8_t status_of(self, Client client) noexcept:
        """The status that a client without a backend is in."""
        return c"E" if client.failed else c"I" if client.deferred is None else c"T"

    cdef int resume(self, Client client) except -1:
        """Go on with what the client had asked when it could not be dealt with."""
        cdef Buffer held = client.held
        if client.backend is not None and (client.backend.awaited or client.backend.errand):
            return 0
        client.held.data = NULL
        clear(&client.held)
        client.wanted = 0
        try:
            if length(&held):
                self.take_requests(client, held.data + held.start, length(&held))
        finally:
            clear(&held)
        if client.readable:
            self.queue(client)               # not at once: the shared buffer may be in use further up
        return 0

    # --- backend to client

    cdef int serve_backend(self, Backend backend) except -1:
        """Read what the backend sent, as long as its client takes it."""
        cdef int _turn
        cdef Py_ssize_t size
        cdef char *data
        for _turn in range(READS_A_TURN):
            if backend.client is None and not backend.orphaned and not backend.closing:
                return 0
            if backend.client is not None and length(&backend.client.out):
                return 0
            if not backend.readable:
                return self.settle_if_due(backend) if backend.at_rest else 0
            data = self.buffer + CARRY_BYTES - backend.carried
            memcpy(data, backend.carry, backend.carried)
            size = self.read(backend)
            if size == 0:
                return self.bury(backend) if backend.closing else self.lose(backend, True)
            if size < 0 or backend.closing:
                continue
            size += backend.carried
            backend.carried = 0
            if length(&backend.stash):
                self.take_stashed(backend, data, size)
            else:
                self.take_replies(backend, data, size)
        if backend.readable:
            self.queue(backend)
        return 0

    cdef int take_stashed(self, Backend backend, const char *data, size_t size) except -1:
        """More has come of a message that must be read whole."""
        cdef Buffer stash = backend.stash
        append(&stash, data, size)
        backend.stash.data = NULL
        clear(&backend.stash)
        try:
            self.take_replies(backend, stash.data + stash.start, length(&stash))
        finally:
            clear(&stash)
        return 0

    cdef int take_replies(self, Backend backend, const char *data, size_t size) except -1:
        """Frame the backend's messages, match each with what was asked, pass them on or swallow them."""
        cdef Chunk chunk
        cdef size_t step
        cdef uint32_t message
        cdef Client client = backend.client
        cdef Verdict verdict = FORWARD
        chunk.data, chunk.size, chunk.at, chunk.run = data, size, 0, 0
        while chunk.at < size:
            if backend.remain:
                step = min(backend.remain, size - chunk.at)
                if backend.dropping and backend.heard is not None and backend.last_reply == c"D":
                    backend.heard += data[chunk.at:chunk.at + step]
                chunk.at += step
                backend.remain -= step
                if backend.dropping:
                    chunk.run = chunk.at
                continue
            if not self.is_understood(backend, &chunk):
                break
            message = big_endian(<const uint8_t *>data + chunk.at + 1)
            verdict = self.heed(backend, &chunk, message + 1) if 4 <= message <= LONGEST_MESSAGE else MISMATCH
            if verdict == MISMATCH:
                break
            backend.remain = <size_t>message + 1
            backend.dropping = verdict != FORWARD
            if backend.dropping:
                self.cut_replies(&chunk, 0)
        if backend.notes and verdict != MISMATCH and not backend.remain:
            self.put_fakes(backend, &chunk)
        if client is not None:
            self.counters[backend.pool].bytes_sent += chunk.at
        self.post_replies(client, &chunk)
        if verdict == MISMATCH:
            self.news.append(("unasked", (backend.slot, chr(<uint8_t>data[chunk.at]))))
            return self.lose(backend, False)
        if not length(&backend.stash):
            backend.carried = size - chunk.at
            memcpy(backend.carry, data + chunk.at, backend.carried)
        if backend.finished and not backend.remain:
            self.finish(backend)
        elif backend.at_rest:
            self.settle_if_due(backend)
        elif client is not None and client.terminated and is_settled(&backend.replies):
            return self.see_out(client)          # all is answered, and its transaction is still open
        if client is not None and backend.client is client and length(&client.held) and not client.wanted \
                and not has_turns(&backend.replies):
            return self.resume(client)           # it waited for what has been answered now
        return 0

    cdef bint is_understood(self, Backend backend, Chunk *chunk) except -1:
        """Whether enough of the message at hand has come; else the rest of the chunk is kept for later."""
        cdef size_t available = chunk.size - chunk.at
        cdef uint8_t reply = chunk.data[chunk.at]
        if available < HEADER_BYTES or reply == c"Z" and available < READY_BYTES:
            return False
        if reply == c"C":
            return available >= DONE_BYTES
        if reply == c"T" and backend.notes and available < <size_t>big_endian(
                <const uint8_t *>chunk.data + chunk.at + 1) + 1:
            append(&backend.stash, chunk.data + chunk.at, available)
            return False
        if (reply == c"E" or reply == c"S") and backend.client is not None and (
                backend.client.mode != SESSION or backend.overtime is not None):
            if available < <size_t>big_endian(<const uint8_t *>chunk.data + chunk.at + 1) + 1:
                append(&backend.stash, chunk.data + chunk.at, available)
                return False
        return True

    cdef Verdict heed(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH:
        """Note what the reply at hand means, and say what becomes of it."""
        cdef const char *message = chunk.data + chunk.at
        cdef uint8_t reply = message[0]
        cdef Verdict verdict
        cdef bint is_carried = backend.client is not None and backend.client.mode != SESSION
        if backend.notes:
            self.put_fakes(backend, chunk)
        verdict = match(&backend.replies, reply)
        if verdict == MISMATCH or reply == c"E" and (backend.at_rest or backend.returning):
            return MISMATCH                  # at rest, an error announces the backend's end and is nobody's
        if reply == c"N" or reply == c"S" or reply == c"A":
            return self.heed_aside(backend, chunk, total) if is_carried else FORWARD
        backend.last_reply = reply
        backend.at_rest = False
        if reply == c"C" or reply == c"I":
            backend.done += 1
        if reply == c"C" and not backend.replies.answered & OURS:        # our own questions undo nothing
            backend.undone = message[HEADER_BYTES] == c"R" and message[HEADER_BYTES + 1] == c"O"
            if message[HEADER_BYTES] == c"A" and message[HEADER_BYTES + 1] == c"L" \
                    or message[HEADER_BYTES] == c"D" and message[HEADER_BYTES + 1] == c"R":
                backend.redefines = True             # ALTER, DROP: for itself now, for others at its end
                self.pools.baggage.redefine()
        elif reply == c"E":
            if verdict == FORWARD and is_carried and self.mend_error(backend.client, backend, chunk, total):
                verdict = SWALLOW
            if not self.heed_error(backend, chunk, total, verdict):
                backend.last_reply = 0       # the client was not told
                return MISMATCH
            if backend.errand == RETRYING:
                return SWALLOW
            if backend.overtime is not None and backend.replies.answered & OURS:
                return SWALLOW
        elif reply == c"G" and (backend.orphaned or backend.client is not None and backend.client.terminated):
            self.send_copy_fail(backend)
        elif reply == c"Z":
            verdict = self.heed_ready(backend, message[HEADER_BYTES], verdict)
        if reply != c"Z" and backend.replies.kept:
            if reply == c"T" or reply == c"n":
                self.hear_columns(backend, message, total)
            self.keep_note(backend)
        return SWALLOW if verdict == MISHAP else verdict

    cdef Verdict heed_ready(self, Backend backend, uint8_t status, Verdict verdict) except? MISMATCH:
        """A ReadyForQuery: a request is answered, and perhaps all are."""
        cdef uint64_t took = self.now - backend.request_at_us
        cdef Client client = backend.client
        backend.status = status
        backend.rested_at_us = self.now
        backend.overtime = None
        backend.returning = False
        if verdict == FORWARD:
            self.counters[backend.pool].queries += 1
            self.counters[backend.pool].query_us += took
            observe(self.counters[backend.pool].query, took)
            if self.log_query_us and took >= self.log_query_us and client is not None:
                self.sample("slow", client, took)
        if backend.replies.kept:
            self.keep_note(backend)
        backend.query_failed = backend.mishap = False
        backend.done = 0
        if not is_settled(&backend.replies):
            backend.request_at_us += took
            if backend.orphaned and backend.deadline_us != NEVER:
                self.ask_cancel(backend)             # it goes on with the next of a pipeline
            return verdict
        if backend.inflight:
            backend.inflight.clear()
        if backend.wavering:
            backend.wavering.clear()
        if backend.errand != RETRYING:
            backend.recorded = None              # a segment is asked again whole, or not at all
        if status == c"I":
            backend.at_rest = True
            if backend.redefines:
                backend.redefines = False
                self.pools.baggage.redefine()
            if backend.errand == RETRYING and client is not None:
                backend.finished = STALE
                return SWALLOW
            if backend.traces and client is not None and verdict == FORWARD and not backend.finished:
                backend.finished = WITHHELD
                return SWALLOW
        elif backend.orphaned:
            self.send_rollback(backend)
        elif client is not None and rest_of(client.mode, status) == REFUSE:
            backend.finished = OVERSTEPPED
            return SWALLOW
        return verdict

    cdef bint heed_error(self, Backend backend, Chunk *chunk, uint32_t total, Verdict verdict) except -1:
        """An ErrorResponse. False = it was our own request that failed, and the backend is of no more use."""
        cdef uint8_t kind = backend.replies.answered & 0xFF
        cdef const char *message = chunk.data + chunk.at
        backend.query_failed = backend.undone = True
        if memmem(chunk.data + chunk.at, min(total, chunk.size - chunk.at),
                  <const char *>CHANGED_PLAN, len(CHANGED_PLAN)) != NULL:
            self.pools.baggage.outdate()
            if self.can_retry(backend):
                backend.errand = RETRYING
        if memmem(message, min(total, chunk.size - chunk.at), b"\0C25006", 7) != NULL:
            self.news.append(("read only", backend.pool))        # perhaps it is a standby now
        if backend.replies.lapsed:
            self.lapse_notes(backend, backend.replies.lapsed)
        if backend.overtime is not None and memmem(message, total, b"\0C57014", 7) != NULL:
            self.cut_replies(chunk, 0)
            append(&self.replies, backend.overtime, len(backend.overtime))
            backend.replies.answered |= OURS         # PostgreSQL's own is not forwarded
        if IS_EXTENDED[kind]:
            self.pools.baggage.slots[backend.slot].unnamed = 0
            if kind == c"P" and not backend.replies.answered & (NOTED | OURS) and backend.client is not None:
                self.forget_unnamed(backend.client, backend)
        if verdict == MISHAP and backend.notes and backend.replies.answered & NOTED:
            if self.is_fatal(backend):
                return False
            backend.heard = bytearray(chunk.data[chunk.at:chunk.at + min(total, chunk.size - chunk.at)])
        return True

    cdef Verdict heed_aside(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH:
        """What a backend may say at any moment. Of what our own requests bring about the client hears nothing."""
        if chunk.data[chunk.at] == c"A":
            return SWALLOW                   # notifications come by way of the listening backend
        if chunk.data[chunk.at] == c"S" and total > HEADER_BYTES + 15 \
                and memcmp(chunk.data + chunk.at + HEADER_BYTES, b"in_hot_standby", 15) == 0:
            self.news.append(("read only", backend.pool))        # or it is none any more
        if not is_ours(&backend.replies):
            return FORWARD
        if chunk.data[chunk.at] == c"S" and backend.client.unsure is not None:
            return self.tell_spelling(backend.client, chunk.data + chunk.at + HEADER_BYTES, total - HEADER_BYTES)
        return SWALLOW

    cdef Verdict tell_spelling(self, Client client, const char *body, size_t size) except? MISMATCH:
        """A ParameterStatus of a setting that the client asked for, in a spelling that the greeting could not know."""
        cdef bytes name = body[:size].split(b"\0", 1)[0]
        setting = name.decode("utf-8", "replace").lower()
        if setting not in client.unsure:
            return SWALLOW
        client.unsure = (client.unsure - {setting}) or None
        return FORWARD

    cdef int put_fakes(self, Backend backend, Chunk *chunk) except -1:
        """The replies that we make ourselves, whose turn has come before the message at hand."""
        cdef uint16_t request
        cdef bytes fake
        while True:
            request = take_faked(&backend.replies)
            if not request:
                return 0
            fake = FAKES[bytes([request & 0xFF])]
            self.cut_replies(chunk, 0)
            append(&self.replies, fake, len(fake))
            self.keep_note(backend)

    cdef int fake_replies(self, Client client, Backend backend) except -1:
        """The client says Flush: what we make ourselves and is due must not wait for the backend's next word."""
        cdef Chunk nothing
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        self.put_fakes(backend, &nothing)
        return self.post_replies(client, &nothing)

    cdef int settle_if_due(self, Backend backend) except -1:
        """The transaction's end, if nothing of it is left anywhere: no reply owed, none half received or
        still readable, no request half sent or still to be sent."""
        cdef Client client = backend.client
        if self.volley.holds(backend):
            self.fire()                      # what earns no reply (a Flush) may have come since the last one
        if not backend.at_rest or backend.readable or backend.remain or backend.carried or length(&backend.out):
            return 0
        if backend.errand or length(&backend.stash):
            return 0
        if client is not None:
            if client.remain and not client.dropping:
                return 0
            if client.pins or rest_of(client.mode, backend.status) == KEEP or self.stays_reserved(client, backend):
                self.keep_backend(client, backend)
                if client.terminated:
                    self.see_out(client)
                return 0
        if backend.borrowed is not None:
            return self.close_borrowed(backend)
        if client is not None:
            self.part(client, backend)
        if backend.soiled:
            backend.cleaning = b"DISCARD ALL"
        if backend.cleaning is not None and not backend.cancels:
            self.clean(backend)
        elif client is not None and not backend.cancels and self.is_audit_due(client):
            self.audit(client, backend)
        else:
            self.settle(backend)
        if client is not None:
            if client.terminated:
                self.see_out(client)
            elif client.phase == IDLE:
                self.proceed(client)
        return 0

    cdef int keep_backend(self, Client client, Backend backend) except -1:
        """A transaction is over, but its backend stays with the client: its mode says so, or it is pinned."""
        if not backend.fresh:
            backend.fresh = True
            backend.segment = 0
            self.count_transaction(client, backend)
            if client.pending is not None:
                self.deliver(client)
        return 0

    cdef int close_borrowed(self, Backend backend) except -1:
        cdef Chunk nothing
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        backend.at_rest = False
        backend.returning = True
        self.return_names(backend)
        return self.post_requests(backend, &nothing)

    # --- ends, good and bad

    cdef int refuse(self, Client client, bytes error) except -1:
        """Tell a parked client that it gets no backend: an error in place of the replies, and the session goes on.

        What it asked is dropped to the end of the request: a Query by itself, extended messages up to Sync.
        """
        cdef uint8_t request = client.held.data[client.held.start]
        self.unpark(client)
        self.enter(client, IDLE)
        self.counters[client.lobby.pool].errors += 1
        self.send_to_client(client, error, len(error))
        if client.deferred is not None:          # it believes that its transaction has begun: it has, and failed
            client.deferred = None
            client.failed = True
        if request == c"Q" or request == c"F":
            client.remain = big_endian(<uint8_t *>client.held.data + client.held.start + 1) + 1
            client.dropping = True
            self.send_ready(client, self.status_of(client))
        else:
            client.skipping = True
        return self.resume(client)

    cdef int dismiss(self, Client client, bytes last_words) except -1:
        """End a session, with its reason. The socket is closed when the client has had time to read it."""
        cdef Backend backend = client.backend
        if client.phase == LEAVING or client.phase == GONE:
            return 0
        if client.phase == PARKED:
            self.unpark(client)
        client.last_words = last_words
        if backend is None or not backend.remain or backend.dropping:      # else they would be read as part of a message
            self.send_to_client(client, last_words, len(last_words))
        self.fire()
        if backend is not None:
            self.abandon(client, backend)
            self.detach(client)
            self.orphan(backend, client.remain > 0 and not client.dropping, False)
        clear(&client.held)
        self.enter(client, LEAVING)
        client.deadline_us = client.since_us + LINGER_US
        self.partings.append(client)
        if not length(&client.out):
            self.hang_up(client)
        if client.readable:
            self.queue(client)
        return 0

    cdef int terminate(self, Client client) except -1:
        """The client said Terminate. What it asked before is done and answered first, as PostgreSQL does."""
        cdef Backend backend = client.backend
        if (backend is None or backend.private or is_settled(&backend.replies) or needs_sync(&backend.replies)
                or backend.replies.copying):
            return self.vanish(client, True)     # nothing more is answered without more from the client
        client.terminated = True
        return 0

    cdef int see_out(self, Client client) except -1:
        """All that a client asked before its Terminate is answered: close, once it has taken the answers."""
        self.fire()
        return self.dismiss(client, b"") if length(&client.out) else self.vanish(client, True)

    cdef int vanish(self, Client client, bint politely) except -1:
        """The client is gone (politely: it said Terminate, and what it asked before is still to be done)."""
        cdef Backend backend = client.backend
        if client.phase == GONE:
            return 0
        client.terminated |= politely and client.phase != LEAVING
        if client.phase == PARKED:
            self.unpark(client)
        if self.volley.holds(client):
            self.fire()                      # before its descriptor can be another's
        if backend is not None:
            self.abandon(client, backend)
            self.detach(client)
            self.orphan(backend, client.remain > 0 and not client.dropping, politely)
        clear(&client.held)
        if client.tls is not None:
            if not politely and not length(&client.out):
                client.tls.part(client.fd, NULL, 0)
            client.tls = None
        clear(&client.out)
        close(client.fd)
        client.fd = -1
        self.enter(client, GONE)
        self.partings.append(client)
        return 0

    cdef int orphan(self, Backend backend, bint midway, bint politely) except -1:
        """Its client left in the middle: bring the backend back clean, or close it when that cannot be done."""
        if backend.private:
            return self.end_private(backend, midway, politely)
        if backend.awaited:
            backend.cleaning = None
            return self.settle(backend)      # nothing was ever sent
        if midway or backend.broken or length(&backend.out):
            self.ask_cancel(backend)
            return self.retire(backend, False)
        self.counters[backend.pool].cleanings += 1
        backend.orphaned = True
        backend.deadline_us = NEVER if politely else self.now + ORPHAN_US
        if backend.at_rest:
            self.settle_if_due(backend)
        elif backend.replies.copying:
            self.send_copy_fail(backend)
        elif needs_sync(&backend.replies):
            # What was executed without a Sync must not be committed by ours.
            self.send_rollback(backend)
            self.send_sync(backend)
        if backend.replies.count and not politely and not backend.at_rest:
            self.ask_cancel(backend)
        if backend.orphaned and backend.readable:
            self.queue(backend)
        return 0

    cdef int end_private(self, Backend backend, bint midway, bint politely) except -1:
        """The client that the backend was opened for has gone. It may be sending a stream that never ends, and
        hears our end of the connection close only when it looks: a cancel request has it look."""
        if midway or backend.broken or length(&backend.out):
            politely = False                 # a Terminate would be read as part of something else
        if not backend.at_rest:
            self.ask_cancel(backend)
        return self.retire(backend, politely)

    cdef int send_copy_fail(self, Backend backend) except -1:
        """Nobody is left to send the data of a COPY: have it fail, and where it was begun by Execute, end."""
        expect(&backend.replies, c"f")
        self.send_to_backend(backend, b"f\0\0\0\x05\0", 6)
        return self.send_sync(backend) if needs_sync(&backend.replies) else 0

    cdef int send_rollback(self, Backend backend) except -1:
        self.pools.baggage.slots[backend.slot].unnamed = 0
        expect(&backend.replies, c"Q" | OURS)
        return self.send_to_backend(backend, b"Q\0\0\0\x0dROLLBACK\0", 14)

    cdef int send_sync(self, Backend backend) except -1:
        expect(&backend.replies, c"S")
        return self.send_to_backend(backend, b"S\0\0\0\x04", 5)

    cdef int ask_cancel(self, Backend backend) except -1:
        """Have a greenlet cancel what the backend is doing now. It counts at once: the backend may come to
        rest before the news is read, and must not be leased to another until the cancel has settled."""
        backend.cancels += 1
        self.news.append(("cancel", (backend.slot, backend.generation, *self.pools.identity(backend.slot))))
        return 0

    cdef int lose(self, Backend backend, bint is_gone) except -1:
        """The backend is gone, or no longer to be trusted. A client in the middle of something hears
        PostgreSQL's own last error, else ours; one whose transaction is over notices nothing."""
        cdef Client client = backend.client
        cdef bint is_over = ((backend.at_rest or backend.returning)
                             and (client is None or not client.remain or client.dropping)
                             and not backend.errand and not backend.finished
                             and (client is None or client.mode != SESSION and not client.pins))
        self.news.append(("lost" if is_gone else "out of step", backend.slot))
        if client is not None:
            client.pins = 0
            self.pools.slots[backend.slot].pins = 0
            self.detach(client)
            if is_over:
                self.enter(client, IDLE)
                if client.pending is not None:
                    self.deliver(client)
                self.proceed(client)
            else:
                # In the middle of a message ours would be read as part of it.
                is_told = backend.last_reply == c"E" or backend.remain > 0
                self.dismiss(client, b"" if is_told else self.desk.backend_lost())
        if not is_gone:
            if not backend.at_rest:
                self.ask_cancel(backend)
            return self.retire(backend, False)
        if self.pools.shut(backend.slot, self.worker):
            self.bury(backend)
        return 0
