# cython: boundscheck=False, wraparound=False
"""Renewal: backends that are to be replaced by new ones, though nothing is wrong with them.

Such a backend has lived long enough from this moment on: whoever releases it, or finds it free, closes it, and
another is opened where it is wanted.
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.atomics cimport load
from pgmux.shm.board cimport Board
from pgmux.shm.leases cimport FREE, GRANTED, LEASED, LeaseTable, OPENING, is_held, phase_of, pool_of
from pgmux.shm.segment cimport Segment

cdef enum:
    LONG_AGO_S = 1               # a backend that expires at that time has expired; 0 would be never


cdef class Renewal:
    """That of one segment's backends."""

    def __cinit__(self, Segment segment, LeaseTable leases, Board board):
        self.leases = leases
        self.board = board
        self.records = segment.pools
        self.slots = segment.slots

    def retire_next(self, uint32_t slot):
        """Have a backend closed when it is released next."""
        self.slots[slot].expires_s = LONG_AGO_S

    def expire(self):
        """Every backend there is now is to be replaced when it is free next."""
        cdef uint32_t slot
        for slot in range(self.leases.count):
            self.slots[slot].expires_s = LONG_AGO_S

    def outdate(self, uint32_t pool):
        """Have every backend of a pool replaced: those in use when they are released, the others soon."""
        cdef uint32_t slot
        cdef uint64_t word
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if phase_of(word) in (FREE, LEASED, GRANTED) and pool_of(word) == pool:
                self.slots[slot].expires_s = LONG_AGO_S

    def reconnect(self, uint32_t database_record):
        """Have every backend of a database replaced: those in use when they are released, the others soon."""
        cdef uint32_t slot, regent = self.leases.segment.header.workers
        cdef uint64_t word
        self.board.reconnect(database_record)
        for slot in range(self.leases.count):
            word = self.leases.word(slot)
            if ((phase_of(word) in (FREE, LEASED, GRANTED) or is_held(word, OPENING, regent))
                    and self.database_of(word) == database_record):
                self.slots[slot].expires_s = LONG_AGO_S

    def expire_if_outdated(self, uint32_t slot, uint64_t begun_at_us):
        """By the opener, after `introduce`: RECONNECT may have been said since it began to connect.

        Either this sees the moment that `reconnect` wrote, or that one sees the slot as introduced.
        """
        if load(&self.board.databases[self.database_of(self.leases.word(slot))].reconnect_at_us) >= begun_at_us:
            self.slots[slot].expires_s = LONG_AGO_S

    cdef uint32_t database_of(self, uint64_t word) noexcept:
        return self.records[pool_of(word)].database_record
