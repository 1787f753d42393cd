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
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pgmux.protocol.replies cimport MISMATCH, expect, is_settled, match, needs_sync
from pgmux.relay.buffer cimport Buffer, append, clear, length
from pgmux.relay.endpoint cimport (
    Backend, CARRY_BYTES, Client, GONE, HEADER_BYTES, IDLE, LEASED, LEAVING, PARKED,
)
from pgmux.relay.sockets cimport SHUT_WR, big_endian, close, shutdown
from pgmux.shm.counters cimport observe

LINGER_US = 2_000_000            # a client that was told why it must go has so long to read it
ORPHAN_US = 10_000_000           # a backend whose client vanished has so long to come clean
cdef uint64_t NEVER = 1 << 62     # a backend whose client said Terminate has as long as its query takes

cdef enum:
    READS_A_TURN = 8              # chunks of one socket before the others have their turn
    LONGEST_MESSAGE = 0x3FFFFFFF  # PostgreSQL's own limit (MaxAllocSize)
    READY_BYTES = 6               # of a ReadyForQuery

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

cdef const char *READY = b"Z\0\0\0\5I"


cdef class Exchange(Streams):
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
            if client.terminated or length(&client.out):
                return 0
            if client.backend is not None and (length(&client.backend.out) or client.backend.awaited
                                               or client.backend.broken):
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
            self.take_requests(client, data, size)
        if client.readable:
            self.queue(client)
        return 0

    cdef int take_requests(self, Client client, const char *data, size_t size) except -1:
        """Frame the client's messages and send on, drop or hold them."""
        cdef size_t at = 0, run = 0, step
        cdef uint32_t message
        cdef Step verdict
        while at < size:
            if client.remain:
                step = min(client.remain, size - at)
                at += step
                client.remain -= step
                if client.dropping:
                    run = at
                    client.dropping = client.remain > 0
                continue
            if size - at < HEADER_BYTES:
                break
            message = big_endian(<const uint8_t *>data + at + 1)
            verdict = self.judge(client, data[at]) if 4 <= message <= LONGEST_MESSAGE else STOP
            if verdict == PASS:
                client.remain = <size_t>message + 1
                continue
            if run < at:
                self.send_to_backend(client.backend, data + run, at - run)
                run = at
            if verdict == DROP:
                client.remain = <size_t>message + 1
                client.dropping = True
            elif verdict == WAIT:
                append(&client.held, data + at, size - at)
                return 0
            elif REQUESTS[<uint8_t>data[at]] == TERMINATE:
                return self.terminate(client)
            else:
                return self.dismiss(client, self.desk.malformed(chr(<uint8_t>data[at])))
        if run < at:
            self.send_to_backend(client.backend, data + run, at - run)
        client.carried = size - at
        memcpy(client.carry, data + at, client.carried)
        if client.backend is not None and client.backend.at_rest:
            self.settle_if_due(client.backend)
        return 0

    cdef Step judge(self, Client client, uint8_t request) except? STOP:
        """What becomes of a message of the client's, by its type; the message at hand is its first byte."""
        cdef Request kind = <Request>REQUESTS[request]
        cdef Backend backend
        if kind == TERMINATE or kind == ILLEGAL:
            return STOP
        if client.skipping:
            if kind == SYNC:
                client.skipping = False
                self.send_to_client(client, READY, READY_BYTES)
            return DROP
        if client.phase == IDLE:
            if kind == SYNC:
                self.send_to_client(client, READY, READY_BYTES)
            if kind != WORK:
                return DROP
            if not self.acquire(client):
                return WAIT
        backend = client.backend
        if backend.awaited:
            return WAIT
        if backend.at_rest and (kind == NUDGE or kind == COPYING):
            return DROP                      # PostgreSQL ignores them too, and would not answer
        if backend.replies.count == 0:
            backend.request_at_us = self.now
        backend.at_rest = False
        expect(&backend.replies, request)
        return PASS

    cdef int resume(self, Client client) except -1:
        """The client has a backend now: send on what it had asked."""
        cdef Buffer held = client.held
        if client.backend is not None and client.backend.awaited:
            return 0
        client.held.data = NULL
        clear(&client.held)
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
            self.take_replies(backend, data, size)
        if backend.readable:
            self.queue(backend)
        return 0

    cdef int take_replies(self, Backend backend, const char *data, size_t size) except -1:
        """Frame the backend's messages, match each with what was asked, pass them on."""
        cdef size_t at = 0, step
        cdef uint32_t message
        cdef Client client = backend.client
        cdef bint in_step = True
        while at < size:
            if backend.remain:
                step = min(backend.remain, size - at)
                at += step
                backend.remain -= step
                continue
            if size - at < HEADER_BYTES or data[at] == c"Z" and size - at < READY_BYTES:
                break
            message = big_endian(<const uint8_t *>data + at + 1)
            in_step = 4 <= message <= LONGEST_MESSAGE and self.heed(
                backend, data[at], data[at + HEADER_BYTES] if data[at] == c"Z" else 0)
            if not in_step:
                break
            backend.remain = <size_t>message + 1
        if client is not None and at:
            self.counters[backend.pool].bytes_sent += at
            self.send_to_client(client, data, at)
        if not in_step:
            return self.lose(backend, False)
        backend.carried = size - at
        memcpy(backend.carry, data + at, backend.carried)
        if backend.at_rest:
            self.settle_if_due(backend)
        elif client is not None and client.terminated and is_settled(&backend.replies):
            self.see_out(client)                 # all is answered, and its transaction is still open
        return 0

    cdef int heed(self, Backend backend, uint8_t reply, uint8_t status) except -1:
        """Note what a reply means. False = it answers nothing that was asked."""
        cdef uint64_t took
        if match(&backend.replies, reply) == MISMATCH or reply == c"E" and backend.at_rest:
            return False                     # at rest, an error announces the backend's end and is nobody's
        if reply == c"N" or reply == c"S" or reply == c"A":
            return True                      # at any moment, and part of nothing
        backend.last_reply = reply
        backend.at_rest = False
        if reply == c"G" and (backend.orphaned or backend.client is not None and backend.client.terminated):
            self.send_copy_fail(backend)
        if reply != c"Z":
            return True
        backend.status = status
        self.counters[backend.pool].queries += 1
        took = self.now - backend.request_at_us
        self.counters[backend.pool].query_us += took
        observe(self.counters[backend.pool].query, took)
        if self.log_query_us and took >= self.log_query_us and backend.client is not None:
            self.sample("slow", backend.client, took)
        if is_settled(&backend.replies):
            if status == c"I":
                backend.at_rest = True
            elif backend.orphaned:
                self.send_rollback(backend)
        else:
            backend.request_at_us += took
            if backend.orphaned and backend.deadline_us != NEVER:
                self.ask_cancel(backend)             # it goes on with the next of a pipeline
        return True

    cdef int settle_if_due(self, Backend backend) except -1:
        """The transaction's end, if nothing of it is left anywhere: no reply owed, none half received or
        still readable, no request half sent."""
        if not backend.at_rest or backend.readable or backend.remain or backend.carried or length(&backend.out):
            return 0
        cdef Client client = backend.client
        if client is not None and client.remain and not client.dropping:
            return 0
        self.settle(backend)
        if client is not None and client.terminated:
            self.see_out(client)
        return 0

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
        if request == c"Q" or request == c"F":
            client.remain = big_endian(<uint8_t *>client.held.data + client.held.start + 1) + 1
            client.dropping = True
            self.send_to_client(client, READY, READY_BYTES)
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
        self.send_to_client(client, last_words, len(last_words))
        if backend is not None:
            self.detach(client)
            self.orphan(backend, client.remain > 0 and not client.dropping, False)
        clear(&client.held)
        self.enter(client, LEAVING)
        client.deadline_us = client.since_us + LINGER_US
        self.news.append(("leaving", client))
        if not length(&client.out):
            shutdown(client.fd, SHUT_WR)
        if client.readable:
            self.queue(client)
        return 0

    cdef int terminate(self, Client client) except -1:
        """The client said Terminate. What it asked before is done and answered first, as PostgreSQL does."""
        cdef Backend backend = client.backend
        if (backend is None or is_settled(&backend.replies) or needs_sync(&backend.replies)
                or backend.replies.copying):
            return self.vanish(client, True)     # nothing more is answered without more from the client
        client.terminated = True
        return 0

    cdef int see_out(self, Client client) except -1:
        """All that a client asked before its Terminate is answered: close, once it has taken the answers."""
        return self.dismiss(client, b"") if length(&client.out) else self.vanish(client, True)

    cdef int vanish(self, Client client, bint politely) except -1:
        """The client is gone (politely: it said Terminate, and what it asked before is still to be done)."""
        cdef Backend backend = client.backend
        if client.phase == GONE:
            return 0
        client.terminated |= politely and client.phase != LEAVING
        if client.phase == PARKED:
            self.unpark(client)
        if backend is not None:
            self.detach(client)
            self.orphan(backend, client.remain > 0 and not client.dropping, politely)
        clear(&client.held)
        clear(&client.out)
        close(client.fd)
        client.fd = -1
        self.enter(client, GONE)
        self.news.append(("gone", client))
        return 0

    cdef int orphan(self, Backend backend, bint midway, bint politely) except -1:
        """Its client left in the middle: bring the backend back clean, or close it when that cannot be done."""
        if backend.awaited:
            return self.settle(backend)      # nothing was ever sent
        if midway or backend.broken or length(&backend.out):
            self.ask_cancel(backend)
            return self.retire(backend, False)
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

    cdef int send_copy_fail(self, Backend backend) except -1:
        """Nobody is left to send the data of a COPY: have it fail, and where it was begun by Execute, end."""
        expect(&backend.replies, c"f")
        self.send_to_backend(backend, b"f\0\0\0\x05\0", 6)
        return self.send_sync(backend) if needs_sync(&backend.replies) else 0

    cdef int send_rollback(self, Backend backend) except -1:
        expect(&backend.replies, c"Q")
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
        cdef bint is_over = backend.at_rest and (client is None or not client.remain or client.dropping)
        self.news.append(("lost" if is_gone else "out of step", backend.slot))
        if client is not None:
            self.detach(client)
            if is_over:
                self.enter(client, IDLE)
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
