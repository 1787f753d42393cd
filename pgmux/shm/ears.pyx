# cython: boundscheck=False, wraparound=False
"""Ears: the one backend of a database that listens for the clients of all workers, and who holds it.

A database is a place: host, port and name. An ear, once registered, belongs to its place for good;
which worker holds it (owns its connection to PostgreSQL) is one word, moved by compare-and-swap:

    claim     (epoch, nobody) -> (epoch + 1, worker)     by a worker whose clients want to listen there
    release   (epoch, worker) -> (epoch + 1, nobody)     by the holder, when nobody wants to any more
    fence     (epoch, worker) -> (epoch + 1, nobody)     by the supervisor: the holder had died

Of several claims one wins, and the others read who did. The epoch tells a holder from itself at
another time, so what was asked of the ear in an earlier epoch is never taken for asked in this one.
Who releases or fences asks all workers to look at the ears *afterwards*: whoever still wants to
listen has either seen the new word already or is about to look.
"""
import hashlib

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strlen

from pgmux.shm.atomics cimport load, now_us, store, swap
from pgmux.shm.layout cimport DIGEST_BYTES, Ear, PLACE_BYTES
from pgmux.shm.segment cimport Segment


cdef class Ears:
    """The ears of one segment, as seen by one process."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.records = segment.ears
        self.count = segment.header.pools

    cdef bint move(self, uint32_t ear, uint64_t seen, uint32_t holder) noexcept nogil:
        return swap(&self.records[ear].word, seen, word_of(epoch_of(seen) + 1, holder))

    def register(self, bytes place):
        """The index of a place's ear, made when there is none yet. There are as many as pools, so one is free
        for each place that a pool leads to."""
        cdef bytes digest = hashlib.blake2b(place, digest_size=DIGEST_BYTES).digest()
        cdef uint32_t ear
        cdef Ear *record
        place = place[:PLACE_BYTES - 1]
        self.segment.lock()
        try:
            for ear in range(self.count):
                record = &self.records[ear]
                if not load(&record.in_use):
                    memset(record.place, 0, PLACE_BYTES)
                    memcpy(record.place, <const char *>place, len(place))
                    memcpy(record.digest, <const char *>digest, DIGEST_BYTES)
                    store(&record.in_use, 1)
                    return ear
                if memcmp(record.digest, <const char *>digest, DIGEST_BYTES) == 0:
                    return ear
        finally:
            self.segment.unlock()
        raise IndexError(f"{self.count} ears are not enough")

    def holder(self, uint32_t ear):
        """(the worker that holds the ear or None, epoch) at this instant."""
        self._check(ear)
        cdef uint64_t word = load(&self.records[ear].word)
        return None if holder_of(word) == NO_HOLDER else holder_of(word), epoch_of(word)

    def try_claim(self, uint32_t ear, uint32_t worker):
        """The epoch in which the ear is the worker's, or None: somebody holds it."""
        self._check(ear)
        cdef uint64_t seen = load(&self.records[ear].word)
        if holder_of(seen) != NO_HOLDER or not self.move(ear, seen, worker):
            return None
        return epoch_of(seen) + 1

    def release(self, uint32_t ear, uint32_t worker):
        """Whether the ear was the worker's; it is nobody's now."""
        self._check(ear)
        cdef uint64_t seen = load(&self.records[ear].word)
        if holder_of(seen) != worker:
            return False
        self._forget_backend(ear)
        return bool(self.move(ear, seen, NO_HOLDER))

    def fence(self, uint32_t dead):
        """Take from a dead worker the ears that it held. By the supervisor. Gives them."""
        cdef uint32_t ear
        return [ear for ear in range(self.count) if load(&self.records[ear].in_use) and self.release(ear, dead)]

    def introduce(self, uint32_t ear, uint32_t backend_pid):
        """By the holder: the ear has a backend now, PostgreSQL's process `backend_pid`."""
        self._check(ear)
        self.records[ear].backend_pid = backend_pid
        self.records[ear].opened_at_us = now_us()

    def lose(self, uint32_t ear):
        """By the holder: its backend is gone."""
        self._check(ear)
        self._forget_backend(ear)
        self.records[ear].losses += 1

    def count_channels(self, uint32_t ear, uint32_t channels):
        """By the holder: its backend listens to so many."""
        self._check(ear)
        self.records[ear].channels = channels

    def read(self, uint32_t ear):
        """An ear as a dict, or None when the index is unused; opened_at_us is 0 while it has no backend."""
        self._check(ear)
        cdef Ear *record = &self.records[ear]
        if not load(&record.in_use):
            return None
        holder, epoch = self.holder(ear)
        return {"ear": ear, "place": record.place[:strlen(record.place)], "worker": holder, "epoch": epoch,
                "backend_pid": record.backend_pid, "channels": record.channels,
                "opened_at_us": record.opened_at_us, "losses": record.losses}

    def snapshot(self):
        """Every ear in use, as dicts."""
        found = (self.read(ear) for ear in range(self.count))
        return [ear for ear in found if ear is not None]

    cdef void _forget_backend(self, uint32_t ear) noexcept:
        self.records[ear].backend_pid = 0
        self.records[ear].opened_at_us = 0
        self.records[ear].channels = 0

    def _check(self, uint32_t ear):
        if ear >= self.count:
            raise IndexError(f"ear {ear} of {self.count}")
