# cython: boundscheck=False, wraparound=False
"""Homes: backends that one worker alone can use, and how another's clients do not starve beside them.

The state of an encrypted connection lies in one process's memory. So a backend to which pgmux
speaks TLS has a home, the worker that opened it: nobody else takes it, it is granted to nobody,
and it ends with its home. It counts within the same limits as all others.

Where the limits are reached, such backends move by being closed and opened again. A worker with
a client that waits asks the home of an idle one to close it; and a home that is never idle gives
one up at the end of a transaction, when a client elsewhere has waited STAY_US longer than its
own. Moving costs a log-in, so a backend stays at least STAY_US, and one of a pool moves at a time.

`home` is written while the slot is OPENING, by its owner, and stands as long as the generation.
Who has read it after the lease word, and whose compare-and-swap of that word succeeds, has read
the home of what it has taken.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport strncmp

from pgmux.shm.atomics cimport now_us
from pgmux.shm.layout cimport NAME_BYTES, PoolRecord
from pgmux.shm.leases cimport (
    CLOSING, EMPTY, FREE, GRANTED, LEASED, OPENING, generation_of, is_usable_by, owner_of, phase_of, pool_of,
)
from pgmux.shm.pools cimport NO_SLOT, Pools
from pgmux.shm.waiters cimport NO_TICKET

from pgmux.shm.pools import DATABASE_FULL as _DATABASE_FULL, POOL_FULL as _POOL_FULL

STAY_SECONDS = STAY_US / 1_000_000


cdef class Homes:
    """The homes of one segment's backends."""

    def __cinit__(self, Pools pools):
        self.pools = pools

    cdef bint is_owed(self, uint32_t slot, uint32_t worker, uint64_t ours_since, uint64_t now) noexcept nogil:
        """Whether a backend of the worker's, at the end of a transaction, should make room for a client elsewhere.

        `ours_since`: when the first of our own clients began to wait, `now` when none does.
        """
        cdef uint32_t pool = pool_of(self.pools.leases.word(slot)), heir
        cdef uint64_t age_us
        if now < self.pools.slots[slot].opened_at_us + STAY_US:
            return False
        if self.pools.waiters.head(pool, &heir, now, &age_us) == NO_TICKET or heir == worker:
            return False
        return age_us >= now - ours_since + STAY_US and not self.has_room(pool) and not self.is_moving(pool)

    cdef bint serves_ours(self, uint32_t pool) noexcept nogil:
        """Whether the home may serve its own clients with such a backend: always, unless the operator has paused."""
        return not self.pools.pauses(pool)

    cdef bint has_room(self, uint32_t pool) noexcept nogil:
        """Whether another backend may be opened for a pool as things are. `Pools.open` decides, under the lock."""
        cdef uint32_t slot, in_pool = 0, in_database = 0
        cdef uint64_t word
        cdef bint is_any_empty = False
        cdef PoolRecord *record = &self.pools.records[pool]
        for slot in range(self.pools.leases.count):
            word = self.pools.leases.word(slot)
            if phase_of(word) == EMPTY:
                is_any_empty = True
            elif pool_of(word) == pool:
                in_pool += not self.pools.slots[slot].private
                in_database += 1
            elif strncmp(self.pools.records[pool_of(word)].database, record.database, NAME_BYTES) == 0:
                in_database += 1
        return (is_any_empty and in_pool < record.pool_size
                and (record.database_limit == 0 or in_database < record.database_limit))

    cdef bint is_moving(self, uint32_t pool) noexcept nogil:
        """Whether a backend of the pool is being closed or opened."""
        cdef uint32_t slot
        cdef uint64_t word
        for slot in range(self.pools.leases.count):
            word = self.pools.leases.word(slot)
            if (pool_of(word) == pool and (phase_of(word) == CLOSING or phase_of(word) == OPENING)
                    and not self.pools.slots[slot].private):
                return True
        return False

    # Below: once per backend or per waiting client; called from Python.

    def settle(self, uint32_t pool, *, bint is_homed):
        """A backend of the pool was opened: whether it has a home, and so whether the next ones will."""
        self.pools.records[pool].is_homed = is_homed

    def is_homed(self, uint32_t pool):
        """Whether the backends of a pool have homes."""
        return bool(self.pools.records[pool].is_homed)

    def count(self, uint32_t pool, uint32_t worker):
        """A pool's (backends; those being opened for the worker's clients; those that could serve them)."""
        cdef uint32_t slot, every = 0, opening = 0, serving = 0
        cdef uint64_t word
        cdef bint is_homed = self.pools.records[pool].is_homed
        cdef uint32_t regent = self.pools.segment.header.workers      # what it holds is not being opened: crossing.pyx
        for slot in range(self.pools.leases.count):
            word = self.pools.leases.word(slot)
            if phase_of(word) == EMPTY or pool_of(word) != pool or self.pools.slots[slot].private:
                continue
            every += 1
            if phase_of(word) == OPENING:
                opening += (not is_homed or owner_of(word) == worker) and owner_of(word) != regent
            elif phase_of(word) in (FREE, LEASED, GRANTED):
                serving += is_usable_by(worker, &self.pools.slots[slot])
        return every, opening, serving

    def find_idle_abroad(self, uint32_t pool, uint32_t worker, int32_t scope):
        """(slot, generation, home) of a backend that another worker could close to make room, or None."""
        cdef uint32_t slot
        cdef int32_t oldest = NO_SLOT
        cdef uint64_t word, now = now_us()
        if self.is_moving(pool):
            return None
        for slot in range(self.pools.leases.count):
            word = self.pools.leases.word(slot)
            if phase_of(word) != FREE or is_usable_by(worker, &self.pools.slots[slot]):
                continue
            if now < self.pools.slots[slot].opened_at_us + STAY_US or not self._makes_room(pool, pool_of(word), scope):
                continue
            if oldest == NO_SLOT or self.pools.slots[slot].released_at_us < self.pools.slots[oldest].released_at_us:
                oldest = slot
        if oldest == NO_SLOT:
            return None
        return oldest, generation_of(self.pools.leases.word(oldest)), self.pools.slots[oldest].home - 1

    def _makes_room(self, uint32_t pool, uint32_t other, int32_t scope):
        """Whether a backend less in pool `other` is room for one more in `pool`. Who waits there goes first."""
        if other == pool:
            return True
        if scope == _POOL_FULL or self.pools.waiters.waiting(other):
            return False
        return scope != _DATABASE_FULL or strncmp(
            self.pools.records[other].database, self.pools.records[pool].database, NAME_BYTES) == 0
