# cython: boundscheck=False, wraparound=False
"""The relay's event loop: what each event means, and how clients come and go.

`run` is where a worker waits: in the relay's epoll, which holds the hub's epoll as one more
descriptor. So a message costs no turn of the hub, and what comes for the hub ends the wait.
What cannot be done here (open a backend, send a cancel, write the log) is left in `news` for
the worker's greenlets.

`desk` answers for the worker in the middle of a run: `hear(client)` when a log-in wants a decision
that its own machine cannot make, `malformed(type)`, `backend_lost()` and `overrun()` give
ErrorResponses. A client whose like was let in before is let in without it. `arrived(client)` and
`parted(client)` hear of each client that has logged in or is gone, while its record says who it is,
unless `tells_arrivals` or `tells_partings` is off.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport (
    Backend, CARRY_BYTES, Client, Endpoint, GONE, Greeting, IDLE, LEASED, LEAVING, LOGIN, PARKED,
)
from pgmux.relay.poller cimport BACKEND, BELL, CLIENT, LISTENER, READING_EDGES, SERIAL_MASK, index_of, kind_of, serial_of
from pgmux.relay.sockets cimport (
    AF_UNIX, EMFILE, ENFILE, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_DEL,
    MSG_DONTWAIT, MSG_NOSIGNAL, O_CLOEXEC, O_RDONLY, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, close, epoll_ctl,
    epoll_event, errno, getrandom, name_peer, open, recv, send, shutdown, sockaddr, sockaddr_storage,
)
from pgmux.relay.streams cimport CHUNK_BYTES
from pgmux.session.client_login cimport AUTHENTICATED, ClientLogin, ENCRYPTING, LOOKUP
from pgmux.session.introduction cimport Introduction
from pgmux.session.statements cimport Library
from pgmux.shm.atomics cimport now_us
from pgmux.shm.clients cimport Clients, NO_RECORD
from pgmux.shm.counters cimport CounterTable
from pgmux.shm.homes cimport Homes
from pgmux.shm.layout cimport NAME_BYTES
from pgmux.shm.leases cimport FREE, TAKE, generation_of, phase_of, pool_of
from pgmux.shm.pools cimport Pools

import os

cdef enum:
    CLIENTS_APART = 3        # more than another worker: then, and with a thirty-second on top, that one has the next
    HUBS_TURN = 1            # index of the event that the hub's epoll makes


cdef uint32_t ENDS = EPOLLRDHUP | EPOLLHUP | EPOLLERR


cdef class Loop(Handshakes):
    """One worker's clients, backends and event loop."""

    def __init__(self, uint32_t worker, Pools pools, Clients records, CounterTable counters, listeners, desk,
                 bytes statement_key=b"-"):
        self.worker = worker
        self.hub = -1
        self.pools = pools
        self.homes = Homes(pools)
        self.records = records
        self.counters = counters.rows(worker)
        self.desk = desk
        self.backends = [Backend(slot) for slot in range(pools.leases.count)]
        for backend in self.backends:
            (<Backend>backend).row = &pools.slots[(<Backend>backend).slot]
        self.lobbies = [None] * pools.segment.pool_count
        self.clients = [None] * pools.segment.client_count
        self.news = []
        self.partings = []
        self.library = Library(statement_key)
        self.tokens = now_us() << 8 | worker
        self.reset_query = b"DISCARD ALL"
        self.listeners = list(listeners)
        self.listening = [listener.fileno() for listener in self.listeners]
        self.own_listeners = len(self.listeners)
        self.places = list(range(self.own_listeners))
        self.logging_in = set()
        self.awaiting = set()
        self.leaving = set()
        self.login_limit = self.fewest = self.fewest_before = 0xFFFFFFFF
        self.drawn = RANDOM_BYTES
        self.tells_arrivals = self.tells_partings = True
        self.slice_us = 5000
        self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        self.no_room = b""
        self.start_accepting()
        self.watch(pools.workers.bells[worker], BELL, 0, 0, EPOLLIN | <uint32_t>EPOLLET)

    def __dealloc__(self):
        if self.spare > 0:
            close(self.spare)

    def watch_hub(self, int fd):
        """End a wait when the hub's own epoll, `fd`, has something for it."""
        self.watch(fd, BELL, HUBS_TURN, 0, EPOLLIN)
        self.hub = fd

    cdef void take_from_hub(self, int fd) noexcept:
        """See to it that the hub does not watch a socket which is ours from here on.

        libev leaves it in its epoll until an event comes that nobody wants. That never happens, since we have read
        what made the event before it looks; and so each reply on such a socket would cost a turn of the hub.
        """
        cdef epoll_event event
        epoll_ctl(self.hub, EPOLL_CTL_DEL, fd, &event)

    def run(self, uint64_t patience_us):
        """Serve events until it is the hub's turn. Whether there were any.

        It is the hub's turn when something has come for it, when there is news, when `slice_us` have
        passed, or when nothing has come for `patience_us`.
        """
        cdef uint64_t stop_at, tag
        cdef int count, at
        cdef bint has_served = False
        self.now = now_us()
        stop_at = self.now + self.slice_us
        self.is_hubs_turn = False
        while True:
            self.is_collecting = self.volley.is_possible
            self.check_inbox()
            self.serve_ready()
            if self.is_shaking:
                self.shake_next()
            if len(self.reserving) and self.now >= self.next_release_us:
                self.end_reservations()
            self.fire()
            self.is_collecting = False
            if self.partings:
                self.note_partings()
            if self.is_crowded:
                self.look_at_crowd()
            if self.news or self.is_hubs_turn or self.now >= stop_at:
                return has_served
            if not self.pools.workers.sleep(self.worker):
                continue
            count = self.wait(0 if self.ready or self.is_shaking else self.until_release(patience_us))
            self.pools.workers.rise(self.worker)
            if count == 0 and not self.ready and not self.is_shaking:
                return has_served
            has_served = True
            self.is_collecting = self.volley.is_possible
            self.now = now_us()
            # Backends first: a request must not be sent to one whose end lies in the same batch.
            for at in range(count):
                tag = self.events[at].data.u64
                if kind_of(tag) == BACKEND:
                    self.on_backend(tag, self.events[at].events)
            for at in range(count):
                tag = self.events[at].data.u64
                if kind_of(tag) == CLIENT:
                    self.on_client(tag, self.events[at].events)
                elif kind_of(tag) == LISTENER:
                    self.accept(index_of(tag))
                elif kind_of(tag) == BELL and index_of(tag) == HUBS_TURN:
                    self.is_hubs_turn = True     # our own bell only ends the wait: the inbox is looked at anyway

    cdef inline int serve_ready(self) except -1:
        cdef list ready = self.ready
        cdef Endpoint endpoint
        if not ready:
            return 0
        self.ready = []
        for endpoint in ready:
            endpoint.queued = False
            if isinstance(endpoint, Client):
                self.serve(<Client>endpoint)
            else:
                self.serve_backend(<Backend>endpoint)
        return 0

    # --- events

    cdef inline int on_client(self, uint64_t tag, uint32_t events) except -1:
        cdef Client client = <Client>self.clients[index_of(tag)]
        cdef Backend backend
        if client is None or client.serial & SERIAL_MASK != serial_of(tag):
            return 0                         # the event is its predecessor's
        if events & ENDS:
            client.hung_up = True
        if events & (EPOLLIN | ENDS):
            client.readable = True
        if events & EPOLLOUT and length(&client.out):
            self.flush(client)
            if length(&client.out):
                return 0
            if client.pending is not None:
                self.deliver(client)
            backend = client.backend
            if backend is not None and backend.readable:
                self.serve_backend(backend)
            elif client.phase == LEAVING:
                self.hang_up(client)
        return self.serve(client)

    cdef inline int serve(self, Client client) except -1:
        if client.phase == IDLE or client.phase == LEASED:
            return self.serve_client(client)
        if client.phase == LOGIN:
            if client.tls is not None and not client.tls.is_announced:
                return self.defer(client)
            return self.serve_login(client)
        if client.phase == LEAVING:
            return self.serve_leaving(client)
        if client.phase == PARKED and client.hung_up:
            return self.vanish(client, False)
        return 0

    cdef inline int on_backend(self, uint64_t tag, uint32_t events) except -1:
        cdef Backend backend = <Backend>self.backends[index_of(tag)]
        if backend.serial & SERIAL_MASK != serial_of(tag) or backend.fd < 0:
            return 0
        if backend.client is None and not backend.orphaned and not backend.closing:
            return self.on_idle_backend(backend, events)
        if events & ENDS:
            backend.hung_up = True
        if events & (EPOLLIN | ENDS):
            backend.readable = True
        if events & EPOLLOUT and length(&backend.out):
            self.flush(backend)
            if not length(&backend.out):
                if backend.at_rest:
                    self.settle_if_due(backend)
                elif backend.client is not None and backend.client.readable:
                    self.queue(backend.client)
        if backend.readable:
            self.serve_backend(backend)
        return 0

    cdef int on_idle_backend(self, Backend backend, uint32_t events) except -1:
        """Something came on a socket that we have not leased.

        Either it is for another worker's client, or the backend is idle and has news (a parameter,
        its end). The worker that leased it last looks, under a lease; every other takes the socket
        out of its epoll, and reads nothing.
        """
        cdef uint64_t word = self.pools.leases.word(backend.slot)
        if not events & (EPOLLIN | ENDS):
            return 0
        if generation_of(word) != backend.generation:
            return self.drop_socket(backend)
        if phase_of(word) == FREE and self.pools.slots[backend.slot].last_owner == self.worker:
            if self.pools.leases.move(backend.slot, word, TAKE, self.worker, pool_of(word)):
                self.pools._clear_free(pool_of(word), backend.slot)
                backend.at_rest = backend.orphaned = backend.readable = True
                backend.hung_up = events & ENDS != 0
                backend.last_reply = 0
                backend.deadline_us = self.now + 1_000_000
                return self.serve_backend(backend)
        self.unwatch(backend.fd)
        backend.watched = False
        return 0

    # --- clients come and go

    cdef int accept(self, uint32_t index) except -1:
        """Take one newcomer in: while there are more, the listener makes an event of each wait.

        Over TCP its first words are there with it (TCP_DEFER_ACCEPT), and are read at once.
        """
        cdef int fd, listener
        cdef int32_t record, heir
        cdef sockaddr_storage peer
        cdef unsigned int size = sizeof(peer)
        cdef Client client
        if index >= <uint32_t>len(self.listening):
            return 0                         # one of those that we stood in for; the event is of before
        listener = self.listening[index]
        if len(self.logging_in) >= self.login_limit:
            self.stop_accepting()
            self.is_crowded = True
            return 0
        fd = accept4(listener, <sockaddr *>&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE:
                reason = errno
                self.news.append(("turned away" if self.turn_away(listener) else "accept failed", reason))
            return 0
        heir = self.worthier()
        if heir >= 0:
            self.news.append(("newcomer", (fd, heir)))
            self.pools.workers.expect(heir, 1)
            return 0
        record = self.records.claim(self.worker)
        if record == NO_RECORD:
            close(fd)                        # not even room to say why
            return 0
        client = self.take_in(fd, record, peer.ss_family == AF_UNIX)
        client.row.port = name_peer(&peer, client.row.address, NAME_BYTES)
        client.row.listener = self.places[index]
        self.begin_login(client)
        if not client.is_unix:
            client.readable = True
            return self.serve(client)
        return 0

    cdef int32_t worthier(self) noexcept:
        """Who is to have a newcomer in our place: a worker with far fewer clients; anybody, when ours move out.

        Which worker accepts is the kernel's choice, by a hash of addresses: without this the one may have all.
        Who comes for a moment evens itself out, and costs twice as much where it is handed on.
        """
        cdef uint64_t own = self.residents()
        cdef int32_t heir
        if own <= CLIENTS_APART and not self.moves_out:
            return -1
        heir = self.pools.workers.lightest(self.worker)
        if heir < 0 or self.moves_out:
            return heir
        return heir if self.pools.workers.load_of(heir) + CLIENTS_APART + own // 32 < own else -1

    cdef uint64_t residents(self) noexcept:
        """Clients that have come to stay: all of them while nobody leaves, else the fewest that were left lately."""
        return min(self.client_count, min(self.fewest, self.fewest_before))

    cdef Client seat(self, int fd, uint32_t record):
        """A client for a connection and a record that is ours. Its phase and its epoll are the caller's."""
        cdef Client client = Client()
        client.fd = fd
        client.record = record
        client.row = &self.records.records[record]
        client.row.tls = 0
        self.next_serial += 1
        client.serial = self.next_serial
        self.clients[record] = client
        self.client_count += 1
        self.pools.workers.records[self.worker].clients = self.client_count
        return client

    cdef Client take_in(self, int fd, uint32_t record, bint is_unix):
        """A client for a connection and a record that was claimed for it; its log-in begins."""
        cdef Client client = self.seat(fd, record)
        self.enter(client, LOGIN)
        client.deadline_us = self.now
        client.is_unix = is_unix
        client.row.process = max(client.credential(0), 0) if is_unix else 0
        # TLS is for the network: on the Unix socket there is none, and none is demanded.
        client.login = ClientLogin(self.doors, client, "disable" if is_unix else self.tls_mode)
        self.watch(fd, CLIENT, record, client.serial, READING_EDGES)
        return client

    cdef bint turn_away(self, int listener) except -1:
        """No descriptor is left. Whether there was a spare one, with which to accept who comes next and say so.

        What it has sent by now is read first, for a close with bytes unread would take our words from it.
        """
        cdef int fd
        cdef bint had_spare = self.spare >= 0
        if had_spare:
            close(self.spare)
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                recv(fd, self.buffer, CHUNK_BYTES, MSG_DONTWAIT)
                send(fd, <const char *>self.no_room, len(self.no_room), MSG_DONTWAIT | MSG_NOSIGNAL)
                shutdown(fd, SHUT_WR)
                close(fd)
        self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        return had_spare

    cdef int serve_login(self, Client client) except -1:
        """Hand what came to the log-in, until it is done or wants more."""
        cdef Py_ssize_t size
        if client.expecting and client.hung_up:
            return self.vanish(client, False)
        while client.phase == LOGIN and client.readable and not client.expecting:
            size = self.read(client)
            if client.tls is not None and not client.tls.is_announced:
                self.shake_hands(client)
            if size == 0:
                return self.vanish(client, False)
            if size > 0 and client.phase == LOGIN:
                client.deadline_us = self.now
                client.login.feed(self.buffer[CARRY_BYTES:CARRY_BYTES + size])
                self.attend(client)
        if client.phase != LOGIN:
            self.end_login(client)
        return 0

    cdef int begin_login(self, Client client) except -1:
        client.is_logging_in = True
        self.logging_in.add(client)
        return 0

    cdef int end_login(self, Client client) except -1:
        if client.is_logging_in:
            client.is_logging_in = False
            self.logging_in.discard(client)
            self.awaiting.discard(client)
        return 0

    cdef int attend(self, Client client) except -1:
        """Do what a client's log-in wants now."""
        cdef ClientLogin login = client.login
        cdef Introduction introduction = login.introduction
        cdef Greeting greeting
        cdef bytes words
        if introduction is None or client.record < self.records.limit or introduction.is_console:
            if login.at == ENCRYPTING:
                return self.encrypt(client)
            if login.at < LOOKUP:
                words, login.outgoing = login.outgoing, b""
                return self.send_to_client(client, words, len(words)) if words else 0
            greeting = introduction.greeting if login.at == AUTHENTICATED else None
            if (greeting is not None and greeting.edition == self.edition
                    and (login.credential is None or login.credential == greeting.credential)
                    and not self.pools.is_disabled(greeting.pool)
                    and self.join(client, greeting.pool, greeting.tenancy)):
                return self.let_in(client, greeting, -1)
        self.desk.hear(client)
        return 0

    cdef bint join(self, Client client, uint32_t pool, uint64_t tenancy) except -1:
        """Count the client in a pool, once. False = the pool's record has been given to others meanwhile."""
        if client.is_guest:
            return True
        client.is_guest = self.pools.tenancies.join(pool, tenancy, self.worker)
        if client.is_guest:
            client.lobby = self.lobby_of(pool)
        return client.is_guest

    cdef int leave_pool(self, Client client) except -1:
        if client.is_guest:
            client.is_guest = False
            self.pools.tenancies.leave(client.lobby.pool, self.worker)
        return 0

    cdef int let_in(self, Client client, Greeting greeting, int32_t slot) except -1:
        """The log-in is done: greet the client, and begin its session with what it has asked already.

        `slot`: the backend that was opened for it alone; -1 = it shares those of its pool.
        """
        cdef Introduction introduction = client.login.introduction
        cdef bytes key = self.draw_key(introduction.key_bytes)
        cdef bytes words = client.login.admit_told(greeting.told, client.record + 1, key)
        cdef bytes rest = bytes(client.login._buffer) if client.login._buffer else None
        self.send_to_client(client, words, len(words))
        self.records.name_user(client.record, introduction.user_name)
        self.records.admit(client.record, key, greeting.pool, greeting.application_name)
        client.login = None
        client.mode = greeting.mode
        client.settings = client.startup = greeting.settings
        client.digest = greeting.digest
        client.restores = greeting.digest != 0
        client.backslashes = greeting.backslashes
        client.unsure = greeting.unsure
        client.expecting = False
        self.end_login(client)
        self.counters[greeting.pool].logins += 1
        self.enter(client, IDLE)
        if self.tells_arrivals:
            self.desk.arrived(client)
        if slot >= 0:
            self.attach(client, self.backends[slot])
        if rest is not None:
            self.take_requests(client, rest, len(rest))
        if client.readable:
            self.queue(client)
        return 0

    cdef bytes draw_key(self, Py_ssize_t size):
        """A cancel key: random, from a stock that is drawn many keys at a time (getrandom(2))."""
        if self.drawn + size > RANDOM_BYTES:
            if getrandom(self.randomness, RANDOM_BYTES, 0) != RANDOM_BYTES:
                raise OSError(errno, os.strerror(errno))
            self.drawn = 0
        self.drawn += size
        return PyBytes_FromStringAndSize(self.randomness + self.drawn - size, size)

    cdef int serve_leaving(self, Client client) except -1:
        """Read on, into the void: a close with bytes unread would take our last words from the client."""
        while client.readable:
            if self.read(client) == 0:
                return self.vanish(client, True)
        return 0

    cdef int look_at_crowd(self) except -1:
        """Accept again, once fewer are logging in."""
        if len(self.logging_in) < self.login_limit:
            self.is_crowded = False
            self.start_accepting()
        return 0

    cdef int note_partings(self) except -1:
        """Forget the clients that are gone, and wait for those that are about to leave."""
        cdef list partings = self.partings
        cdef Client client
        self.partings = []
        for client in partings:
            if client.phase == GONE:
                self.forget(client)
            else:
                self.leaving.add(client)
                self.end_login(client)
                self.leave_pool(client)
        return 0

    cdef int forget(self, Client client) except -1:
        """A client that is GONE: its record is free for another."""
        if self.clients[client.record] is client:
            if self.tells_partings and not client.is_own:
                self.desk.parted(client)
            self.forget_seat(client)
            self.records.forget(client.record)
            if client.channels is not None:
                self.news.append(("gone", client))       # who listened is the worker's affair too
        self.end_login(client)
        self.leave_pool(client)
        self.leaving.discard(client)
        client.login = None
        return 0

    cdef int forget_seat(self, Client client) except -1:
        self.clients[client.record] = None
        self.client_count -= 1
        if client.lobby is not None and not client.is_own:   # a probe tells nothing of how long clients stay
            self.fewest = min(self.fewest, self.client_count)
        self.pools.workers.records[self.worker].clients = self.client_count
        return 0

    # --- the Python face

    def take_news(self):
        """What happened that needs more than the relay: [(word, argument)], oldest first."""
        self.note_partings()
        news = self.news
        self.news = []
        return news

    def start_accepting(self):
        """Take new connections."""
        if not self.is_accepting:
            self.is_accepting = True
            for index, listener in enumerate(self.listeners):
                self.watch(listener.fileno(), LISTENER, index, 0, EPOLLIN)

    def stand_in(self, listeners):
        """Accept from these too, and no more from those of the last call: [(socket, its place among its worker's)]."""
        cdef bint was_accepting = self.is_accepting, was_crowded = self.is_crowded
        self.stop_accepting()
        del self.listeners[self.own_listeners:], self.places[self.own_listeners:]
        for listener, place in listeners:
            self.listeners.append(listener)
            self.places.append(place)
        self.listening = [listener.fileno() for listener in self.listeners]
        self.is_crowded = was_crowded
        if was_accepting:
            self.start_accepting()

    def stop_accepting(self):
        """Leave new connections in the accept queue, for a successor or for later."""
        self.is_crowded = False
        if self.is_accepting:
            self.is_accepting = False
            for listener in self.listeners:
                self.unwatch(listener.fileno())
