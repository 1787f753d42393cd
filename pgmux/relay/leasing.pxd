from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport Backend, Client, ClientPhase, LEASED, Lobby, PARKED
from pgmux.relay.poller cimport Poller
from pgmux.shm.atomics cimport load
from pgmux.shm.clients cimport Clients
from pgmux.shm.homes cimport Homes
from pgmux.shm.layout cimport Counters
from pgmux.shm.leases cimport LEASED as LEASED_SLOT, generation_of, is_held, pool_of
from pgmux.shm.pools cimport Pools


cdef enum:
    CLOSE_WITHIN_US = 10_000_000         # PostgreSQL gets so long to end a connection that we close

cdef class Leasing(Poller):
    cdef uint64_t now                    # CLOCK_MONOTONIC, microseconds, when the present batch of events was taken up
    cdef readonly uint32_t worker        # this worker's number
    cdef readonly Pools pools
    cdef Homes homes
    cdef readonly Clients records
    cdef Counters *counters              # this worker's row: [pools]
    cdef list backends                   # [slots] of Backend
    cdef list lobbies                    # [pools] of Lobby or None
    cdef readonly list news              # what the worker's greenlets must see to: (word, argument)
    cdef list partings                   # clients that have become LEAVING or GONE in this batch: Loop's to see to
    cdef public bint moves_out           # all clients are to go to other workers: idle ones are not read, but told of
    cdef public bint roams               # for tests: a client's next lease is another backend's, if there is one
    cdef object desk                     # the worker's voice, see Relay
    cdef public uint64_t log_wait_us     # log_min_wait; 0 = none is logged
    cdef public uint64_t log_query_us    # log_min_duration
    cdef public uint32_t samples_left    # of long waits and slow queries until the worker allows more
    cdef public uint32_t samples_missed  # that there were beyond these

    cdef bint may_move(self, Client client) noexcept
    cdef bint acquire(self, Client client) except -1

    cdef inline bint has_lease(self, Backend backend) noexcept:
        """Whether the backend is ours to use, by the one word that says so."""
        return is_held(load(&backend.row.word), LEASED_SLOT, self.worker)

    cdef int32_t favourite_of(self, Client client) noexcept
    cdef int park(self, Client client) except -1
    cdef int unpark(self, Client client) except -1
    cdef int serve_lobby(self, uint32_t slot) except -1
    cdef int serve_granted(self, uint32_t slot) except -1
    cdef int renew_ticket(self, Client client) except -1
    cdef bint fetch(self, Backend backend, uint64_t generation) except -1
    cdef bint watch_again(self, Backend backend) except -1
    cdef void detach(self, Client client) noexcept
    cdef int part(self, Client client, Backend backend) except -1
    cdef void count_transaction(self, Client client, Backend backend) noexcept
    cdef int count_wait(self, Client client) except -1
    cdef int settle(self, Backend backend) except -1
    cdef int hand_on(self, Backend backend) except -1
    cdef int retire(self, Backend backend, bint politely) except -1
    cdef int end_connection(self, Backend backend, bint politely) except -1
    cdef int bury(self, Backend backend) except -1
    cdef int drop_socket(self, Backend backend) except -1
    cdef int check_inbox(self) except -1
    cdef int resume(self, Client client) except -1
    cdef int fire(self) except -1
    cdef int deliver(self, Client client) except -1
    cdef Lobby furnish(self, uint32_t pool)

    cdef inline Lobby lobby_of(self, uint32_t pool):
        return <Lobby>self.lobbies[pool] if self.lobbies[pool] is not None else self.furnish(pool)

    cdef int sample(self, str word, Client client, uint64_t took_us) except -1

    cdef inline void enter(self, Client client, ClientPhase phase) noexcept:
        """The one place where a client's phase changes; other workers read it from the record."""
        client.phase = phase
        client.since_us = self.now
        client.row.phase = phase
        client.row.since_us = client.since_us

    cdef inline bint is_usable(self, Backend backend) except -1:
        """Whether a slot that was just leased to us can be used; if not, it has been given up.

        A socket that is not in our epoll is looked at first, so that nothing is sent to a
        backend that has died while nobody watched it.
        """
        cdef uint64_t word = load(&backend.row.word)
        backend.pool = pool_of(word)
        backend.row.last_owner = self.worker
        if backend.fd < 0 or backend.generation != generation_of(word):
            return self.fetch(backend, generation_of(word))
        return backend.watched or self.watch_again(backend)

    cdef inline int attach(self, Client client, Backend backend) except -1:
        client.waited_us = 0
        if client.phase == PARKED:
            self.count_wait(client)
        self.enter(client, LEASED)
        backend.follows = client.last_slot == <int32_t>backend.slot
        backend.advanced = backend.recalled = client.recalls_now = False
        client.last_slot = backend.slot
        client.backend = backend
        backend.client = client
        backend.at_rest = False
        backend.last_reply = 0
        backend.status = c"I"
        backend.fresh = True
        backend.unsynced = backend.distrusted = backend.poised = False
        if backend.resetting is not None:
            backend.resetting = None
        backend.segment = 0
        self.counters[backend.pool].leases += 1
        client.row.slot = backend.slot
        backend.row.client = client.record
        backend.row.leased_at_us = client.since_us
        backend.row.lease_count += 1
        return 0
