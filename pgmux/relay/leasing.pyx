# cython: boundscheck=False, wraparound=False
"""Who has which backend: acquire, park, settle, hand on, retire.

One rule stands above all: *no socket of a backend is read or written without its lease*.
Everything here keeps three things in step: the lease word in shared memory (the truth), the
Backend object of this worker (its descriptor, and whose conversation it carries), and the
lobby where this worker's clients wait.

Descriptors travel: a backend opened by one worker reaches the others by their mailboxes, so
a lease may arrive before its socket. Such a backend is `awaited`: leased, but nothing is sent
until `Relay.adopt_socket` brings the descriptor. The generation tells one socket of a slot
from the next.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport begin
from pgmux.relay.buffer cimport clear, length
from pgmux.relay.endpoint cimport Backend, Client, IDLE, LEASED, Lobby, NO_ERRAND, PARKED
from pgmux.relay.poller cimport BACKEND, EDGES
from pgmux.relay.sockets cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SHUT_WR, close, recv, send, shutdown,
)
from pgmux.shm.atomics cimport exchange, load, lowest_bit
from pgmux.shm.counters cimport observe
from pgmux.shm.leases cimport GRANTED, is_held, pool_of
from pgmux.shm.pools cimport NO_SLOT
from pgmux.shm.waiters cimport NO_TICKET
from pgmux.shm.workers cimport LOOK_FOR_GRANTS, LOOK_INTO_INBOX

cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(object dictionary)     # without the call that len() is

cdef const char *TERMINATE = b"X\0\0\0\4"
cdef enum:
    TERMINATE_BYTES = 5


cdef class Leasing(Poller):
    """This worker's hold on the shared backends. The bytes are Exchange's affair."""

    cdef bint may_move(self, Client client) noexcept:
        """Whether a client is between two transactions, with nothing of either in our memory: all that is left of
        it is its session, and what has come since lies in its socket, for whoever serves it."""
        return (client.phase == IDLE and client.lobby is not None and client.backend is None and not client.stays
                and not client.remain and not client.carried and not client.wanted
                and not client.dropping and not client.skipping and not client.terminated
                and not length(&client.held) and not length(&client.out)
                and client.deferred is None and not client.failed
                and client.channels is None and client.pending is None and not client.overrun)

    cdef bint acquire(self, Client client) except -1:
        """Whether the client has a backend now; otherwise it is parked."""
        cdef Lobby lobby = client.lobby
        cdef int32_t slot
        cdef Backend backend
        cdef uint32_t heir
        cdef uint64_t age_us
        if lobby.waiting == 0 and (self.pools.waiters.is_empty(lobby.pool)
                                   or self.pools.waiters.head(lobby.pool, &heir, 0, &age_us) == NO_TICKET):
            while True:
                slot = self.pools.take(lobby.pool, self.worker, self.favourite_of(client)) \
                    if not self.roams or client.recalls_now \
                    else self.pools.take_other(lobby.pool, self.worker, client.last_slot)
                if slot == NO_SLOT:
                    break
                backend = self.backends[slot]
                if self.is_usable(backend):
                    self.attach(client, backend)
                    return True
        self.park(client)
        return client.phase == LEASED

    cdef inline int32_t favourite_of(self, Client client) noexcept:
        """The slot that would serve the client best: the one that this worker let go last, which is warm; but where
        its settings are not the client's, the client's own last one, which may have them yet, and more of it."""
        cdef int32_t last = client.lobby.favourite
        if client.last_slot >= 0 and (last < 0 or client.recalls_now
                                      or self.pools.baggage.slots[last].settings_digest != client.digest):
            return client.last_slot
        return last

    cdef int park(self, Client client) except -1:
        """Join the queue, then look once more: a backend freed in between saw no waiter."""
        cdef Lobby lobby = client.lobby
        cdef int32_t slot
        self.enter(client, PARKED)
        client.ticket = self.pools.waiters.park(lobby.pool, self.worker, client.since_us)
        lobby.append(client)
        self.counters[lobby.pool].waits += 1
        slot = self.pools.take(lobby.pool, self.worker, lobby.favourite)
        if slot != NO_SLOT:
            self.serve_lobby(slot)
        elif client.ticket == NO_TICKET:
            self.news.append(("queue full", client))
        if client.phase == PARKED and not lobby.asked:
            lobby.asked = True
            self.news.append(("wanted", lobby.pool))
        return 0

    cdef int unpark(self, Client client) except -1:
        """Leave the queue. If a grant is on its way already, check_inbox passes it on."""
        client.lobby.remove(client)
        if client.ticket != NO_TICKET:
            self.pools.waiters.leave(client.lobby.pool, client.ticket)
            client.ticket = NO_TICKET
        return 0

    cdef int serve_lobby(self, uint32_t slot) except -1:
        """A slot was just leased to us: to whoever may be served first, here or elsewhere."""
        cdef Backend backend = self.backends[slot]
        if self.is_usable(backend):
            self.hand_on(backend)
        return 0

    cdef int serve_granted(self, uint32_t slot) except -1:
        """A slot was granted to us, and a ticket of ours is no longer queued: it is for our first client.

        It must not be passed on while somebody waits here, or that client would wait without a ticket.
        """
        cdef Backend backend = self.backends[slot]
        cdef Client client = self.lobby_of(pool_of(self.pools.leases.word(slot))).first
        if client is None:
            return self.serve_lobby(slot)        # it has left, or was served by another backend
        if self.is_usable(backend):
            self.unpark(client)
            self.attach(client, backend)
            return self.resume(client)
        return self.renew_ticket(client)

    cdef int renew_ticket(self, Client client) except -1:
        """See to it that a parked client's ticket is in the queue: the grant for it came to nothing."""
        cdef Lobby lobby = client.lobby
        cdef int32_t slot
        if self.pools.waiters.is_waiting(lobby.pool, client.ticket):
            return 0
        client.ticket = self.pools.waiters.park(lobby.pool, self.worker, client.since_us)
        slot = self.pools.take(lobby.pool, self.worker, lobby.favourite)
        if slot != NO_SLOT:
            self.serve_lobby(slot)
        return 0

    cdef bint fetch(self, Backend backend, uint64_t generation) except -1:
        """Its socket has not come yet: it is awaited."""
        self.drop_socket(backend)
        backend.generation = generation
        backend.awaited = True
        self.news.append(("fetch", backend.slot))
        return True

    cdef bint watch_again(self, Backend backend) except -1:
        """Watch a socket that was not in our epoll, if it lives."""
        cdef char first
        cdef ssize_t size = recv(backend.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT)
        if size == 0 or size == 1 and first == c"E":
            self.retire(backend, False)
            return False
        self.watch(backend.fd, BACKEND, backend.slot, backend.serial, EDGES)
        backend.watched = True
        return True

    cdef int count_wait(self, Client client) except -1:
        client.waited_us = self.now - client.since_us
        self.counters[client.lobby.pool].wait_us += client.waited_us
        observe(self.counters[client.lobby.pool].wait, client.waited_us)
        if self.log_wait_us and client.waited_us >= self.log_wait_us:
            self.sample("waited", client, client.waited_us)
        return 0

    cdef inline void detach(self, Client client) noexcept:
        client.backend.client = None
        client.backend = None
        client.reserved_until_us = 0
        client.row.slot = -1

    cdef int part(self, Client client, Backend backend) except -1:
        """The client's transaction is over, and so is its lease."""
        self.detach(client)
        self.count_transaction(client, backend)
        self.enter(client, IDLE)
        if client.pending is not None:
            self.deliver(client)
        return 0

    cdef inline void count_transaction(self, Client client, Backend backend) noexcept:
        self.counters[backend.pool].transactions += 1
        self.counters[backend.pool].transaction_us += self.now - client.since_us
        observe(self.counters[backend.pool].transaction, self.now - client.since_us)
        client.row.transactions += 1
        client.row.statements = 0 if client.names is None else PyDict_GET_SIZE(client.names)

    cdef int settle(self, Backend backend) except -1:
        """The lease has served its purpose and the backend is clean: on to the next."""
        backend.orphaned = False
        if backend.cancels:                 # a cancel on its way would hit the next client's query
            backend.orphaned = True
            backend.deadline_us = self.now + CLOSE_WITHIN_US
            return 0
        if backend.row.expires_s and backend.row.expires_s < self.now // 1_000_000:
            return self.retire(backend, True)
        return self.hand_on(backend)

    cdef inline int hand_on(self, Backend backend) except -1:
        """To a client of our own that may be served first, else to whom the queue says, else to nobody."""
        cdef Lobby lobby = self.lobby_of(backend.pool)
        cdef Client client = lobby.first
        if not self.has_lease(backend):
            self.news.append(("handed on twice", backend.slot))     # who has it now must not share it
            return 0
        if backend.private:                 # the one way to FREE and GRANTED: no private backend takes it
            return self.retire(backend, True)
        if backend.tls is not None and not self.pools.waiters.is_empty(lobby.pool) and self.homes.is_owed(
                backend.slot, self.worker, self.now if client is None else client.since_us, self.now):
            return self.retire(backend, True)   # no other worker can use it: see shm/homes.pyx
        if client is not None and (self.pools.serves_own(lobby.pool, self.worker, self.now)
                                   if backend.tls is None else self.homes.serves_ours(lobby.pool)):
            self.unpark(client)
            self.attach(client, backend)
            return self.resume(client)
        lobby.favourite = backend.slot
        backend.awaited = False                 # by nobody here: whoever has the lease next sees to the socket
        backend.row.released_at_us = self.now
        if not self.pools.waiters.is_empty(lobby.pool):
            self.counters[lobby.pool].handovers += 1
        self.pools.release(backend.slot, self.worker)
        return 0

    cdef int retire(self, Backend backend, bint politely) except -1:
        """Close a backend we have leased. Its slot is free for another once PostgreSQL has ended it."""
        if not self.pools.shut(backend.slot, self.worker):
            return 0
        if backend.generation + 1 != self.pools.generation(backend.slot):
            self.drop_socket(backend)           # its predecessor's: the slot's own has not come yet
        backend.closing = True
        backend.orphaned = backend.at_rest = False      # it is settled no more: nobody may get it
        backend.deadline_us = self.now + CLOSE_WITHIN_US
        if backend.fd < 0:
            self.news.append(("fetch", backend.slot))
            return 0
        return self.end_connection(backend, politely)

    cdef int end_connection(self, Backend backend, bint politely) except -1:
        """Have PostgreSQL end the connection of a slot that is CLOSING and ours; `bury` when it has."""
        backend.generation = self.pools.generation(backend.slot)
        self.fire()
        if backend.tls is not None:
            if not length(&backend.out):
                backend.tls.part(backend.fd, TERMINATE, TERMINATE_BYTES if politely else 0)
            backend.tls = None                  # what still comes is not looked at: the end is when PostgreSQL closes
        elif politely and not backend.row.home:
            send(backend.fd, TERMINATE, TERMINATE_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL)
        shutdown(backend.fd, SHUT_WR)
        if not backend.watched:
            self.watch(backend.fd, BACKEND, backend.slot, backend.serial, EDGES)
            backend.watched = True
        return 0

    cdef int bury(self, Backend backend) except -1:
        """PostgreSQL has ended the connection of a slot that is CLOSING and ours."""
        self.counters[backend.pool if backend.pool >= 0 else 0].backends_closed += 1
        self.drop_socket(backend)
        backend.closing = False
        self.pools.clear(backend.slot, self.worker)
        return 0

    cdef int drop_socket(self, Backend backend) except -1:
        if backend.fd >= 0:
            self.fire()
            if backend.watched:
                self.unwatch(backend.fd)
            close(backend.fd)
        backend.fd = -1
        backend.tls = None
        backend.serial += 1
        backend.watched = backend.readable = backend.hung_up = backend.broken = backend.awaited = False
        backend.private = False
        backend.at_rest = backend.closing = backend.orphaned = False
        backend.remain = 0
        backend.carried = 0
        backend.cancels = 0
        clear(&backend.out)
        begin(&backend.replies)
        backend.notes.clear()
        backend.inflight.clear()
        backend.wavering.clear()
        backend.returning = False
        backend.borrowed = backend.heard = backend.cleaning = None
        backend.touched = backend.returned = backend.unlistened = None
        backend.traces = 0
        backend.touched_any = backend.unlistened_all = backend.undone = backend.mishap = False
        backend.soiled = backend.unsettled = False
        backend.errand = NO_ERRAND
        backend.finished = 0
        clear(&backend.stash)
        clear(&backend.record)
        backend.recorded = backend.audited = None
        backend.is_first = backend.is_spared = False
        return 0

    cdef int check_inbox(self) except -1:
        """Pick up what was granted to us; pass on what nobody here waits for any more."""
        cdef uint32_t word, slot
        cdef uint64_t bits, errands
        if not load(&self.pools.workers.records[self.worker].errands):
            return 0
        # Taken first, looked at afterwards: an errand asked meanwhile stays.
        errands = exchange(&self.pools.workers.records[self.worker].errands, 0)
        if errands & LOOK_FOR_GRANTS:
            for slot in range(self.pools.leases.count):
                if is_held(self.pools.leases.word(slot), GRANTED, self.worker) \
                        and self.pools.accept(slot, self.worker):
                    self.serve_granted(slot)
        for word in range(self.pools.words if errands & LOOK_INTO_INBOX else 0):
            bits = exchange(&self.pools.workers.inboxes[self.worker * self.pools.words + word], 0)
            while bits:
                slot = word * 64 + lowest_bit(bits)
                bits &= bits - 1
                if self.pools.accept(slot, self.worker):
                    self.serve_granted(slot)
        if errands & ~<uint64_t>LOOK_INTO_INBOX:
            self.news.append(("errands", errands))
        return 0

    cdef int resume(self, Client client) except -1:
        """Go on with what the client had asked before it had a backend. Exchange's."""
        raise NotImplementedError

    cdef int fire(self) except -1:
        """Make the sends that are still to be made. Streams'."""
        raise NotImplementedError

    cdef int deliver(self, Client client) except -1:
        """Hand over the notifications that were kept for the client. Relay's."""
        raise NotImplementedError

    cdef Lobby furnish(self, uint32_t pool):
        """The lobby of a pool that has had none here."""
        self.lobbies[pool] = Lobby(pool)
        return self.lobbies[pool]

    cdef int sample(self, str word, Client client, uint64_t took_us) except -1:
        """Have the worker log something that took long: a few each second, the others are only counted."""
        if self.samples_left:
            self.samples_left -= 1
            self.news.append((word, (client, took_us)))
        else:
            self.samples_missed += 1
        return 0
