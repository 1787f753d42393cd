# cython: boundscheck=False, wraparound=False
"""Tidings: what a pool's clients are told, in all workers: the welcome, and the trouble.

The welcome is what the pool's first backend reported at its log-in, and greets clients while no backend
is at hand. The trouble is why PostgreSQL let none in, and when the next may be tried.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from pgmux.shm.atomics cimport now_us
from pgmux.shm.layout cimport PoolRecord, TROUBLE_BYTES, WELCOME_BYTES
from pgmux.shm.segment cimport Segment
from pgmux.shm.workers cimport REFUSE_WAITERS, Workers


cdef class Tidings:
    """Those of all pools of one segment."""

    def __cinit__(self, Segment segment, Workers workers):
        self.segment = segment
        self.workers = workers
        self.records = segment.pools

    def set_welcome(self, uint32_t pool, bytes welcome):
        """Keep a backend's ParameterStatus values (name\\0value\\0…) for clients that log in later."""
        if len(welcome) > WELCOME_BYTES:
            raise ValueError(f"{len(welcome)} bytes of parameters: at most {WELCOME_BYTES} can be kept")
        self.segment.lock()
        try:
            self.records[pool].welcome_bytes = 0
            memcpy(self.records[pool].welcome, <const char *>welcome, len(welcome))
            self.records[pool].welcome_bytes = len(welcome)
        finally:
            self.segment.unlock()

    def welcome(self, uint32_t pool):
        """What set_welcome kept, or None when no backend of this pool was ever opened."""
        self.segment.lock()
        try:
            if not self.records[pool].welcome_bytes:
                return None
            return self.records[pool].welcome[:self.records[pool].welcome_bytes]
        finally:
            self.segment.unlock()

    def set_trouble(self, uint32_t pool, bytes trouble, uint64_t retry_after_us):
        """Why no backend can be opened, and when it may be tried again; empty = all is well."""
        trouble = trouble[:TROUBLE_BYTES - 1]
        self.segment.lock()
        try:
            memset(self.records[pool].trouble, 0, TROUBLE_BYTES)
            memcpy(self.records[pool].trouble, <const char *>trouble, len(trouble))
            self.records[pool].retry_at_us = now_us() + retry_after_us if trouble else 0
        finally:
            self.segment.unlock()
        if trouble:
            self.workers.send_all_on_errand(REFUSE_WAITERS)

    def trouble(self, uint32_t pool):
        """(why the last log-in failed, microseconds until the next may be tried), (b"", 0) if all is well.

        A reader of a read-only mapping cannot take the lock: for an instant it may see half of two texts.
        """
        cdef uint64_t now = now_us()
        cdef PoolRecord *record = &self.records[pool]
        if self.segment.writable:
            self.segment.lock()
        try:
            return (record.trouble[:strlen(record.trouble)],
                    record.retry_at_us - now if record.retry_at_us > now else 0)
        finally:
            if self.segment.writable:
                self.segment.unlock()
