# cython: boundscheck=False, wraparound=False
"""The relay, as its worker sees it: what may be asked of it, and what it is asked once in a while.

Called by the worker's greenlets between two runs of the loop, or by its desk from inside one;
never does any of it block. Each call takes the time once, as the loop does for each batch of events.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport is_settled
from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport Backend, Client, Greeting, IDLE, LEASED, LOGIN, Lobby, PARKED, SUBSCRIBING
from pgmux.relay.leasing cimport CLOSE_WITHIN_US
from pgmux.relay.moving cimport Moving
from pgmux.relay.parting cimport NEVER
from pgmux.relay.sockets cimport close
from pgmux.relay.tls cimport Tls
from pgmux.shm.atomics cimport now_us
from pgmux.shm.clients cimport NO_RECORD
from pgmux.shm.leases cimport (
    CLOSING, FREE, LEASED as SLOT_LEASED, TAKE, generation_of, is_held, is_usable_by, phase_of, pool_of,
)
from pgmux.shm.pools cimport NO_SLOT

import os
import socket

from pgmux.protocol.messages import channel_of

cdef enum:
    PENDING_BYTES = 4 << 20      # of notifications kept for one client; clients of a worker share their bytes

RESERVE_IDLE_US = 5_000_000      # what a pool has beyond its size, from its reserve, is closed when idle so long


cdef class Relay(Moving):
    """One worker's relay. `news` says what it cannot do by itself; see Loop for the events."""

    def say(self, Client client, bytes data):
        """Send bytes of our own to a client that is logging in, or waits for a backend."""
        self.send_to_client(client, data, len(data))

    def keep_waiting(self, Client client):
        """A log-in waits for PostgreSQL: nothing is read of the client until `continue_login` or `admit`."""
        cdef bytes words = client.login.take_outgoing()
        if words:
            self.send_to_client(client, words, len(words))
        client.expecting = True
        self.logging_in.discard(client)
        self.awaiting.add(client)
        client.is_logging_in = True

    def continue_login(self, Client client):
        """What a log-in waited for has come."""
        self.now = now_us()
        if client.phase != LOGIN:
            return
        client.expecting = False
        client.deadline_us = self.now
        self.awaiting.discard(client)
        self.begin_login(client)
        self.attend(client)
        if client.readable:
            self.queue(client)

    def try_join(self, Client client, uint32_t pool, uint64_t tenancy):
        """Count a client that logs in as a guest of its pool, whose record is now not given to others.

        False = it has been already.
        """
        return bool(self.join(client, pool, tenancy))

    def admit(self, Client client, Greeting greeting):
        """The log-in is done: the client's session begins. Nothing, where it was sent off meanwhile."""
        self.now = now_us()
        if client.phase == LOGIN:
            self.let_in(client, greeting, -1)

    def admit_private(self, Client client, Greeting greeting, uint32_t slot):
        """The same for a client that brings its own backend, which was opened for it alone, is LEASED to us and
        has its socket here. The client keeps it until it leaves; then it is closed."""
        cdef Backend backend = self.backends[slot]
        self.now = now_us()
        if client.phase != LOGIN or not self.is_usable(backend):
            self.close_backend(slot)
            self.dismiss(client, self.desk.backend_lost())
            return
        backend.private = True
        self.let_in(client, greeting, slot)

    def invite(self, uint32_t pool, uint64_t tenancy, bytes name):
        """A client of our own, logged in already: the descriptor of the other end of its connection.

        None when even the spare records are taken, or the pool's record has been given to others. `name`: its
        application_name, in SHOW CLIENTS.
        """
        cdef int32_t record = self.records.claim(self.worker)
        cdef Client client
        if record == NO_RECORD:
            return None
        if not self.pools.tenancies.join(pool, tenancy, self.worker):
            self.records.forget(record)
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.now = now_us()
        client = self.take_in(ours.detach(), record, True)
        client.login = None
        client.lobby = self.lobby_of(pool)
        client.is_guest = client.is_own = True
        self.records.introduce(record, b"pgmux", 0)
        self.records.name_user(record, self.pools.user_of(pool))
        self.records.admit(record, b"", pool, name)
        self.enter(client, IDLE)
        return theirs.detach()

    def hand_over(self, Client client):
        """(descriptor, bytes not sent yet, Tls or None) of a client that is logging in: the caller's from now on.

        The relay forgets the client. Its record goes on, until the caller gives it back.
        """
        cdef int fd = client.fd
        cdef Tls tls = client.tls
        self.now = now_us()
        self.fire()
        self.unwatch(fd)
        self.enter(client, IDLE)
        unsent = client.out.data[client.out.start:client.out.start + length(&client.out)] if length(&client.out) else b""
        client.fd = -1
        client.tls = None
        client.login = None
        self.forget_seat(client)
        self.end_login(client)
        return fd, unsent, tls

    def send_off(self, Client client, bytes last_words=b""):
        """End a client's session with an ErrorResponse."""
        self.now = now_us()
        self.dismiss(client, last_words)

    def give_away(self, Client client):
        """Another process has a client's connection and ends it: let go of our descriptor, without a word."""
        self.now = now_us()
        self.vanish(client, True)

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

    def adopt_socket(self, uint32_t slot, uint64_t generation, int fd, Tls tls=None):
        """A descriptor for a slot has come, from the worker that opened it or from the vault. Takes it over.

        `tls`: what the connection is under, if it is and this worker is its home.
        """
        cdef Backend backend = self.backends[slot]
        cdef Client client
        cdef uint64_t word = self.pools.leases.word(slot)
        cdef bint belongs = generation_of(word) == generation
        self.now = now_us()
        if is_held(word, CLOSING, self.worker):      # by CLOSE, and by as many a FENCE as workers died over it
            belongs = generation == self.pools.leases.introduced(slot) and (
                backend.fd < 0 or not backend.closing and backend.generation != generation)
        if not belongs or backend.fd >= 0 and backend.generation == generation:
            close(fd)
            return
        if backend.fd >= 0:
            self.drop_socket(backend)
        self.take_from_hub(fd)
        if backend.generation != generation:
            backend.awaited = False                  # we had awaited its predecessor, and never got that
        backend.fd = fd
        backend.tls = tls
        backend.cancels = 0                          # those on their way were for the slot's socket before
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
                if client.pending is not None:
                    self.deliver(client)
                self.resume(client)
        elif client is not None:
            self.resume(client)
        else:
            self.hand_on(backend)

    def notify(self, uint32_t record, bytes message):
        """Hand a client a NotificationResponse or NoticeResponse, between two messages of its own.

        At once when it has no backend and its socket takes it; else when its transaction has ended, as
        PostgreSQL does, or its socket has room. Of a client that takes nothing for too long no transaction
        is broken off, but then it is sent off with the reason: it misses nothing unawares.
        """
        cdef Client client = self.clients[record]
        self.now = now_us()
        if client is None or client.phase != IDLE and client.phase != PARKED and client.phase != LEASED:
            return
        if client.channels is None or message[0] == c"A" and channel_of(message) not in client.channels:
            return                               # meant for who had the record before, and has just left
        self.keep_notification(client, message)
        self.deliver(client)

    cdef int keep_notification(self, Client client, bytes message) except -1:
        """Until it can be delivered."""
        if client.overrun:
            self.counters[client.lobby.pool].notifications_dropped += 1
            return 0
        if client.pending is None:
            client.pending = []
        client.pending.append(message)
        client.pending_bytes += len(message)
        if client.pending_bytes > PENDING_BYTES:
            self.counters[client.lobby.pool].notifications_dropped += len(client.pending)
            client.pending = []
            client.overrun = True
            self.news.append(("overrun", client))
        return 0

    cdef int deliver(self, Client client) except -1:
        """What was kept for a client that has no backend, as far as its socket takes it."""
        cdef bytes message
        cdef Py_ssize_t sent = 0
        if client.phase == LEASED:               # it keeps its backend: between transactions is when that is at rest
            if not client.backend.at_rest or client.backend.errand or client.backend.remain:
                return 0
        elif client.phase != IDLE and client.phase != PARKED or client.deferred is not None:
            return 0
        if client.overrun:
            return self.dismiss(client, self.desk.overrun(PENDING_BYTES))
        for message in client.pending:
            if length(&client.out):
                break
            self.send_to_client(client, message, len(message))
            self.counters[client.lobby.pool].bytes_sent += len(message)
            self.counters[client.lobby.pool].notifications += message[0] == c"A"
            client.pending_bytes -= len(message)
            sent += 1
        if sent == len(client.pending):
            client.pending = None
        else:
            del client.pending[:sent]
        return 0

    def drop_notifications(self, uint32_t record, channels):
        """A client has stopped listening to `channels`: what was kept for it of those is not for it any more."""
        cdef Client client = self.clients[record]
        if client is None or client.pending is None or client.overrun:
            return
        client.pending = [
            message for message in client.pending if message[0] != c"A" or channel_of(message) not in channels]
        client.pending_bytes = sum([len(message) for message in client.pending])

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

    def give_up(self, uint32_t slot, uint64_t generation):
        """A client elsewhere starves: close a backend that we can use, if it still is idle."""
        cdef Backend backend = self.backends[slot]
        cdef uint64_t word = self.pools.leases.word(slot)
        self.now = now_us()
        if (is_usable_by(self.worker, &self.pools.slots[slot]) and generation_of(word) == generation
                and phase_of(word) == FREE
                and self.pools.leases.move(slot, word, TAKE, self.worker, pool_of(word))):
            self.pools._clear_free(pool_of(word), slot)
            if self.is_usable(backend):
                self.retire(backend, True)

    def leave_home(self):
        """This worker ends, and with it the idle backends whose home it is: PostgreSQL is told."""
        cdef Backend backend
        for backend in self.backends:
            if backend.tls is not None:
                self.give_up(backend.slot, backend.generation)

    def bury_fenced(self, uint32_t slot):
        """A slot that is CLOSING and was left to us: wait for PostgreSQL to end it. False = already doing so."""
        cdef Backend backend = self.backends[slot]
        cdef uint64_t word = self.pools.leases.word(slot)
        self.now = now_us()
        if not is_held(word, CLOSING, self.worker) or backend.closing:
            return False
        if backend.fd >= 0 and backend.generation != self.pools.leases.introduced(slot):
            self.drop_socket(backend)            # its predecessor's
        backend.pool = pool_of(word)
        backend.closing = True
        backend.orphaned = backend.at_rest = False       # as it was when it was ours last: nobody may get it
        backend.client = None
        backend.deadline_us = self.now + CLOSE_WITHIN_US
        if backend.fd < 0:
            self.news.append(("fetch", slot))    # the vault has it, unless nobody but the dead had
            return True
        self.end_connection(backend, False)
        return True

    def has_no_socket(self, uint32_t slot):
        """The vault has answered. If what we are to end has no socket even now, nobody has: it has ended."""
        cdef Backend backend = self.backends[slot]
        self.now = now_us()
        if backend.closing and backend.fd < 0 and is_held(self.pools.leases.word(slot), CLOSING, self.worker):
            self.bury(backend)

    def expect_cancel(self, uint32_t slot):
        """A cancel request is about to be sent: the backend is not leased to another before it has settled."""
        (<Backend>self.backends[slot]).cancels += 1

    def is_asked(self, uint32_t slot):
        """Whether a backend is busy with what its client has asked. What we ask ourselves must not be cancelled."""
        cdef Backend backend = self.backends[slot]
        return not is_settled(&backend.replies) and not backend.errand

    def cancel_settled(self, uint32_t slot, uint64_t generation):
        """The cancel request has been carried out, or has failed."""
        cdef Backend backend = self.backends[slot]
        self.now = now_us()
        if backend.generation != generation or not backend.cancels:
            return
        backend.cancels -= 1
        if backend.cancels:
            return
        if backend.at_rest and backend.client is None and backend.orphaned:
            self.settle_if_due(backend)
        elif backend.client is not None:
            self.proceed(backend.client)           # it may have asked the next meanwhile

    def subscribed(self, Client client):
        """Notifications of a client's channels reach us from now on: its transaction is over."""
        self.now = now_us()
        if client.backend is not None and client.backend.errand == SUBSCRIBING:
            self.conclude(client, client.backend)

    def peer_of(self, uint32_t slot):
        """Where a backend's socket leads: (host, port, …), or the path of a Unix socket; None without a socket."""
        cdef Backend backend = self.backends[slot]
        if backend.fd < 0:
            return None
        with socket.socket(fileno=os.dup(backend.fd)) as peer:
            return peer.getpeername()

    def is_awaited(self, uint32_t slot):
        """Whether we have leased the slot, or are to end it, without having its socket."""
        cdef Backend backend = self.backends[slot]
        return bool(backend.awaited or backend.closing and backend.fd < 0)

    def is_between_transactions(self, Client client):
        """Whether the client can be sent off without breaking anything off."""
        if client.phase == LEASED:               # it keeps its backend; a private one's stream would never end
            return client.backend.private or client.backend.at_rest and not client.backend.errand
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

    def silent(self, uint64_t limit_us):
        """Clients that are logging in, and whose word has been awaited for longer."""
        cdef uint64_t now = now_us()
        cdef Client client
        return [client for client in self.logging_in if now - client.deadline_us > limit_us]

    def overdue(self, uint64_t login_limit_us):
        """([clients whose log-in takes too long], [parked clients past their pool's wait limit])."""
        cdef uint64_t now = now_us()
        cdef Client client
        cdef Lobby lobby
        self.now = now_us()
        late = [client for client in (*self.logging_in, *self.awaiting)
                if login_limit_us and now - client.since_us > login_limit_us]
        tired = []
        for lobby in self.lobbies:
            if lobby is None or not lobby.wait_limit_us:
                continue
            client = lobby.first
            while client is not None and now - client.since_us > lobby.wait_limit_us:
                tired.append(client)
                client = client.after
        return late, tired

    def expect_overtime(self, uint32_t slot, bytes error):
        """A backend's query has taken too long: when it is cancelled its client is told `error` in PostgreSQL's place."""
        (<Backend>self.backends[slot]).overtime = error

    def overstayed(self, Stay stay, uint64_t limit_us):
        """The clients of which something has lasted longer than it may."""
        cdef Client client
        cdef Backend backend
        cdef list found = []
        self.now = now_us()
        for backend in self.backends:
            client = backend.client
            if client is None or backend.awaited or backend.private:
                continue
            if self.now - self.since(backend, stay) > limit_us:
                found.append(client)
        if stay == IDLE_STAY or stay == IDLE_IN_TRANSACTION_STAY:
            for client in self.clients:
                if client is None or client.phase != IDLE or self.now - client.since_us <= limit_us:
                    continue
                if (stay == IDLE_IN_TRANSACTION_STAY) == (client.deferred is not None or client.failed):
                    found.append(client)
        return found

    cdef uint64_t since(self, Backend backend, Stay stay) noexcept:
        """Since when a backend's client does what `stay` says; now, when it does something else."""
        cdef bint is_quiet = backend.replies.count == 0
        cdef bint is_over = is_quiet and backend.status == c"I" and not backend.unsynced
        if backend.overtime is not None or backend.errand:
            return self.now
        if stay == QUERY_STAY:
            return self.now if is_quiet else backend.request_at_us
        if stay == TRANSACTION_STAY:
            return self.now if is_over else backend.began_at_us
        if stay == IDLE_IN_TRANSACTION_STAY:
            return backend.rested_at_us if is_quiet and not is_over else self.now
        return backend.rested_at_us if is_over else self.now

    def sweep(self, uint64_t idle_limit_us):
        """What has lasted too long: leaving clients are closed, orphans and slow closers given up, sockets
        of slots that have changed dropped, backends idle beyond the limit retired. Once a second or so."""
        cdef uint64_t now, word
        cdef Client client
        cdef Backend backend
        self.now = now = now_us()
        self.fewest_before, self.fewest = self.fewest, 0xFFFFFFFF
        for client in list(self.leaving):
            if now > client.deadline_us:
                self.vanish(client, True)
        for backend in self.backends:
            word = self.pools.leases.word(backend.slot)
            if backend.closing:
                if now > backend.deadline_us:
                    self.news.append(("slow to end", backend.slot))
                    self.bury(backend)
                elif backend.fd < 0:
                    self.news.append(("fetch", backend.slot))
            elif backend.orphaned:
                if now > backend.deadline_us:
                    self.lose(backend, False)
                elif backend.replies.count and not backend.cancels and backend.deadline_us != NEVER:
                    self.ask_cancel(backend)         # the last was there before what it was meant for
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
        cdef uint32_t pool = pool_of(word)
        cdef bint is_idle = 0 < <int64_t>idle_limit_us < idle_us \
            and self.pools.size(pool) > self.lobby_of(pool).least
        cdef bint is_surplus = idle_us > RESERVE_IDLE_US and self.pools.size(pool) > self.pools.records[pool].pool_size
        if not is_old and not is_idle and not is_surplus and not self.pools.pauses(pool):
            return 0
        if self.pools.leases.move(backend.slot, word, TAKE, self.worker, pool):
            self.pools._clear_free(pool, backend.slot)
            if self.is_usable(backend):
                self.retire(backend, True)
        return 0
