# cython: boundscheck=False, wraparound=False
"""The crossing: what goes over from one segment into another, when a successor has another layout.

Such a successor can read nothing of the segment that it finds, so it makes one of its own, and for a while there
are two. Slot n of the one stands for slot n of the other, and likewise client records: what is in use in the one
is set aside in the other, so that no limit is exceeded over both.

A slot is set aside by being OPENING, the *regent's*: that is the place after the last worker's, which no worker
has. In the segment that is left the regent takes what is FREE or EMPTY, by the same compare-and-swap as any
worker: from then on the slot is the other segment's. Nothing is opened there any more (`leave`) but in a slot that the
other segment has given back, for one pool: OPENING, the regent's.
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.atomics cimport load, now_us, store
from pgmux.shm.baggage cimport SEVERAL
from pgmux.shm.layout cimport Baggage, Prepared
from pgmux.shm.leases cimport (
    ADOPT, CLEAR, CLOSE, CLOSING, EMPTY, FENCE, FREE, GRANTED, NO_POOL, NOBODY, OPEN, OPENING, is_held, owner_of,
    phase_of, pool_of,
)
from pgmux.shm.pools cimport Pools


cdef class Crossing:
    """One segment's side of it."""

    cdef Pools pools
    cdef readonly uint32_t regent

    def __cinit__(self, Pools pools):
        self.pools = pools
        self.regent = pools.segment.header.workers

    # --- in the segment that is left

    def leave(self):
        """From now on no backend is opened but in a slot that was ceded."""
        self.pools.segment.lock()
        store(&self.pools.segment.header.leaving, 1)
        self.pools.segment.unlock()

    def history(self):
        """(moment of the last change to what statements mean, moment of the last ALTER or DROP)."""
        return load(&self.pools.segment.header.plans), load(&self.pools.segment.header.definitions)

    def seize_empty(self, uint32_t slot):
        """Whether the slot was EMPTY and is the regent's now.

        Under the lock: in between it looks like one that was ceded, and a worker that takes one makes it EMPTY first.
        """
        cdef bint is_ours
        self.pools.segment.lock()
        is_ours = self._claim(slot, 0) and self._shelve(slot)
        self.pools.segment.unlock()
        return is_ours

    def cede(self, uint32_t slot, uint32_t pool):
        """The other segment has given a slot back: any of our workers may open a backend of the pool there."""
        self.pools.leases.try_move(slot, CLEAR, NOBODY, NO_POOL, CLOSING, self.regent)
        return self._claim(slot, pool)

    def take_ceded(self, uint32_t slot):
        """Whether the slot was ceded, and nobody has used it."""
        cdef bint was_ours
        self.pools.segment.lock()
        was_ours = is_held(self.pools.leases.word(slot), OPENING, self.regent) and self._shelve(slot)
        self.pools.segment.unlock()
        return was_ours

    cdef bint _claim(self, uint32_t slot, uint32_t pool):
        cdef uint64_t word = self.pools.leases.word(slot)
        return phase_of(word) == EMPTY and self.pools.leases.move(slot, word, OPEN, self.regent, pool)

    cdef bint _shelve(self, uint32_t slot):
        """A slot of the regent's that nobody here may use is CLOSING."""
        cdef uint64_t word = self.pools.leases.word(slot)
        return owner_of(word) == self.regent and self.pools.leases.move(slot, word, CLOSE, self.regent, pool_of(word))

    def shelve(self, uint32_t slot):
        """Nobody here may use a slot of the regent's any more: its backend has gone over."""
        self._shelve(slot)

    def seize_free(self, uint32_t slot):
        """Whether the slot was FREE, or granted to the regent, and is leased to it now."""
        cdef uint64_t word = self.pools.leases.word(slot)
        if is_held(word, GRANTED, self.regent):
            return bool(self.pools.accept(slot, self.regent))
        return phase_of(word) == FREE and bool(self.pools._take_slot(pool_of(word), self.regent, slot))

    def introduced(self, uint32_t slot):
        """The generation that a slot had when its socket was introduced."""
        return self.pools.leases.introduced(slot)

    def describe(self, uint32_t slot):
        """Who a backend of the regent's is, and what sessions have left there: what `introduce` wants to know."""
        slot_row = self.pools.leases.describe(slot)
        pid, key = self.pools.identity(slot)
        return {"pid": pid, "key": key, "settings": self.pools.baggage.settings(slot),
                "statements": self._statements(slot), "good_as_of": self.pools.segment.baggage[slot].plans,
                "is_under_tls": slot_row["home"] is not None,
                **{name: slot_row[name] for name in ("opened_at_us", "expires_s", "lease_count", "tls",
                                                     "address", "port", "local_address", "local_port")}}

    cdef list _statements(self, uint32_t slot):
        """The ids of the statements that are prepared on a backend, the one used longest ago first."""
        cdef uint32_t at, cells = self.pools.segment.header.prepared_cells
        cdef Prepared *table = self.pools.segment.prepared + <uint64_t>slot * cells
        found = []
        for at in range(cells):
            if table[at].high or table[at].low:
                found.append((table[at].used_at,
                              table[at].high.to_bytes(8, "big") + table[at].low.to_bytes(8, "big")))
        return [statement for _, statement in sorted(found)]

    # --- in the successor's

    def keep_history(self, uint64_t plans, uint64_t definitions):
        """Statements are named, and relied upon, as of these moments, if they are later than what is known here."""
        cdef uint64_t *mine = &self.pools.segment.header.definitions
        if plans > load(&self.pools.segment.header.plans):
            store(&self.pools.segment.header.plans, plans)
        if definitions > load(mine):
            store(mine, definitions)

    def set_aside(self, uint32_t slot, uint32_t pool, uint32_t private, uint32_t expires_s):
        """An EMPTY slot is in use in the other segment, by that pool. `expires_s`: as in Slot."""
        self.pools.slots[slot].private = private
        self.pools.slots[slot].expires_s = expires_s
        return bool(self.pools.leases.move(slot, self.pools.leases.word(slot), OPEN, self.regent, pool))

    def introduce(self, uint32_t slot, cargo, digest, home=None):
        """Write down what `describe` has told of a backend that has come. `digest`: of its settings."""
        cdef Baggage *baggage = &self.pools.segment.baggage[slot]
        self.pools.introduce(slot, cargo.pid, cargo.key, cargo.expires_s, home)
        self.pools.leases.locate(slot, (cargo.address.decode(), cargo.port),
                                 (cargo.local_address.decode(), cargo.local_port), cargo.tls)
        self.pools.slots[slot].opened_at_us, self.pools.slots[slot].lease_count = cargo.opened_at_us, cargo.lease_count
        for statement in cargo.statements:
            self.pools.baggage.keep_prepared(slot, statement)
        self.pools.baggage.set_settings(slot, cargo.settings, digest)
        baggage.recaller = SEVERAL           # whose last values of sequences there are is not told
        baggage.plans = cargo.good_as_of
        self.pools.renewal.expire_if_outdated(slot, cargo.opened_at_us)  # RECONNECT may have been said here meanwhile

    def open_to_all(self, uint32_t slot, uint32_t pool):
        """A backend that has come is the pool's: whoever waits longest has it, or the first who takes it."""
        if self.pools.leases.move(slot, self.pools.leases.word(slot), ADOPT, self.regent, pool):
            self.pools.slots[slot].released_at_us = now_us()
            self.pools.release(slot, self.regent)

    def leave_to_bury(self, uint32_t slot, uint32_t undertaker):
        """A backend has come whose client was lost: that worker is to end it."""
        for verb, owner in ((ADOPT, self.regent), (CLOSE, self.regent), (FENCE, undertaker)):
            self.pools.leases.try_move(slot, verb, owner)

    def vacate(self, uint32_t slot):
        """A slot that was set aside is EMPTY. Whether it was."""
        cdef uint64_t word = self.pools.leases.word(slot)
        if owner_of(word) != self.regent or not self.pools.leases.move(slot, word, CLOSE, self.regent, pool_of(word)):
            return False
        return bool(self.pools.leases.move(slot, self.pools.leases.word(slot), CLEAR, NOBODY, NO_POOL))
