# cython: boundscheck=False, wraparound=False
"""How clients come and go: accepted, logged in, let in, seen off.

A client costs a record in shared memory, which says who it is, and a seat: its place in this worker's table. Both
are its own from the accept until it is GONE and told of. What a log-in wants and its machine cannot decide, the
worker's desk hears of (loop.pyx); a client whose like was let in before is let in without it.
"""
import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport CARRY_BYTES, Client, GONE, Greeting, IDLE, LOGIN
from pgmux.relay.poller cimport CLIENT, LISTENER, READING_EDGES
from pgmux.relay.sockets cimport (
    AF_UNIX, EMFILE, ENFILE, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL, O_CLOEXEC, O_RDONLY, SHUT_WR, SOCK_CLOEXEC,
    SOCK_NONBLOCK, accept4, close, errno, getrandom, name_peer, open, recv, send, shutdown, sockaddr, sockaddr_storage,
)
from pgmux.relay.streams cimport CHUNK_BYTES
from pgmux.session.client_login cimport AUTHENTICATED, ClientLogin, ENCRYPTING, LOOKUP
from pgmux.session.introduction cimport Introduction
from pgmux.shm.clients cimport NO_RECORD
from pgmux.shm.layout cimport NAME_BYTES

cdef enum:
    CLIENTS_APART = 3        # more than another worker: then, and with a thirty-second on top, that one has the next


cdef class Arriving(Handshakes):
    """One worker's clients, from their accept to their end."""

    def __cinit__(self):
        self.spare = -1

    def __dealloc__(self):
        if self.spare >= 0:
            close(self.spare)

    cdef int begin_accepting(self, listeners) except -1:
        """Accept from these listening sockets, our own."""
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
        self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        self.no_room = b""
        self.start_accepting()
        return 0

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

    cdef int serve(self, Client client) except -1:
        """Something may be read of the client. Loop's."""
        raise NotImplementedError
