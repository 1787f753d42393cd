# cython: boundscheck=False, wraparound=False
"""What a backend says, and to whom: framed, matched with what was asked, passed on, swallowed, or made by us.

Three things are never done: act on half a ReadyForQuery; let go of a backend that still owes
a reply or waits for the rest of a message; pass on a reply that nobody asked for.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from pgmux.protocol.replies cimport (
    FORWARD, MISHAP, MISMATCH, NOTED, OURS, SWALLOW, Verdict, answer_query, has_turns, is_extended, is_ours, is_settled,
    match, owes_query, take_faked,
)
from pgmux.relay.asking cimport OVERSTEPPED, STALE, WITHHELD
from pgmux.relay.buffer cimport Buffer, append, clear, length
from pgmux.relay.carrying cimport UNSETTING
from pgmux.relay.endpoint cimport (
    Backend, Client, HEADER_BYTES, IDLE, LONGEST_MESSAGE, READS_A_TURN, RETRYING,
)
from pgmux.relay.parting cimport NEVER
from pgmux.relay.sockets cimport big_endian
from pgmux.relay.streams cimport Chunk, carry
from pgmux.session.modes cimport KEEP, REFUSE, SESSION, rest_of
from pgmux.session.traces cimport LISTENING
from pgmux.shm.counters cimport observe

cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(object dictionary)     # without the call that len() is

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t size, const void *needle, size_t needle_size)

cdef enum:
    READY_BYTES = 6               # of a ReadyForQuery
    DONE_BYTES = 7                # of a CommandComplete, at least

cdef bytes CHANGED_PLAN = b"\0RRevalidateCachedQuery\0"     # field of an ErrorResponse: the routine that gave it

FAKES = {b"P": b"1\0\0\0\4", b"C": b"3\0\0\0\4"}      # the replies that we make ourselves, by request


cdef inline bint is_made(const char *message) noexcept:
    """Whether a CommandComplete, of which two letters have come, is that of a CREATE or an ALTER."""
    cdef const char *tag = message + HEADER_BYTES
    return tag[0] == c"C" and tag[1] == c"R" or tag[0] == c"A" and tag[1] == c"L"


cdef inline bint is_one_more_row(Backend backend, Chunk *chunk) noexcept:
    """Whether the message at hand is a row, and what came before it a row like it or, of a Query's result, the
    description of its rows: it answers the same request, and goes the same way."""
    cdef const uint8_t *message = <const uint8_t *>chunk.data + chunk.at
    cdef uint8_t before = backend.last_reply
    if message[0] != c"D" and message[0] != c"d":
        return False
    if before != message[0] and (before != c"T" or backend.replies.answered & 0xFF != c"Q"):
        return False
    return chunk.size - chunk.at >= HEADER_BYTES and 4 <= big_endian(message + 1) <= LONGEST_MESSAGE


cdef inline void pass_rows(Backend backend, Chunk *chunk) noexcept:
    """Go over the messages at hand that are a Query's rows, their description and its tag: with these nothing is to be
    done but to pass them on. What `heed` does for each of them, but for the tags of ROLLBACK, CREATE, ALTER and DROP."""
    cdef const uint8_t *message = <const uint8_t *>chunk.data + chunk.at
    cdef size_t whole, left = chunk.size - chunk.at
    cdef uint8_t reply = 0
    if not owes_query(&backend.replies):
        return
    while left >= DONE_BYTES:
        whole = <size_t>big_endian(message + 1) + 1
        if whole < HEADER_BYTES or whole > LONGEST_MESSAGE:
            break
        if message[0] == c"C":
            if message[HEADER_BYTES] == c"R" or message[HEADER_BYTES] == c"D" or is_made(<const char *>message):
                break
            backend.done += 1
            backend.undone = False
        elif message[0] != c"D" and message[0] != c"T":
            break
        reply = message[0]
        if whole > left:
            backend.remain = whole - left
            left = 0
            break
        left -= whole
        message += whole
    if reply:
        answer_query(&backend.replies, False)
        backend.last_reply = reply
        backend.at_rest = backend.dropping = False
        chunk.at = chunk.size - left


cdef inline bint ends_query(Backend backend, Chunk *chunk) noexcept:
    """Whether the message at hand is the ReadyForQuery of such a Query: then only `heed_ready` need see it."""
    cdef const uint8_t *message = <const uint8_t *>chunk.data + chunk.at
    if chunk.size - chunk.at < READY_BYTES or message[0] != c"Z" or not owes_query(&backend.replies) \
            or big_endian(message + 1) != READY_BYTES - 1:
        return False
    answer_query(&backend.replies, True)
    backend.last_reply = c"Z"
    backend.at_rest = backend.dropping = False
    return True


cdef inline bint is_carried(Backend backend) noexcept:
    """Whether it serves a client whose session goes from backend to backend."""
    return backend.client is not None and backend.client.mode != SESSION


cdef inline bint needs_cleaning(Backend backend) noexcept:
    """Whether something is to be run before the next client has it."""
    return backend.soiled or backend.unsettled or backend.cleaning is not None


cdef class Replying(Parting):
    """From a backend to its client."""

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
            size = self.read_chunk(backend, &data)
            if size == 0:
                return self.bury(backend) if backend.closing else self.lose(backend, True)
            if size < 0 or backend.closing:
                continue
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
                if backend.dropping:
                    if backend.heard is not None and backend.last_reply == c"D":
                        backend.heard += data[chunk.at:chunk.at + step]
                    chunk.run = chunk.at + step
                chunk.at += step
                backend.remain -= step
                continue
            if is_one_more_row(backend, &chunk):
                backend.last_reply = data[chunk.at]
                backend.remain = <size_t>big_endian(<const uint8_t *>data + chunk.at + 1) + 1
                continue
            pass_rows(backend, &chunk)
            if ends_query(backend, &chunk):
                message = READY_BYTES - 1
                verdict = self.heed_ready(client, backend, data[chunk.at + HEADER_BYTES], FORWARD)
                if verdict == FORWARD:
                    chunk.at += READY_BYTES
                    continue
            elif self.is_understood(backend, &chunk):
                message = big_endian(<const uint8_t *>data + chunk.at + 1)
                verdict = self.heed(backend, &chunk, message + 1) if 4 <= message <= LONGEST_MESSAGE else MISMATCH
                if verdict == MISMATCH:
                    break
            else:
                break
            backend.remain = <size_t>message + 1
            backend.dropping = verdict != FORWARD
            if backend.dropping:
                self.cut_replies(&chunk, 0)
        if backend.replies.noted and verdict != MISMATCH and not backend.remain:
            self.put_fakes(backend, &chunk)
        if client is not None:
            self.counters[backend.pool].bytes_sent += chunk.at
        self.post_replies(client, &chunk)
        if verdict == MISMATCH:
            self.news.append(("unasked", (backend.slot, chr(<uint8_t>data[chunk.at]))))
            return self.lose(backend, False)
        if not length(&backend.stash):
            carry(backend, &chunk)
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
            if available < DONE_BYTES:
                return False
            if is_made(chunk.data + chunk.at) and available < <size_t>big_endian(
                    <const uint8_t *>chunk.data + chunk.at + 1) + 1:
                append(&backend.stash, chunk.data + chunk.at, available)
                return False
        if reply == c"T" and backend.replies.noted and available < <size_t>big_endian(
                <const uint8_t *>chunk.data + chunk.at + 1) + 1:
            append(&backend.stash, chunk.data + chunk.at, available)
            return False
        if (reply == c"E" or reply == c"S" or reply == c"A" and backend.traces & LISTENING) \
                and backend.client is not None and (backend.client.mode != SESSION or backend.overtime is not None):
            if available < <size_t>big_endian(<const uint8_t *>chunk.data + chunk.at + 1) + 1:
                append(&backend.stash, chunk.data + chunk.at, available)
                return False
        return True

    cdef Verdict heed(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH:
        """Note what the reply at hand means, and say what becomes of it."""
        cdef const char *message = chunk.data + chunk.at
        cdef uint8_t reply = message[0]
        cdef Verdict verdict
        if backend.replies.noted:
            self.put_fakes(backend, chunk)
        verdict = match(&backend.replies, reply)
        if verdict == MISMATCH or reply == c"E" and (backend.at_rest or backend.returning):
            return MISMATCH                  # at rest, an error announces the backend's end and is nobody's
        if reply == c"N" or reply == c"S" or reply == c"A":
            return self.heed_aside(backend, chunk, total) if is_carried(backend) else FORWARD
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
            if is_made(message):
                self.notes_code(backend, message + HEADER_BYTES)
        elif reply == c"E":
            if verdict == FORWARD and is_carried(backend) and self.mend_error(backend.client, backend, chunk, total):
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
            verdict = self.heed_ready(backend.client, backend, message[HEADER_BYTES], verdict)
        if reply != c"Z" and backend.replies.kept:
            if reply == c"T" or reply == c"n":
                self.hear_columns(backend, message, total)
            self.keep_note(backend)
        return SWALLOW if verdict == MISHAP else verdict

    cdef Verdict heed_ready(self, Client client, Backend backend, uint8_t status, Verdict verdict) except? MISMATCH:
        """A ReadyForQuery: a request is answered, and perhaps all are."""
        cdef uint64_t took = self.now - backend.request_at_us
        backend.status = status
        backend.rested_at_us = self.now
        if backend.overtime is not None:
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
            if verdict == FORWARD:               # what we put in front of a query is of its time
                backend.request_at_us = self.now
            if backend.orphaned and backend.deadline_us != NEVER:
                self.ask_cancel(backend)             # it goes on with the next of a pipeline
            return verdict
        if PyDict_GET_SIZE(backend.inflight):
            backend.inflight.clear()
        if PyDict_GET_SIZE(backend.wavering):
            backend.wavering.clear()
        if backend.recorded is not None and backend.errand != RETRYING:
            backend.recorded = None              # a segment is asked again whole, or not at all
        if status == c"I":
            backend.at_rest = True
            if backend.makes_code:
                backend.makes_code = False
                self.pools.baggage.outgrow_lore()
            if backend.redefines:
                backend.redefines = False
                self.pools.baggage.redefine()
                if backend.undone:               # what was prepared since is of tables that are none
                    self.pools.baggage.forget_statements(backend.slot)
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
        backend.query_failed = True
        backend.undone = backend.undone or backend.replies.answered != (c"Q" | OURS | NOTED)     # not a question of ours
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
        if is_extended(kind):
            self.pools.baggage.slots[backend.slot].unnamed = 0
            if kind == c"P" and not backend.replies.answered & (NOTED | OURS) and backend.client is not None:
                self.forget_unnamed(backend.client, backend)
        if verdict == MISHAP and backend.replies.answered & NOTED:
            if self.is_fatal(backend, memmem(message, min(total, chunk.size - chunk.at), b"\0C57014", 7) != NULL):
                return False
            backend.heard = bytearray(chunk.data[chunk.at:chunk.at + min(total, chunk.size - chunk.at)])
        return True

    cdef Verdict heed_aside(self, Backend backend, Chunk *chunk, uint32_t total) except? MISMATCH:
        """What a backend may say at any moment. Of what our own requests bring about the client hears nothing."""
        if chunk.data[chunk.at] == c"A":
            if backend.traces & LISTENING:
                backend.overheard = backend.overheard or []
                backend.overheard.append(chunk.data[chunk.at:chunk.at + total])
            return SWALLOW                   # else notifications come by way of the listening backend
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
            if client.pins or rest_of(client.mode, backend.status) == KEEP \
                    or (backend.recalled or client.reserved_until_us) and self.stays_reserved(client, backend):
                self.keep_backend(client, backend)
                if client.terminated:
                    self.see_out(client)
                return 0
        if backend.borrowed is not None:
            return self.close_borrowed(backend)
        if client is not None:
            self.part(client, backend)
        if backend.cancels:
            self.settle(backend)             # not before they have been carried out
        elif client is not None and not backend.soiled and backend.cleaning is None and self.is_audit_due(client):
            self.audit(client, backend)
        elif needs_cleaning(backend):
            self.choose_cleaning(backend)
            self.clean(backend)
        else:
            self.settle(backend)
        if client is not None:
            if client.terminated:
                self.see_out(client)
            elif client.phase == IDLE and (client.readable or length(&client.held)):
                self.proceed(client)
        return 0

    cdef int choose_cleaning(self, Backend backend) except -1:
        """What is to be run before the next client has it."""
        if backend.soiled:
            backend.cleaning = b"DISCARD ALL"
        elif backend.unsettled and backend.cleaning is None:
            backend.cleaning = UNSETTING
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
