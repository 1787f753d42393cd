# cython: boundscheck=False, wraparound=False
"""How a client and its backend part before their time: who leaves, who is sent off, which backend is given up.

A client can go in the middle of anything. What it leaves is brought back clean where PostgreSQL can be asked to
(a Sync, a ROLLBACK, a CopyFail), and closed where it cannot: half a message sent, half a message received.
"""
from libc.stdint cimport uint64_t

from pgmux.protocol.replies cimport OURS, expect, is_settled, needs_sync
from pgmux.relay.buffer cimport clear, length
from pgmux.relay.endpoint cimport Backend, Client, GONE, IDLE, LEAVING, PARKED
from pgmux.relay.sockets cimport close
from pgmux.session.modes cimport SESSION

LINGER_US = 2_000_000            # a client that was told why it must go has so long to read it
ORPHAN_US = 10_000_000           # a backend whose client vanished has so long to come clean
cdef uint64_t NEVER = 1 << 62     # a backend whose client said Terminate has as long as its query takes


cdef class Parting(Carrying):
    """Ends, good and bad."""

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
