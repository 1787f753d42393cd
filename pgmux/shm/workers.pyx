# cython: boundscheck=False, wraparound=False
"""Workers' records, and the inbox: how one process leaves another a backend, or an errand.

An inbox is one bit a slot. "Slot s was granted to you" is an atomic OR, so a message can be
neither lost nor doubled nor overflow. An errand says that there are any: a receiver looks at
one word, not at its inbox, each time round; it takes the errand, *then* the bits, which a sender
sets first. A sender killed between the grant, the bit and the errand is made good by the
receiver scanning the lease table for its own grants (LOOK_FOR_GRANTS).

The eventfd is written only when the receiver sleeps: it announces its sleep, *then* looks
into its inbox once more; a sender leaves its bit, *then* looks whether the receiver sleeps.
Of several senders the one that turns `sleeping` off rings.
"""
import os

from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.atomics cimport and_bits, exchange, load, lowest_bit, now_us, or_bits, store, swap
from pgmux.shm.layout cimport WorkerRecord
from pgmux.shm.segment cimport Segment

cdef extern from "unistd.h" nogil:
    ssize_t write(int fd, const void *data, size_t size)


cdef enum:
    AWAY_AFTER_US = 1_000_000    # without a heartbeat a worker is taken for one that accepts nobody


cdef class Workers:
    """The workers' records and inboxes. `bells` are their eventfds, made before the first fork."""

    def __cinit__(self, Segment segment, bells=()):
        self.segment = segment
        self.records = segment.workers
        self.inboxes = segment.inboxes
        self.words = segment.header.free_words
        self.bells = list(bells)
        for worker in range(256):
            self._bells[worker] = -1         # a reader has no bells: a write to this one reaches nobody
        for worker, bell in enumerate(self.bells):
            self._bells[worker] = bell

    cdef void deliver(self, uint32_t worker, uint32_t slot) noexcept nogil:
        """Tell a worker that `slot` is GRANTED to it."""
        or_bits(&self.inboxes[worker * self.words + (slot >> 6)], <uint64_t>1 << (slot & 63))
        self.ask(worker, LOOK_INTO_INBOX)

    cdef void ask(self, uint32_t worker, uint64_t errands) noexcept nogil:
        """Ask a worker for errands (bits of Errand)."""
        or_bits(&self.records[worker].errands, errands)
        self.ring(worker)

    cdef void ring(self, uint32_t worker) noexcept nogil:
        cdef uint64_t one = 1
        if load(&self.records[worker].sleeping) and exchange(&self.records[worker].sleeping, 0):
            write(self._bells[worker], &one, 8)

    cdef bint sleep(self, uint32_t worker) noexcept nogil:
        """Announce that the worker is about to block. False = it must not: something has come."""
        store(&self.records[worker].sleeping, 1)
        if load(&self.records[worker].errands):
            store(&self.records[worker].sleeping, 0)
            return False
        return True

    cdef void rise(self, uint32_t worker) noexcept nogil:
        # Plain is enough: a sender that still sees 1 only rings once too often.
        self.records[worker].sleeping = 0

    cdef uint64_t load_of(self, uint32_t worker) noexcept nogil:
        """Clients a worker has, and those on their way to it."""
        return self.records[worker].clients + load(&self.records[worker].coming)

    cdef int32_t lightest(self, uint32_t but) noexcept nogil:
        """The serving worker with the fewest clients, other than one; -1 = there is no other. One that is away (stopped,
        say) would only have them wait."""
        cdef uint32_t worker
        cdef int32_t found = -1
        for worker in range(self.segment.header.workers):
            if worker == but or self.records[worker].state != SERVING or self.is_away(worker):
                continue
            if found < 0 or self.load_of(worker) < self.load_of(found):
                found = worker
        return found

    cdef bint is_away(self, uint32_t worker) noexcept nogil:
        cdef uint64_t beat = self.records[worker].heartbeat_us
        cdef uint64_t now = now_us()
        return (not self.records[worker].pid or self.records[worker].state == STARTING
                or now > beat and now - beat > AWAY_AFTER_US)

    # The Python face: supervisor, worker's greenlets, readers.

    def find_lightest(self, uint32_t but):
        """The serving worker with the fewest clients, other than one; None = there is no other."""
        found = self.lightest(but)
        return None if found < 0 else found

    def load(self, uint32_t worker):
        """How many clients a worker has, those included that are on their way to it."""
        return self.load_of(worker)

    def absent(self, uint32_t but):
        """The workers, other than one, that accept nobody now: gone, just born, or silent for a second."""
        return [worker for worker in range(self.segment.header.workers) if worker != but and self.is_away(worker)]

    def enter(self, uint32_t worker, uint32_t state):
        """By the worker: what it does now, a WorkerState."""
        self.records[worker].state = state

    def expect(self, uint32_t worker, int change):
        """A client is on its way to a worker (+1), has come or will not (-1)."""
        cdef uint64_t seen
        while True:
            seen = load(&self.records[worker].coming)
            if change < 0 and not seen:      # sent to its predecessor, and counted off when that died
                return
            if swap(&self.records[worker].coming, seen, seen + change):
                return

    def take_errands(self, uint32_t worker):
        """The errands asked of the worker, cleared by the asking."""
        return exchange(&self.records[worker].errands, 0)

    def take_deliveries(self, uint32_t worker):
        """The slots that the worker was told of, cleared by the asking, in no order of time."""
        cdef uint32_t word
        cdef uint64_t bits
        slots = []
        for word in range(self.words):
            bits = exchange(&self.inboxes[worker * self.words + word], 0)
            while bits:
                slots.append(word * 64 + lowest_bit(bits))
                bits &= bits - 1
        return slots

    def try_sleep(self, uint32_t worker):
        """Announce that the worker is about to block. False = it must not: something has come."""
        return bool(self.sleep(worker))

    def wake(self, uint32_t worker):
        """The worker is no longer about to block."""
        self.rise(worker)

    def send_on_errand(self, uint32_t worker, uint64_t errands):
        """Ask one worker for errands, bits of Errand."""
        self.ask(worker, errands)

    def send_all_on_errand(self, uint64_t errands):
        """Ask every worker that runs for errands, bits of Errand.

        Their bells are rung in any case: who died may have been about to ring one, and have turned
        `sleeping` off already.
        """
        cdef uint64_t one = 1
        for worker in range(self.segment.header.workers):
            if self.records[worker].pid:
                or_bits(&self.records[worker].errands, errands)
                write(self._bells[worker], &one, 8)

    def enlist(self, uint32_t worker, uint32_t pid):
        """By the supervisor, when it has forked the worker."""
        self.records[worker].started_at_us = self.records[worker].heartbeat_us = now_us()
        self.records[worker].state = STARTING
        self.records[worker].pid = pid

    def dismiss(self, uint32_t worker, *, in_order=False):
        """By the supervisor, when the worker's process is gone: it died, or left in order, drained."""
        cdef uint32_t word
        self.records[worker].pid = 0
        self.records[worker].clients = 0
        self.records[worker].listening = 0
        self.records[worker].is_accepting = 0
        store(&self.records[worker].coming, 0)
        if in_order:
            self.records[worker].drains += 1
        else:
            self.records[worker].deaths += 1
        store(&self.records[worker].sleeping, 0)
        for word in range(self.words):
            and_bits(&self.inboxes[worker * self.words + word], 0)

    def beat(self, uint32_t worker, uint32_t clients, uint64_t cpu_us=0, uint32_t configuration=0, is_accepting=True):
        """By the worker, several times a second: it lives, has so many clients, so much processor time used,
        works by that configuration, and takes new clients or not."""
        self.records[worker].clients = clients
        self.records[worker].cpu_us = cpu_us
        self.records[worker].configuration = configuration
        self.records[worker].is_accepting = is_accepting
        self.records[worker].heartbeat_us = now_us()

    def count_listening(self, uint32_t worker, uint32_t clients):
        """By the worker: so many of its clients LISTEN."""
        self.records[worker].listening = clients

    def silence_us(self, uint32_t worker):
        """Microseconds since the worker's last heartbeat."""
        cdef uint64_t beat = self.records[worker].heartbeat_us
        cdef uint64_t now = now_us()
        return now - beat if now > beat else 0

    def read(self, uint32_t worker):
        """A worker's record as a dict. Moments are CLOCK_MONOTONIC microseconds."""
        if worker >= self.segment.header.workers:
            raise IndexError(f"worker {worker}")
        cdef WorkerRecord *record = &self.records[worker]
        return {"worker": worker, "pid": record.pid, "clients": record.clients,
                "deaths": record.deaths, "drains": record.drains,
                "started_at_us": record.started_at_us, "heartbeat_us": record.heartbeat_us,
                "listening": record.listening,
                "cpu_us": record.cpu_us, "configuration": record.configuration,
                "is_accepting": bool(record.is_accepting), "state": record.state, "coming": load(&record.coming)}


def make_bells(count):
    """One non-blocking eventfd a worker. See eventfd(2)."""
    return [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
