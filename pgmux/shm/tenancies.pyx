# cython: boundscheck=False, wraparound=False
"""Tenancies: which (database, user) a pool's record belongs to, and when it may be given to another.

Names come from clients, records are counted out at start: who asks for ever new names must not keep
others out. So a record that no client and no backend uses is given to another (database, user)
when none is left, and its tenancy grows by one. Everybody who remembers a pool's number remembers
the tenancy with it.

Why nobody ends up in a pool of others. A client counts itself as a guest, *then* looks at the
tenancy (`join`); who wants the record raises the tenancy, *then* looks for guests, under the lock,
and desists if there is one (both sequentially consistent: one of the two sees the other). A
backend's slot names its pool and leaves EMPTY under the same lock; whoever opens one reads
the names afterwards, when they cannot change. A holder that dies in between leaves a
record that belongs to nobody, which the next taker fills.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen, strncmp

from pgmux.shm.atomics cimport load, now_us, store
from pgmux.shm.board cimport Board
from pgmux.shm.layout cimport Counters, NAME_BYTES, PERIODS, PoolRecord, TOTALS, TROUBLE_BYTES
from pgmux.shm.leases cimport EMPTY, LeaseTable, phase_of, pool_of
from pgmux.shm.segment cimport Segment

from pgmux.errors import PgmuxError

cdef enum:
    NO_RECORD = -1


class PoolsExhausted(PgmuxError):
    """No record is left for another (database, user)."""


cdef class Tenancies:
    """The tenancies of one segment, as seen by one process."""

    def __cinit__(self, Segment segment, LeaseTable leases, Board board):
        self.segment = segment
        self.leases = leases
        self.board = board
        self.records = segment.pools
        self.count = segment.header.pools

    def place(self, bytes database, bytes user, uint32_t pool_size, uint32_t database_limit=0):
        """(pool, tenancy) of (database, user), made when there is none yet. Raises PoolsExhausted.

        Names are cut to 63 bytes, as PostgreSQL does.
        """
        cdef uint32_t pool
        cdef int found = NO_RECORD
        cdef int32_t database_record
        cdef PoolRecord *record
        database, user = database[:NAME_BYTES - 1], user[:NAME_BYTES - 1]
        self.segment.lock()
        try:
            for pool in range(self.count):
                record = &self.records[pool]
                if not load(&record.in_use):
                    if found == NO_RECORD:
                        found = pool
                elif (strncmp(record.database, <const char *>database, NAME_BYTES) == 0
                        and strncmp(record.user, <const char *>user, NAME_BYTES) == 0):
                    return pool, record.tenancy
            if found == NO_RECORD:
                found = self.evict()
            if found == NO_RECORD:
                raise PoolsExhausted(f"all {self.count} pools are in use: raise max_pools and restart")
            database_record = self.board.database_of(database)
            if database_record < 0:
                raise PoolsExhausted(f"all {self.board.count} databases are in use: raise max_pools and restart")
            record = &self.records[found]
            record.database_record = database_record
            memset(record.database, 0, NAME_BYTES)
            memset(record.user, 0, NAME_BYTES)
            memcpy(record.database, <const char *>database, len(database))
            memcpy(record.user, <const char *>user, len(user))
            record.pool_size = pool_size
            record.database_limit = database_limit
            record.created_at_us = now_us()
            store(&record.in_use, 1)
            return found, record.tenancy
        finally:
            self.segment.unlock()

    cdef int evict(self) noexcept:
        """A record that is nobody's any more, or NO_RECORD. Under the lock.

        One whose log-in has never succeeded goes first, then the one that was made longest ago.
        """
        cdef uint32_t pool, worker, period
        cdef int oldest = NO_RECORD
        cdef PoolRecord *record
        for pool in range(self.count):
            record = &self.records[pool]
            if not self.is_vacant(pool):
                continue
            if oldest == NO_RECORD or (
                    record.welcome_bytes == 0, self.records[oldest].created_at_us) > (
                    self.records[oldest].welcome_bytes == 0, record.created_at_us):
                oldest = pool
        if oldest == NO_RECORD:
            return NO_RECORD
        record = &self.records[oldest]
        store(&record.tenancy, record.tenancy + 1)
        if not self.is_vacant(oldest):
            return NO_RECORD                 # somebody came in the last moment; its tenancy is another now
        store(&record.in_use, 0)
        record.welcome_bytes = 0
        record.retry_at_us = 0
        memset(record.trouble, 0, TROUBLE_BYTES)
        for worker in range(self.segment.header.workers):
            memset(&self.segment.counters[worker * self.count + oldest], 0, sizeof(Counters))
        for period in range(PERIODS):
            memset(&self.segment.periods[(period * self.count + oldest) * TOTALS], 0, TOTALS * sizeof(uint64_t))
        return oldest

    cdef bint is_vacant(self, uint32_t pool) noexcept:
        """Whether no client and no backend uses a pool. (A ticket in its queue without a guest is a dead one.)"""
        cdef uint32_t slot, worker
        cdef uint64_t word
        if not load(&self.records[pool].in_use):
            return False
        for worker in range(self.segment.header.workers):
            if load(&self.segment.guests[worker * self.count + pool]):
                return False
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if phase_of(word) != EMPTY and pool_of(word) == pool:
                return False
        return True

    cdef bint join(self, uint32_t pool, uint64_t tenancy, uint32_t worker) noexcept nogil:
        """Count a client in the pool. False = the record has been given to another."""
        cdef uint64_t *guests = &self.segment.guests[worker * self.count + pool]
        store(guests, guests[0] + 1)         # ours alone to write; seen by all before the tenancy is looked at
        if load(&self.records[pool].tenancy) == tenancy:
            return True
        store(guests, guests[0] - 1)
        return False

    cdef void leave(self, uint32_t pool, uint32_t worker) noexcept nogil:
        """A client that was counted uses the pool no more."""
        cdef uint64_t *guests = &self.segment.guests[worker * self.count + pool]
        store(guests, guests[0] - 1)

    # Below: once per pool or per death; called from Python.

    def tenancy(self, uint32_t pool):
        """The tenancy of a pool now."""
        return load(&self.records[pool].tenancy)

    def names(self, uint32_t pool):
        """(tenancy, database, user) of a pool, of one moment; None when it is nobody's."""
        cdef PoolRecord *record = &self.records[pool]
        self.segment.lock()
        try:
            if not load(&record.in_use):
                return None
            return record.tenancy, record.database[:strlen(record.database)], record.user[:strlen(record.user)]
        finally:
            self.segment.unlock()

    def try_join(self, uint32_t pool, uint64_t tenancy, uint32_t worker):
        """Count a client in the pool. False = the record has been given to another."""
        return bool(self.join(pool, tenancy, worker))

    def give_up(self, uint32_t pool, uint32_t worker):
        """A client that was counted uses the pool no more."""
        self.leave(pool, worker)

    def expel(self, uint32_t worker):
        """A dead worker's clients use nothing any more. By the supervisor."""
        cdef uint32_t pool
        for pool in range(self.count):
            store(&self.segment.guests[worker * self.count + pool], 0)

    def guests(self, uint32_t pool):
        """How many clients use the pool, in all workers."""
        return sum(load(&self.segment.guests[worker * self.count + pool])
                   for worker in range(self.segment.header.workers))

    def clients(self, str kind, bytes name):
        """How many clients use the pools of a database, or of a user (`kind`), in all workers."""
        cdef bint is_database = kind == "database"
        cdef uint32_t pool
        cdef long count = 0
        for pool in range(self.count):
            if load(&self.records[pool].in_use) and name == (
                    self.records[pool].database if is_database else self.records[pool].user):
                count += self.guests(pool)
        return count

    def pools(self):
        """The pools that belong to somebody."""
        return [pool for pool in range(self.count) if load(&self.records[pool].in_use)]
