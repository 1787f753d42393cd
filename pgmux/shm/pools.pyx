# cython: boundscheck=False, wraparound=False
"""Pools over all workers: taking a backend, releasing it, handing it to who waits longest.

This file puts the three parts together: lease words (the truth), free bitmaps (where to
look first) and wait queues. The bitmap is a hint with one guarantee: a FREE slot has its
bit, or the process that freed it is about to set it. (A taker clears the bit after its
compare-and-swap and before its own release, so the last word on a FREE slot is always the
bit being set.) A bit too many costs one look at the word.

Opening a backend and registering a pool happen under the segment's lock; both limits are
counted from the words themselves, so no count can go astray when a process dies.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport strlen, strncmp

from pgmux.shm.atomics cimport and_bits, load, lowest_bit, now_us, or_bits, store
from pgmux.shm.baggage cimport BaggageTable
from pgmux.shm.board cimport Board
from pgmux.shm.layout cimport NAME_BYTES, PoolRecord
from pgmux.shm.leases cimport (
    ACCEPT, ADOPT, CLEAR, CLOSE, CLOSING, EMPTY, FREE, GRANT, GRANTED, LEASED, LeaseTable, NOBODY,
    NO_POOL, OPEN, OPENING, RECALL, RELEASE, TAKE, generation_of, is_held, is_usable_by, moved, owner_of,
    phase_of, pool_of,
)
from pgmux.shm.renewal cimport Renewal
from pgmux.shm.segment cimport Segment
from pgmux.shm.tenancies cimport Tenancies
from pgmux.shm.tidings cimport Tidings
from pgmux.shm.waiters cimport NO_TICKET, WaitQueue
from pgmux.shm.workers cimport OPEN_BACKENDS, Workers

FAVOUR_OWN_FOR_US = 2000
POOL_FULL = -2       # what Pools.open gives when the pool has all the backends it may have
DATABASE_FULL = -4   # when all pools of its database together have
ALL_FULL = -3        # when every slot is in use
POOL_PAUSED = -5     # when the operator has paused it


cdef class Pools:
    """All pools of one segment, as seen by one process."""

    def __cinit__(self, Segment segment, bells=()):
        self.segment = segment
        self.leases = LeaseTable(segment)
        self.waiters = WaitQueue(segment)
        self.workers = Workers(segment, bells)
        self.baggage = BaggageTable(segment)
        self.board = Board(segment)
        self.tenancies = Tenancies(segment, self.leases, self.board)
        self.tidings = Tidings(segment, self.workers)
        self.renewal = Renewal(segment, self.leases, self.board)
        self.records = segment.pools
        self.slots = segment.slots
        self.free_bits = segment.free_bits
        self.words = segment.header.free_words
        self.slack_us = FAVOUR_OWN_FOR_US

    cdef inline void _set_free(self, uint32_t pool, uint32_t slot) noexcept nogil:
        or_bits(&self.free_bits[pool * self.words + (slot >> 6)], <uint64_t>1 << (slot & 63))

    cdef inline void _clear_free(self, uint32_t pool, uint32_t slot) noexcept nogil:
        and_bits(&self.free_bits[pool * self.words + (slot >> 6)], ~(<uint64_t>1 << (slot & 63)))

    cdef inline bint pauses(self, uint32_t pool) noexcept nogil:
        """Whether the operator lets no client of the pool have a backend now."""
        return self.board.pauses(self.records[pool].database_record)

    cdef int32_t take(self, uint32_t pool, uint32_t worker, int32_t favourite) noexcept nogil:
        """A slot now LEASED to the worker, NO_SLOT when none is FREE. `favourite` is tried first, then what
        this worker leased last, then any: a socket that it has used is in its epoll."""
        if self.pauses(pool):
            return NO_SLOT
        if favourite >= 0 and phase_of(self.leases.word(favourite)) == FREE and self._take_slot(pool, worker, favourite):
            return favourite
        return self._take_any(pool, worker)

    cdef int32_t _take_any(self, uint32_t pool, uint32_t worker) noexcept nogil:
        cdef uint32_t word, slot
        cdef uint64_t bits
        cdef bint is_own
        for is_own in (True, False):
            for word in range(self.words):
                bits = load(&self.free_bits[pool * self.words + word])
                while bits:
                    slot = word * 64 + lowest_bit(bits)
                    bits &= bits - 1
                    if (self.slots[slot].last_owner == worker) == is_own and self._take_slot(pool, worker, slot):
                        return slot
        return NO_SLOT

    cdef int32_t take_other(self, uint32_t pool, uint32_t worker, int32_t last) noexcept nogil:
        """A slot now LEASED to the worker, not the one after which to look if there is another; NO_SLOT as `take`."""
        cdef uint32_t step
        cdef int32_t slot
        if self.pauses(pool):
            return NO_SLOT
        for step in range(1, self.leases.count + 1):
            slot = <int32_t>((<uint32_t>(last + 1) + step - 1) % self.leases.count)
            if self._take_slot(pool, worker, slot):
                return slot
        return NO_SLOT

    cdef inline bint _take_slot(self, uint32_t pool, uint32_t worker, uint32_t slot) noexcept nogil:
        cdef uint64_t seen = self.leases.word(slot)
        if (phase_of(seen) != FREE or pool_of(seen) != pool or not is_usable_by(worker, &self.slots[slot])
                or not self.leases.move(slot, seen, TAKE, worker, pool)):
            return False
        self._clear_free(pool, slot)
        return True

    cdef bint release(self, uint32_t slot, uint32_t worker) noexcept nogil:
        """Give up a lease: to the worker whose client waits longest, else to the free ones.

        False when the lease was fenced meanwhile. Whether this worker's own clients are served
        first is the caller's decision (`serves_own`), before it calls this.
        """
        cdef uint64_t seen = self.leases.word(slot), granted, age_us
        cdef uint32_t pool = pool_of(seen), heir
        cdef int64_t ticket
        cdef int32_t again
        if not is_held(seen, LEASED, worker):
            return False
        if self.slots[slot].home:            # it can be granted to nobody: Homes says when it goes to another worker
            if not self.leases.move(slot, seen, RELEASE, NOBODY, pool):
                return False
            self._set_free(pool, slot)
            return True
        while True:
            ticket = NO_TICKET if self.waiters.is_empty(pool) else self.waiters.head(pool, &heir, 0, &age_us)
            if ticket == NO_TICKET or self.pauses(pool):
                if not self.leases.move(slot, seen, RELEASE, NOBODY, pool):
                    return False
                self._set_free(pool, slot)
                # Paused: whoever resumes has every worker look for free backends and waiting clients.
                if (self.waiters.is_empty(pool) or self.waiters.head(pool, &heir, 0, &age_us) == NO_TICKET
                        or self.pauses(pool)):
                    return True
                # Somebody parked meanwhile and may have looked before the slot was FREE.
                again = self.take(pool, worker, slot)
                if again == NO_SLOT:
                    return True              # whoever took it looks at the queue when it releases
                slot = again
                seen = self.leases.word(slot)
                continue
            # Grant first, pop second: killed in between, the heir finds the grant by LOOK_FOR_GRANTS
            # and its ticket is still queued; the other way round its ticket would be lost.
            granted = moved(seen, GRANT, heir, pool)
            if not self.leases.move(slot, seen, GRANT, heir, pool):
                return False
            if self.waiters.pop(pool, ticket):
                self.workers.deliver(heir, slot)
                return True
            # That waiter has gone. Our own grant alone is recalled: a later one to the heir took a ticket.
            if not self.leases.move(slot, granted, RECALL, worker, pool):
                return True                  # the heir's scan has found it; it is the heir's now
            seen = self.leases.word(slot)

    cdef bint accept(self, uint32_t slot, uint32_t worker) noexcept nogil:
        """Whether the slot was GRANTED to the worker and is now LEASED to it."""
        cdef uint64_t seen = self.leases.word(slot)
        return is_held(seen, GRANTED, worker) and self.leases.move(slot, seen, ACCEPT, worker, pool_of(seen))

    cdef bint serves_own(self, uint32_t pool, uint32_t worker, uint64_t now) noexcept nogil:
        """Whether a worker with waiting clients of its own may serve the first of them next, without
        a hand-over: the head of the queue is its own, or has not waited longer than the slack."""
        cdef uint32_t heir
        cdef uint64_t age_us
        if self.pauses(pool):
            return False
        if self.waiters.head(pool, &heir, now, &age_us) == NO_TICKET:
            return True
        return heir == worker or age_us < self.slack_us

    # Below: once per backend, per pool or per death; called from Python.

    def pause(self):
        """No new leases, in any worker, until `resume`: clients park. Transactions under way go on."""
        store(&self.segment.header.paused, 1)

    def resume(self):
        """Leases again; every worker serves who waits."""
        store(&self.segment.header.paused, 0)
        self.workers.send_all_on_errand(OPEN_BACKENDS)

    @property
    def is_paused(self):
        """Whether the operator has paused all pools."""
        return bool(load(&self.segment.header.paused))

    @property
    def is_left(self):
        """Whether a successor with another layout has taken over, so that only what is left goes on here."""
        return bool(load(&self.segment.header.leaving))

    def is_pool_paused(self, uint32_t pool):
        """Whether the operator has paused this pool: all of them, or its database."""
        return bool(self.pauses(pool))

    def register(self, bytes database, bytes user, uint32_t pool_size, uint32_t database_limit=0):
        """The index of the pool (database, user), made when there is none yet. Raises PoolsExhausted.
        Names are cut to 63 bytes, as PostgreSQL does."""
        return self.tenancies.place(database, user, pool_size, database_limit)[0]

    cdef bint is_disabled(self, uint32_t pool) noexcept nogil:
        """Whether the operator lets no new client in to the pool's database."""
        return load(&self.board.databases[self.records[pool].database_record].disabled)

    cdef bytes user_of(self, uint32_t pool):
        """PostgreSQL's user of a pool that the caller is a guest of."""
        return self.records[pool].user[:strlen(self.records[pool].user)]

    def is_pool_disabled(self, uint32_t pool):
        """Whether the operator lets no new client in to the pool's database."""
        return bool(self.is_disabled(pool))

    def database_record(self, uint32_t pool):
        """The record of a pool's database, on the board."""
        return self.records[pool].database_record

    def resize(self, uint32_t pool, uint32_t pool_size, uint32_t database_limit=0):
        """New limits for a pool. Backends beyond them are not closed at once."""
        self.records[pool].pool_size = pool_size
        self.records[pool].database_limit = database_limit

    def open(self, uint32_t pool, uint32_t worker, uint32_t reserve=0, uint16_t private=0):
        """An EMPTY slot, now OPENING for the worker; a negative constant at a limit, or in a pause. Limits count
        all slots that are not EMPTY: one being opened or closed is a PostgreSQL process, or may be. `reserve`
        backends may come on top of the pool's size.

        A private one is for one client alone: it takes no place of the pool's, whose clients it will never
        serve, but counts within the limits that keep PostgreSQL from having too many."""
        cdef uint32_t slot, in_pool = 0, in_database = 0
        cdef int32_t found = NO_SLOT
        cdef uint64_t word
        cdef PoolRecord *record = &self.records[pool]
        self.segment.lock()
        try:
            if self.pauses(pool):
                return POOL_PAUSED       # under the lock: who pauses, then takes it, sees all that are still opened
            if self.segment.header.leaving:
                return self._open_ceded(pool, worker, private)
            for slot in range(self.leases.count):
                word = self.leases.word(slot)
                if phase_of(word) == EMPTY:
                    if found == NO_SLOT:
                        found = slot
                elif pool_of(word) == pool:
                    in_pool += not self.slots[slot].private
                    in_database += 1
                elif strncmp(self.records[pool_of(word)].database, record.database, NAME_BYTES) == 0:
                    in_database += 1
            if in_pool >= record.pool_size + reserve and not private:
                return POOL_FULL
            if 0 < record.database_limit <= in_database:
                return DATABASE_FULL
            if found == NO_SLOT:
                return ALL_FULL
            self.slots[found].private = private      # nobody else writes to an EMPTY slot while we have the lock
            return found if self.leases.move(found, self.leases.word(found), OPEN, worker, pool) else ALL_FULL
        finally:
            self.segment.unlock()

    cdef int32_t _open_ceded(self, uint32_t pool, uint32_t worker, uint32_t private) noexcept:
        """A slot that our successor has given back for this pool, now OPENING for the worker: see crossing.pyx."""
        cdef uint32_t slot, regent = self.segment.header.workers
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if is_held(word, OPENING, regent) and pool_of(word) == pool:
                self.leases.move(slot, word, CLOSE, regent, pool)
                self.leases.move(slot, self.leases.word(slot), CLEAR, NOBODY, NO_POOL)
                self.slots[slot].private = private
                self.leases.move(slot, self.leases.word(slot), OPEN, worker, pool)
                return slot
        return POOL_FULL

    cdef uint32_t size(self, uint32_t pool) noexcept nogil:
        """How many backends the pool has, those being opened or closed included."""
        cdef uint32_t slot, found = 0
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            found += phase_of(word) != EMPTY and pool_of(word) == pool
        return found

    def longest_wait_us(self, uint32_t pool):
        """How long the pool's first waiting client has waited, microseconds; 0 when none does."""
        cdef uint32_t heir
        cdef uint64_t age_us
        if self.waiters.head(pool, &heir, now_us(), &age_us) == NO_TICKET:
            return 0
        return age_us

    def count(self, uint32_t pool):
        """A pool's (backends, those OPENING, those FREE, those in service: FREE, LEASED or GRANTED), without
        those that are one client's alone."""
        cdef uint32_t slot, every = 0, opening = 0, free = 0, serving = 0
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if phase_of(word) != EMPTY and pool_of(word) == pool and not self.slots[slot].private:
                every += 1
                opening += phase_of(word) == OPENING
                free += phase_of(word) == FREE
                serving += phase_of(word) in (FREE, LEASED, GRANTED)
        return every, opening, free, serving

    def evict(self, uint32_t pool, uint32_t worker, bint within_database=False):
        """Lease the backend of another pool (of the same database) that has been FREE longest and nobody
        waits for, so that there is room for `pool`. Gives the slot; NO_SLOT when there is none, or when
        some backend is being closed already."""
        cdef uint32_t slot
        cdef int32_t oldest = NO_SLOT
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if phase_of(word) == CLOSING:
                return NO_SLOT
            if phase_of(word) != FREE or pool_of(word) == pool or not is_usable_by(worker, &self.slots[slot]):
                continue
            if self.waiters.waiting(pool_of(word)):
                continue
            if within_database and strncmp(self.records[pool_of(word)].database, self.records[pool].database, NAME_BYTES):
                continue
            if oldest == NO_SLOT or self.slots[slot].released_at_us < self.slots[oldest].released_at_us:
                oldest = slot
        if oldest != NO_SLOT:
            word = self.leases.word(oldest)
            if phase_of(word) == FREE and self.leases.move(oldest, word, TAKE, worker, pool_of(word)):
                self._clear_free(pool_of(word), oldest)
                return oldest
        return NO_SLOT

    def shut(self, uint32_t slot, uint32_t worker):
        """CLOSE a slot this worker is opening or has leased. Whether it was the worker's."""
        cdef uint64_t seen = self.leases.word(slot)
        if owner_of(seen) != worker or phase_of(seen) not in (OPENING, LEASED):
            return False
        return bool(self.leases.move(slot, seen, CLOSE, worker, pool_of(seen)))

    def clear(self, uint32_t slot, uint32_t worker):
        """The backend is gone: the slot is EMPTY, and whoever waits for room may open another."""
        cdef uint64_t seen = self.leases.word(slot)
        if not is_held(seen, CLOSING, worker) or not self.leases.move(slot, seen, CLEAR, NOBODY, NO_POOL):
            return False
        for pool in range(self.segment.header.pools):
            if load(&self.records[pool].in_use) and not self.waiters.is_empty(pool):
                if self.records[pool].is_homed:      # what this worker opens is of no use to who waits elsewhere
                    self.workers.send_all_on_errand(OPEN_BACKENDS)
                    break
                self.workers.ask(worker, OPEN_BACKENDS)
        return True

    def count_cancel(self, uint32_t slot, int32_t more):
        """A cancel request for a backend of ours is on its way (+1), or has settled (-1)."""
        if more > 0 or self.slots[slot].cancels:
            self.slots[slot].cancels += more

    def rebuild(self):
        """Set the free bit of every FREE slot, from the words: a process may have died before it could."""
        cdef uint32_t slot
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if phase_of(word) == FREE:
                self._set_free(pool_of(word), slot)

    def introduce(self, uint32_t slot, uint32_t backend_pid, bytes key, uint32_t expires_s=0, home=None):
        """Write down who the backend in a slot is, before its first lease. It comes without baggage."""
        self.baggage.forget(slot)
        self.leases.introduce(slot, backend_pid, key, expires_s, home)

    def identity(self, uint32_t slot):
        """(PostgreSQL's pid, cancel key) of the backend in a slot."""
        return self.leases.identity(slot)

    def generation(self, uint32_t slot):
        """The slot's generation now."""
        return generation_of(self.leases.word(slot))

    def try_take(self, uint32_t pool, uint32_t worker, int32_t favourite=-1):
        """A slot leased to the worker, or None."""
        slot = self.take(pool, worker, favourite)
        return None if slot == NO_SLOT else slot

    def try_release(self, uint32_t slot, uint32_t worker):
        """Whether the lease was the worker's to give up."""
        return bool(self.release(slot, worker))

    def may_serve_own(self, uint32_t pool, uint32_t worker, uint64_t now):
        """Whether a worker may serve a waiting client of its own next, without a hand-over."""
        return bool(self.serves_own(pool, worker, now))

    def try_accept(self, uint32_t slot, uint32_t worker):
        """Whether the slot was granted to the worker; it is leased to it now."""
        return bool(self.accept(slot, worker))

    def try_adopt(self, uint32_t slot, uint32_t worker):
        """OPENING becomes LEASED: the backend is logged in. Whether it was the worker's."""
        cdef uint64_t seen = self.leases.word(slot)
        return is_held(seen, OPENING, worker) and self.leases.move(slot, seen, ADOPT, worker, pool_of(seen))

    def read(self, uint32_t pool):
        """A pool's record as a dict, or None when the index is unused."""
        cdef PoolRecord *record = &self.records[pool]
        if pool >= self.segment.header.pools or not load(&record.in_use):
            return None
        every, opening, free, _serving = self.count(pool)
        return {"pool": pool, "database": record.database[:strlen(record.database)],
                "user": record.user[:strlen(record.user)], "pool_size": record.pool_size,
                "backends": every, "opening": opening, "free": free, "waiting": self.waiters.waiting(pool)}

    def describe_slot(self, uint32_t slot):
        """A slot as a dict."""
        return self.leases.describe(slot)
