# cython: boundscheck=False, wraparound=False
"""A survey: all pools' clients and backends, counted in one pass over each table.

Compiled, because it is made on a worker's time: 10,000 clients cost a fraction of a millisecond, which no query
notices. Nobody is disturbed, nothing is locked; what changes meanwhile is counted before or after.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from pgmux.shm.atomics cimport load, now_us
from pgmux.shm.clients cimport AWAY, has_left
from pgmux.shm.layout cimport ClientRecord, PoolRecord, Slot
from pgmux.shm.leases cimport CLOSING, EMPTY, FREE, GRANTED, OPENING, owner_of, phase_of, pool_of
from pgmux.shm.segment cimport Segment

cdef enum:
    OTHERS = 3                   # counts that belong to no pool: clients that log in, all records in use, consoles


cdef class Survey:
    """Surveys of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment

    cdef int count_clients(self, Headcount *pools, uint32_t count, uint32_t *others) noexcept nogil:
        cdef ClientRecord *client
        cdef uint64_t mark = load(&self.segment.board.client_mark), record
        cdef Headcount *pool
        for record in range(mark):
            client = &self.segment.clients[record]
            if has_left(load(&client.owner)):
                continue
            others[1] += 1
            others[0] += client.phase == LOGGING_IN
            if client.pool >= count:
                others[2] += client.pool >= CONSOLES and client.phase == IDLE
                continue
            pool = &pools[client.pool]
            if client.phase == IDLE:
                pool.idle += 1
            elif client.phase == SERVED:
                pool.served += 1
            elif client.phase == WAITING:
                pool.waiting += 1
                if pool.waiting_since_us == 0 or client.since_us < pool.waiting_since_us:
                    pool.waiting_since_us = client.since_us
        return 0

    cdef int count_backends(self, Headcount *pools, uint32_t count, uint64_t now) noexcept nogil:
        cdef uint32_t slot, phase
        cdef uint64_t word
        cdef Slot *backend
        cdef Headcount *pool
        for slot in range(self.segment.header.slots):
            backend = &self.segment.slots[slot]
            word = load(&backend.word)
            phase = phase_of(word)
            if phase == EMPTY or pool_of(word) >= count:
                continue
            pool = &pools[pool_of(word)]
            if phase == OPENING:
                if owner_of(word) == self.segment.header.workers:    # set aside, and in use in another segment
                    pool.outdated += 0 < backend.expires_s < now // 1_000_000
                    if self.serves_away(slot):
                        pool.serving += 1
                        continue
                pool.opening += 1
                continue
            pool.cancels += backend.cancels
            pool.outdated += 0 < backend.expires_s < now // 1_000_000
            if phase == FREE:
                pool.free += 1
            elif phase == CLOSING:
                pool.closing += 1
            elif phase == GRANTED or self.segment.clients[backend.client].slot == <int32_t>slot:
                pool.serving += 1
            elif backend.cancels:
                pool.being_cancelled += 1
            else:
                pool.cleaning += 1
        return 0

    cdef bint serves_away(self, uint32_t slot) noexcept nogil:
        cdef ClientRecord *client = &self.segment.clients[self.segment.slots[slot].client]
        return load(&client.owner) == AWAY and client.phase == SERVED and client.slot == <int32_t>slot

    def take(self):
        """(one dict a pool, by number; clients that log in; records in use; console clients)."""
        cdef uint32_t count = 0, pool
        cdef uint32_t[OTHERS] others
        cdef uint64_t now = now_us()
        cdef Headcount *heads
        for pool in range(self.segment.header.pools):
            if load(&self.segment.pools[pool].in_use):
                count = pool + 1
        heads = <Headcount *>calloc(count + 1, sizeof(Headcount))
        if heads == NULL:
            raise MemoryError()
        others[0] = others[1] = others[2] = 0
        try:
            with nogil:
                self.count_clients(heads, count, others)
                self.count_backends(heads, count, now)
            rows = [self._describe(pool, &heads[pool], now) for pool in range(count)
                    if load(&self.segment.pools[pool].in_use)]
            return rows, others[0], others[1], others[2]
        finally:
            free(heads)

    def count_clients_before(self, uint32_t database_record, uint64_t moment_us):
        """How many clients of a database there are who were admitted by that moment; those that have gone over, or are
        still to come from another segment, are not counted."""
        cdef ClientRecord *client
        cdef uint64_t record, owner
        cdef uint32_t found = 0
        for record in range(load(&self.segment.board.client_mark)):
            client = &self.segment.clients[record]
            owner = load(&client.owner)
            if (not has_left(owner) and owner != AWAY and client.phase in (IDLE, WAITING, SERVED)
                    and client.connected_at_us <= moment_us and client.pool < self.segment.header.pools
                    and self.segment.pools[client.pool].database_record == database_record):
                found += 1
        return found

    cdef dict _describe(self, uint32_t pool, Headcount *head, uint64_t now):
        cdef PoolRecord *record = &self.segment.pools[pool]
        waited = now - head.waiting_since_us if 0 < head.waiting_since_us < now else 0
        retry_us = record.retry_at_us - now if record.retry_at_us > now else 0
        return {"pool": pool, "database": record.database[:strlen(record.database)],
                "user": record.user[:strlen(record.user)], "pool_size": record.pool_size,
                "database_limit": record.database_limit, "database_record": record.database_record,
                "idle": head.idle, "waiting": head.waiting, "served": head.served, "longest_wait_us": waited,
                "opening": head.opening, "free": head.free, "serving": head.serving, "cleaning": head.cleaning,
                "being_cancelled": head.being_cancelled, "closing": head.closing, "outdated": head.outdated,
                "cancels": head.cancels, "trouble": record.trouble[:strlen(record.trouble)], "retry_us": retry_us}
