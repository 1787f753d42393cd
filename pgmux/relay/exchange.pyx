# cython: boundscheck=False, wraparound=False
"""The bytes between a client and the backend it has leased: what the client asks. Answers are replying.pyx.

A chunk is read into one buffer that all sockets of the worker share, its messages are framed
by their headers alone, and the run of bytes is sent on from where it lies: a body is never
copied unless the other side does not take it at once. What it does not take (at most one
chunk) is kept, and nothing more is read from the first until it has gone: a result of a
gigabyte costs 64 kB.
"""
from libc.stdint cimport uint8_t, uint32_t

from pgmux.protocol.replies cimport expect, expect_query, has_turns, is_extended
from pgmux.relay.asking cimport DEFERRED
from pgmux.relay.buffer cimport Buffer, append, clear, length
from pgmux.relay.endpoint cimport (
    Backend, Client, HEADER_BYTES, IDLE, LEASED, LEAVING, LONGEST_MESSAGE, READS_A_TURN,
)
from pgmux.relay.naming cimport DROP, MORE, PASS, STOP, Step, TAKEN, WAIT
from pgmux.relay.sockets cimport big_endian
from pgmux.relay.streams cimport Chunk, carry
from pgmux.session.modes cimport SESSION, STATEMENT
from pgmux.session.traces cimport DISCARDING, NAMES, RECALLING, SETTINGS, UNSEEN, find_traces

cdef enum:
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


cdef class Exchange(Replying):
    """Requests one way, replies the other. Relay feeds it with events."""

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
            size = self.read_chunk(client, &data)
            if size == 0:
                return self.vanish(client, False)
            if size < 0:
                return 0
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
                step = min(<size_t>message + 1, size - chunk.at)
                client.remain = <size_t>message + 1 - step
                chunk.at += step
            elif verdict == DROP:
                client.remain = <size_t>message + 1
                client.dropping = True
                self.post_requests(client.backend, &chunk)
            elif verdict != TAKEN:
                self.post_requests(client.backend, &chunk)
                return self.stop_at(client, &chunk, verdict)
        self.post_requests(client.backend, &chunk)
        carry(client, &chunk)
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
        cdef bint is_studied = IS_STUDIED[request] and (client.mode != SESSION or client.restores or request == c"Q")
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
            if is_studied and (chunk.traces or request != c"Q") or client.failed:
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
        if not backend.closing:              # else it is ours to bury, and its socket tells when
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
            backend.began_at_us = backend.request_at_us = self.now
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
            if client.restores and request in b"QPBE":
                return self.study_session(client, backend, chunk, total)
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
        if is_extended(request):
            backend.unsynced = True
            if request == c"P":
                return self.study_parse(client, backend, chunk, total)
            if request == c"B":
                return self.study_bind(client, backend, chunk, total)
            if request == c"D":
                return self.study_describe(client, backend, chunk, total)
            if request == c"C":
                return self.study_close(client, backend, chunk, total)
            if backend.poised or backend.resetting is not None:
                return self.study_execute(client, backend, chunk, total)
        elif request == c"Q":
            backend.segment += 1
            backend.unsynced = False
            if chunk.traces or client.pins:
                verdict = self.study_query(client, backend, chunk, total)
            else:                                # most of them: what it says leaves nothing behind
                self.forget_unnamed(client, backend)
                expect_query(&backend.replies)
                verdict = PASS
            backend.segment += 1
            return verdict
        elif request == c"F":
            backend.segment += 1
        elif request == c"H" and backend.replies.noted:
            self.fake_replies(client, backend)
        expect(&backend.replies, request)
        return PASS

    cdef inline Step read_on(self, Client client, Chunk *chunk, uint32_t total, uint8_t request) except? STOP:
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

    cdef uint8_t status_of(self, Client client) noexcept:
        """The status that a client without a backend is in."""
        return c"E" if client.failed else c"I" if client.deferred is None else c"T"
