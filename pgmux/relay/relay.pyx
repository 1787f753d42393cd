# cython: boundscheck=False, wraparound=False
"""The relay, as its worker sees it: what may be asked of it, and what it is asked once in a while.

Called by the worker's greenlets between two runs of the loop, or by its desk from inside one;
never does any of it block. Each call takes the time once, as the loop does for each event.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport Backend, Client, IDLE, LOGIN, Lobby, PARKED
from pgmux.relay.leasing cimport CLOSE_WITHIN_US
from pgmux.relay.loop cimport Loop
from pgmux.relay.sockets cimport close
from pgmux.shm.atomics cimport now_us
from pgmux.shm.leases cimport (
    CLOSING, FREE, LEASED as SLOT_LEASED, TAKE, generation_of, is_held, phase_of, pool_of,
)
from pgmux.shm.pools cimport NO_SLOT


cdef class Relay(Loop):
    """One worker's relay. `news` says what it cannot do by itself; see Loop for the events."""

    def say(self, Client client, bytes data):
        """Send bytes of our own to a client that is logging in, or waits for a backend."""
        self.send_to_client(client, data, len(data))

    def keep_waiting(self, Client client, bytes data):
        """The client is who it says, but its pool has no backend yet: nothing is read until it is admitted."""
        if data:
            self.send_to_client(client, data, len(data))
        client.expecting = True

    def admit(self, Client client, uint32_t pool, uint32_t secret, str application_name, bytes greeting, bytes rest):
        """The log-in is done: `greeting` ends in ReadyForQuery, `rest` is what came after the log-in.

        `secret` is the key that the client's cancel requests will carry, with its record + 1 as the pid.
        """
        self.now = now_us()
        if client.phase != LOGIN:
            return                               # sent off while it waited
        self.send_to_client(client, greeting, len(greeting))
        host, port = client.address()
        self.records.admit(client.record, secret, pool, host.encode(), port,
                           application_name.encode("utf-8", "replace"))
        client.lobby = self.lobby_of(pool)
        client.login = None
        client.expecting = False
        self.logging_in.discard(client)
        self.counters[pool].logins += 1
        self.enter(client, IDLE)
        self.desk.arrived(client)
        if rest:
            self.take_requests(client, rest, len(rest))
        if client.readable:
            self.queue(client)

    def hand_over(self, Client client):
        """(descriptor, bytes not sent yet) of a client that is logging in: the caller's from now on.

        The relay forgets the client. Its record goes on, until the caller gives it back.
        """
        cdef int fd = client.fd
        self.now = now_us()
        self.unwatch(fd)
        self.enter(client, IDLE)
        unsent = client.out.data[client.out.start:client.out.start + length(&client.out)] if length(&client.out) else b""
        client.fd = -1
        client.login = None
        self.clients[client.record] = None
        self.client_count -= 1
        self.logging_in.discard(client)
        return fd, unsent

    def send_off(self, Client client, bytes last_words=b""):
        """End a client's session with an ErrorResponse."""
        self.now = now_us()
        self.dismiss(client, last_words)

    def turn_down(self, Client client, bytes error):
        """Tell a parked client that it gets no backend. Its session goes on."""
        self.now = now_us()
        if client.phase == PARKED:
            self.refuse(client, error)

    def lobby(self, uint32_t pool):
        """The pool's lobby in this worker."""
        return self.lobby_of(pool)

    def waiting_clients(self, uint32_t pool):
        """The clients parked here for a pool, longest first."""
        cdef Client client = self.lobby_of(pool).first
        found = []
        while client is not None:
            found.append(client)
            client = client.after
        return found

    def client(self, uint32_t record):
        """The client with this record, or None."""
        return self.clients[record]

    def every_client(self):
        """All clients whose sockets are open here."""
        return [client for client in self.clients if client is not None]

    def adopt_socket(self, uint32_t slot, uint64_t generation, int fd):
        """A descriptor for a slot has come, from the worker that opened it or from the vault. Takes it over."""
        cdef Backend backend = self.backends[slot]
        cdef Client client
        cdef uint64_t word = self.pools.leases.word(slot)
        cdef bint belongs = generation_of(word) == generation
        self.now = now_us()
        if is_held(word, CLOSING, self.worker):      # by CLOSE or FENCE, or both: one generation each
            belongs = backend.fd < 0 and generation_of(word) - generation <= 2
        if not belongs or backend.fd >= 0 and backend.generation == generation:
            close(fd)
            return
        if backend.fd >= 0:
            self.drop_socket(backend)
        backend.fd = fd
        backend.generation = generation
        backend.serial += 1
        if backend.closing:
            self.end_connection(backend, True)
        if not backend.awaited:
            return
        backend.awaited = False
        if not is_held(word, SLOT_LEASED, self.worker):
            return
        client = backend.client
        if not self.is_usable(backend):          # it died on the way: nothing was sent, so try another
            if client is not None:
                self.detach(client)
                self.enter(client, IDLE)
                self.resume(client)
        elif client is not None:
            self.resume(client)
        else:
            self.hand_on(backend)

    def hand_out(self, uint32_t slot):
        """A backend we have just opened: LEASED to us, its socket adopted. To whoever waits, or free."""
        self.now = now_us()
        self.serve_lobby(slot)

    def serve_waiting(self, uint32_t pool):
        """Take free backends for clients that wait here, if there are any that nobody handed out."""
        cdef Lobby lobby = self.lobby_of(pool)
        cdef int32_t slot
        self.now = now_us()
        while lobby.waiting:
            slot = self.pools.take(pool, self.worker, lobby.favourite)
            if slot == NO_SLOT:
                break
            self.serve_lobby(slot)

    def close_backend(self, uint32_t slot, bint politely=True):
        """Close a backend that is leased to us and serves nobody."""
        cdef Backend backend = self.backends[slot]
        self.now = now_us()
        backend.pool = pool_of(self.pools.leases.word(slot))
        self.retire(backend, politely)

    def bury_fenced(self, uint32_t slot):
        """A slot that is CLOSING and was left to us: wait for PostgreSQL to end it. False = already doing so."""
        cdef Backend backend = self.backends[slot]
        cdef uint64_t word = self.pools.leases.word(slot)
        self.now = now_us()
        if not is_held(word, CLOSING, self.worker) or backend.closing:
            return False
        backend.pool = pool_of(word)
        backend.closing = True
        backend.client = None
        backend.deadline_us = self.now + CLOSE_WITHIN_US
        if backend.fd < 0:
            self.bury(backend)
            return True
        self.end_connection(backend, False)
        return True

    def expect_cancel(self, uint32_t slot):
        """A cancel request is about to be sent: the backend is not leased to another before it has settled."""
        (<Backend>self.backends[slot]).cancels += 1

    def cancel_settled(self, uint32_t slot, uint64_t generation):
        """The cancel request has been carried out, or has failed."""
        cdef Backend backend = self.backends[slot]
        self.now = now_us()
        if backend.generation != generation or not backend.cancels:
            return
        backend.cancels -= 1
        if not backend.cancels and backend.at_rest and backend.client is None and backend.orphaned:
            self.settle_if_due(backend)

    def is_awaited(self, uint32_t slot):
        """Whether we have leased the slot without having its socket."""
        return bool((<Backend>self.backends[slot]).awaited)

    def is_between_transactions(self, Client client):
        """Whether the client can be sent off without breaking anything off."""
        return client.phase == IDLE or client.phase == LOGIN

    def long_waiting(self, uint64_t limit_us, uint64_t window_us):
        """[(client, microseconds waited, clients that wait before it in all workers)] of the clients parked
        here whose wait went beyond the limit in the last `window_us`."""
        cdef Client client
        cdef Lobby lobby
        self.now = now_us()
        found = []
        for lobby in self.lobbies:
            if lobby is None or lobby.first is None or self.now - lobby.first.since_us < limit_us:
                continue
            places = self.pools.waiters.places(lobby.pool, self.worker)
            client = lobby.first
            while client is not None and self.now - client.since_us >= limit_us:
                if self.now - client.since_us < limit_us + window_us:
                    found.append((client, self.now - client.since_us, places.get(client.ticket, 0)))
                client = client.after
        return found

    def pool_of(self, Client client):
        """The pool of a client that has logged in; None before."""
        return None if client.lobby is None else client.lobby.pool

    def waiting_place(self, Client client):
        """(microseconds a parked client has waited, clients that wait before it in all workers, about)."""
        return now_us() - client.since_us, max(self.pools.waiters.waiting(client.lobby.pool), 1) - 1

    def backend_of(self, Client client):
        """The slot a client has leased, or None."""
        return None if client.backend is None else client.backend.slot

    def overdue(self, uint64_t login_limit_us):
        """([clients whose log-in takes too long], [parked clients past their pool's wait limit])."""
        cdef uint64_t now = now_us()
        cdef Client client
        cdef Lobby lobby
        self.now = now_us()
        late = [client for client in self.logging_in if login_limit_us and now - client.since_us > login_limit_us]
        tired = []
        for lobby in self.lobbies:
            if lobby is None or not lobby.wait_limit_us:
                continue
            client = lobby.first
            while client is not None and now - client.since_us > lobby.wait_limit_us:
                tired.append(client)
                client = client.after
        return late, tired

    def sweep(self, uint64_t idle_limit_us):
        """What has lasted too long: leaving clients are closed, orphans and slow closers given up, sockets
        of slots that have changed dropped, backends idle beyond the limit retired. Once a second or so."""
        cdef uint64_t now, word
        cdef Client client
        cdef Backend backend
        self.now = now = now_us()
        for client in list(self.leaving):
            if now > client.deadline_us:
                self.vanish(client, True)
        for backend in self.backends:
            word = self.pools.leases.word(backend.slot)
            if backend.closing:
                if now > backend.deadline_us:
                    self.news.append(("slow to end", backend.slot))
                    self.bury(backend)
            elif backend.orphaned:
                if now > backend.deadline_us:
                    self.lose(backend, False)
            elif backend.awaited and is_held(word, SLOT_LEASED, self.worker):
                self.news.append(("fetch", backend.slot))
            elif backend.fd >= 0 and backend.generation != generation_of(word):
                self.drop_socket(backend)
            elif is_held(word, SLOT_LEASED, self.worker) and backend.client is None and not backend.awaited:
                self.news.append(("stray", backend.slot))
                self.retire(backend, False)
            elif phase_of(word) == FREE and self.pools.slots[backend.slot].last_owner == self.worker:
                self.retire_if_idle(backend, word, idle_limit_us)

    cdef int retire_if_idle(self, Backend backend, uint64_t word, uint64_t idle_limit_us) except -1:
        """Close a FREE backend that is too old or too long unused, or whose pool the operator has paused."""
        cdef bint is_old = 0 < self.pools.slots[backend.slot].expires_s < self.now // 1_000_000
        cdef int64_t idle_us = <int64_t>(self.now - self.pools.slots[backend.slot].released_at_us)
        cdef bint is_idle = 0 < <int64_t>idle_limit_us < idle_us
        cdef bint is_paused = self.pools.pauses(pool_of(word))
        if not is_old and not is_idle and not is_paused:
            return 0
        if self.pools.leases.move(backend.slot, word, TAKE, self.worker, pool_of(word)):
            self.pools._clear_free(pool_of(word), backend.slot)
            if self.is_usable(backend):
                self.retire(backend, True)
        return 0
