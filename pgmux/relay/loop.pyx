# cython: boundscheck=False, wraparound=False
"""The relay's event loop: what each event means. How clients come and go is arriving.pyx.

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
from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport Backend, Client, Endpoint, IDLE, LEASED, LEAVING, LOGIN, PARKED
from pgmux.relay.poller cimport BACKEND, BELL, CLIENT, LISTENER, SERIAL_MASK, index_of, kind_of, serial_of
from pgmux.relay.sockets cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_DEL, epoll_ctl, epoll_event,
)
from pgmux.session.statements cimport Library
from pgmux.shm.atomics cimport now_us
from pgmux.shm.clients cimport Clients
from pgmux.shm.counters cimport CounterTable
from pgmux.shm.homes cimport Homes
from pgmux.shm.leases cimport FREE, TAKE, generation_of, phase_of, pool_of
from pgmux.shm.pools cimport Pools

cdef enum:
    HUBS_TURN = 1            # index of the event that the hub's epoll makes


cdef uint32_t ENDS = EPOLLRDHUP | EPOLLHUP | EPOLLERR


cdef class Loop(Arriving):
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
        self.slice_us = 5000
        self.begin_accepting(listeners)
        self.watch(pools.workers.bells[worker], BELL, 0, 0, EPOLLIN | <uint32_t>EPOLLET)

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

    # --- the Python face

    def take_news(self):
        """What happened that needs more than the relay: [(word, argument)], oldest first."""
        self.note_partings()
        news = self.news
        self.news = []
        return news
