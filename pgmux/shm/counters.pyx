# cython: boundscheck=False, wraparound=False
"""Counters and histograms: one row per (worker, pool), a single writer each, no atomics.

Readers add the workers' rows up. A counter never goes back, not even when its worker dies:
the successor goes on in the same row.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pgmux.shm.layout cimport BUCKETS, CACHE_LINE, Counters
from pgmux.shm.segment cimport Segment

# The order of the fields in layout.pxd's Counters, before the histograms.
NAMES = (
    "transactions", "queries", "leases", "handovers", "waits", "bytes_received", "bytes_sent",
    "transaction_us", "query_us", "wait_us", "logins", "login_failures", "backends_opened", "backends_closed",
    "cancels", "errors", "catch_ups", "pins", "parses", "injections", "inquiries", "cleanings", "audits", "findings",
    "notifications", "notifications_dropped", "ears_lost", "server_parses", "binds",
)
HISTOGRAMS = ("wait", "query", "transaction")

cdef enum:
    FIELDS = sizeof(Counters) // 8   # its padding included

assert 0 <= sizeof(Counters) - 8 * (len(NAMES) + len(HISTOGRAMS) * BUCKETS) < CACHE_LINE


cdef class CounterTable:
    """The counters of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment

    cdef Counters *rows(self, uint32_t worker) noexcept nogil:
        """The row of (worker, pool 0); the row of pool p is rows(worker)[p]."""
        return self.segment.counters + <uint64_t>worker * self.segment.header.pools

    def add(self, uint32_t worker, uint32_t pool, name, uint64_t amount=1):
        """Add to one counter of the worker's own row."""
        self._check(worker, pool)
        (<uint64_t *>&self.rows(worker)[pool])[NAMES.index(name)] += amount

    def read(self, uint32_t worker, uint32_t pool):
        """One row as a dict; histograms are lists of BUCKETS counts."""
        self._check(worker, pool)
        return _named(<uint64_t *>&self.rows(worker)[pool], True)

    def total(self, uint32_t pool):
        """The rows of all workers for one pool, added up."""
        cdef uint64_t[FIELDS] sums
        self._add_up(pool, sums)
        return _named(sums, True)

    def sums(self, uint32_t pool):
        """The same as `total`, without the histograms."""
        cdef uint64_t[FIELDS] sums
        self._add_up(pool, sums)
        return _named(sums, False)

    cdef int _add_up(self, uint32_t pool, uint64_t *sums) except -1:
        cdef uint64_t *row
        cdef uint32_t worker, at
        self._check(0, pool)
        memset(sums, 0, sizeof(Counters))
        for worker in range(self.segment.header.workers):
            row = <uint64_t *>&self.rows(worker)[pool]
            for at in range(FIELDS):
                sums[at] += row[at]
        return 0

    def _check(self, uint32_t worker, uint32_t pool):
        if worker >= self.segment.header.workers or pool >= self.segment.header.pools:
            raise IndexError(f"worker {worker}, pool {pool}")


cdef dict _named(uint64_t *values, bint has_histograms):
    cdef uint32_t at, bucket, begin
    row = {name: values[at] for at, name in enumerate(NAMES)}
    if has_histograms:
        for at, name in enumerate(HISTOGRAMS):
            begin = len(NAMES) + at * BUCKETS
            row[name] = [values[begin + bucket] for bucket in range(BUCKETS)]
    return row
