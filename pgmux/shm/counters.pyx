# cython: boundscheck=False, wraparound=False
"""Counters and histograms: one row per (worker, pool), a single writer each, no atomics.

Readers add the workers' rows up. A counter never goes back, not even when its worker dies:
the successor goes on in the same row.
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.layout cimport BUCKETS, CACHE_LINE, Counters
from pgmux.shm.segment cimport Segment

# The order of the fields in layout.pxd's Counters, before the histograms.
NAMES = (
    "transactions", "queries", "leases", "handovers", "waits", "bytes_received", "bytes_sent",
    "transaction_us", "query_us", "wait_us", "logins", "login_failures", "backends_opened", "backends_closed",
    "cancels", "errors", "catch_ups", "pins", "parses", "injections", "inquiries", "cleanings", "audits", "findings",
    "notifications", "notifications_dropped", "ears_lost",
)
HISTOGRAMS = ("wait", "query", "transaction")

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
        cdef uint64_t *values = <uint64_t *>&self.rows(worker)[pool]
        row = {name: values[at] for at, name in enumerate(NAMES)}
        for at, name in enumerate(HISTOGRAMS):
            row[name] = [values[len(NAMES) + at * BUCKETS + bucket] for bucket in range(BUCKETS)]
        return row

    def total(self, uint32_t pool):
        """The rows of all workers for one pool, added up."""
        rows = [self.read(worker, pool) for worker in range(self.segment.header.workers)]
        sums = {name: sum(row[name] for row in rows) for name in NAMES}
        for name in HISTOGRAMS:
            sums[name] = [sum(buckets) for buckets in zip(*(row[name] for row in rows), strict=True)]
        return sums

    def _check(self, uint32_t worker, uint32_t pool):
        if worker >= self.segment.header.workers or pool >= self.segment.header.pools:
            raise IndexError(f"worker {worker}, pool {pool}")
