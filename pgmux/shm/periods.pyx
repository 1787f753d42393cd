# cython: boundscheck=False, wraparound=False
"""Snapshots of the counters, one each stats_period: averages are the change since the one before the last.

The supervisor takes them, because there is always exactly one and it has the time. Three are kept, so that
readers need no lock: who compares the present with snapshot n - 1 reads what is written again a whole period
later. So an average is over the last one to two periods, as PgBouncer's is.
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.atomics cimport load, now_us, store
from pgmux.shm.layout cimport PERIODS, TOTALS
from pgmux.shm.segment cimport Segment

from pgmux.shm import counters as rows

assert TOTALS == len(rows.NAMES)


cdef class Periods:
    """The snapshots of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.board = segment.board
        self.totals = segment.periods

    def age_us(self):
        """Microseconds since the last snapshot, or since the start when there is none."""
        cdef uint64_t taken = load(&self.board.period)
        since = self.board.periods_at_us[taken % PERIODS] if taken else self.segment.header.created_at_us
        return now_us() - since

    def take(self):
        """Take a snapshot of all pools' counters. By the supervisor."""
        cdef uint64_t number = load(&self.board.period) + 1
        cdef uint64_t *row
        cdef uint64_t *counters
        cdef uint32_t pool, worker, at
        for pool in range(self.segment.header.pools):
            if not load(&self.segment.pools[pool].in_use):
                continue
            row = self.totals + ((number % PERIODS) * self.segment.header.pools + pool) * TOTALS
            for at in range(TOTALS):
                row[at] = 0
            for worker in range(self.segment.header.workers):
                counters = <uint64_t *>&self.segment.counters[<uint64_t>worker * self.segment.header.pools + pool]
                for at in range(TOTALS):
                    row[at] += counters[at]
        self.board.periods_at_us[number % PERIODS] = now_us()
        store(&self.board.period, number)

    def since(self, uint32_t back=1):
        """When the last snapshot but `back` was taken, CLOCK_MONOTONIC microseconds: by default the one that averages
        begin with. Where there are not so many, the start."""
        cdef uint64_t number = load(&self.board.period)
        if number <= back:
            return self.segment.header.created_at_us
        return self.board.periods_at_us[(number - back) % PERIODS]

    def read(self, uint32_t pool, uint32_t back=1):
        """A pool's counters at that moment, by name."""
        if pool >= self.segment.header.pools:
            raise IndexError(f"pool {pool}")
        cdef uint64_t number = load(&self.board.period)
        cdef uint64_t *row = self.totals + (((number - back) % PERIODS) * self.segment.header.pools + pool) * TOTALS
        return {name: row[at] if number > back else 0 for at, name in enumerate(rows.NAMES)}
