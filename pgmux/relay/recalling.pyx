# cython: boundscheck=False, wraparound=False
"""What a session may recall of its sequences: lastval() and currval().

PostgreSQL keeps the values that a session took last in the backend, and nothing can bring them to another. So each
backend's baggage says whose they are (`recaller`), and what is told is the client's own last value, or PostgreSQL's
"not yet defined in this session" (55000); never another client's value, and none of its own that is not the last.

They are a client's when there were none as its first transaction came there, and since then all transactions on the
backend were the client's and all of the client's were on the backend. Where they are not, they are taken away
(DISCARD SEQUENCES, in front of the text that asks and without a round trip of its own), and then they are.

An application asks in the transaction of its INSERT, or in the one after it: PDO's lastInsertId() does. So from the
first time on that a client of a pool has asked, they are taken away in front of each text there that may advance a
sequence, which gives the client its own; and when that transaction is over the backend stays *reserved* for the
client for a moment. Who has not asked in it is not waited for again.

In a pool where nobody has asked yet they are as PostgreSQL left them after an INSERT of the same transaction: the
INSERT has set them, as a rule.
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.endpoint cimport Backend, Client, REJECT
from pgmux.relay.preparing cimport FORGOTTEN
from pgmux.relay.streams cimport Chunk
from pgmux.session.traces cimport RECALLING
from pgmux.shm.baggage cimport NOBODY, SEVERAL

from pgmux.session.inquiry import Pin

cdef uint32_t LAST_VALUE = Pin.LAST_VALUE
cdef bytes DISCARD = b"DISCARD SEQUENCES"

cdef inline uint64_t token_of(Client client) noexcept:
    """Tells a session from all others while it lasts, in every worker; never NOBODY or SEVERAL."""
    return (<uint64_t>client.record + 1) << 32 | client.row.serial


cdef class Recalling(Asking):
    """The last values of sequences on a worker's backends."""

    def __cinit__(self):
        self.reserving = set()

    cdef void follow(self, Client client, Backend backend) noexcept:
        """The client's transaction begins: whose the last values on the backend are now."""
        cdef uint64_t *recaller = &self.pools.baggage.slots[backend.slot].recaller
        if recaller[0] == NOBODY:
            recaller[0] = token_of(client)
        elif not backend.follows or recaller[0] != token_of(client):
            recaller[0] = SEVERAL
        backend.follows = True

    cdef int recall(self, Client client, Backend backend, Chunk *chunk, uint32_t traces) except -1:
        """A text is about to be executed that may advance sequences, or ask for their last values."""
        if backend.status == c"E" or not self.note_recall(client, backend, traces):
            return 0
        self.cut_requests(chunk, 0)
        if not backend.unsynced:
            self.put_query(backend, DISCARD)
        elif not self.put_execution(backend, DISCARD):
            return 0
        backend.notes.append((FORGOTTEN, None, None, None))
        self.pools.baggage.slots[backend.slot].recaller = token_of(client)
        return 0

    cdef bint note_recall(self, Client client, Backend backend, uint32_t traces) except -1:
        """Whether the last values are to be taken away first."""
        if traces & RECALLING:
            self.expect_recall(client, backend)
        elif not self.pools.records[backend.pool].recalls:
            backend.advanced = True
            return False
        backend.recalled = client.recall != IN_VAIN
        if traces & RECALLING and backend.advanced:
            return False
        return self.pools.baggage.slots[backend.slot].recaller != token_of(client)

    cdef int expect_recall(self, Client client, Backend backend) except -1:
        """The client asks, or has prepared to."""
        client.recall = ASKS
        if not self.pools.records[backend.pool].recalls:
            self.pools.records[backend.pool].recalls = True
            self.news.append(("recalls", backend.pool))
        return 0

    # --- for a moment the backend is kept

    cdef bint stays_reserved(self, Client client, Backend backend) except -1:
        """The client's transaction is over. Whether it keeps its backend all the same."""
        if backend.recalled and not client.terminated:
            backend.recalled = False
            return self.reserve(client, backend)
        if self.now < client.reserved_until_us and not client.terminated:
            return True
        if client.reserved_until_us:
            self.release(client, backend)
        return False

    cdef bint reserve(self, Client client, Backend backend) except -1:
        """Keep the backend, unless as many as may be are pinned already: then the client may have asked too late."""
        if not client.reserved_until_us:
            if not self.reserves_for_us or client.lobby.on_pin == REJECT \
                    or self.count_pinned(backend) >= client.lobby.most_pinned:
                return False
            self.counters[backend.pool].pins += 1
        client.reserved_until_us = self.now + self.reserves_for_us
        self.pools.slots[backend.slot].pins |= LAST_VALUE
        if not self.reserving:
            self.next_release_us = client.reserved_until_us
        self.reserving.add(client)
        return True

    cdef int release(self, Client client, Backend backend) except -1:
        if client.recall == UNTRIED:
            client.recall = IN_VAIN                  # it was waited for in vain, and is not waited for again
        client.reserved_until_us = 0
        self.pools.slots[backend.slot].pins &= ~LAST_VALUE
        return 0

    cdef int end_reservations(self) except -1:
        """Those whose time is over."""
        cdef Client client
        cdef Backend backend
        self.next_release_us = self.now + self.reserves_for_us
        for client in list(self.reserving):
            if client.reserved_until_us > self.now:
                self.next_release_us = min(self.next_release_us, client.reserved_until_us)
                continue
            self.reserving.discard(client)
            if not client.reserved_until_us:
                continue                             # it has left its backend
            backend = client.backend
            self.release(client, backend)
            if backend.at_rest:
                self.settle_if_due(backend)
        return 0

    cdef uint64_t until_release(self, uint64_t patience_us) noexcept:
        """How long to wait for an event: at most until a reservation ends."""
        if not len(self.reserving):
            return patience_us
        return min(patience_us, self.next_release_us - self.now) if self.now < self.next_release_us else 0
