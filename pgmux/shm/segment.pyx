# cython: boundscheck=False, wraparound=False
"""The shared segment: one file, mapped by the supervisor, every worker and every reader.

The supervisor creates it before the first fork; workers inherit the mapping; `pgmux top`,
the control commands and the tests attach to it read-only. All sizes are fixed at creation.
What lies in it is drawn in layout.pxd; this file only finds the areas, and holds the one
lock, which survives the death of its holder.

The areas that the data path touches at start are allocated for real, so that a full tmpfs
is an error at start and not a SIGBUS later; wait queues, counters, ears and client records
of pools and clients that never come stay holes in the file.
"""
import mmap
import os
import struct

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pgmux.shm.atomics cimport mutex_init, mutex_lock, mutex_unlock, now_us
from pgmux.shm.layout cimport (
    ANSWER_SETS, ANSWER_WAYS, AnswerRecord, Baggage, Board, CACHE_LINE, ClientRecord, Counters, DatabaseRecord, Ear,
    Header, Identity, PERIODS, PoolRecord, Prepared, Slot, TOTALS, WorkerRecord,
)

from pgmux.errors import PgmuxError

MAGIC = b"PGMUXSHM"
LAYOUT_VERSION = 17
PAGE_BYTES = 4096

MAX_WORKERS = 250          # the owner takes 8 bits of a lease word
MAX_BACKENDS = 65_536
SPARE_CLIENTS = 64         # connections beyond max_client_conn that are let in to be told so
MAX_POOLS = 65_534         # the pool takes 16 bits of a lease word


class SegmentError(PgmuxError):
    """The file is no segment of this version, or cannot be made."""


cdef uint64_t _aligned(uint64_t size, uint64_t unit):
    return (size + unit - 1) // unit * unit


cdef class Segment:
    """The mapped file. `Segment.create` for the supervisor, `Segment.attach` for readers."""

    @classmethod
    def create(cls, path, *, uint32_t workers, uint32_t backends, uint32_t pools, uint32_t clients,
               uint32_t statements=200):
        """A new segment at `path` (mode 0600, replaced when there is one), mapped read-write.

        Sizes are counts of records; `statements` those that one backend keeps
        prepared. Raises SegmentError when a size is out of range and
        OSError when the file cannot be made.
        """
        for name, value, limit in (("workers", workers, MAX_WORKERS),
                                   ("max_backends", backends, MAX_BACKENDS), ("max_pools", pools, MAX_POOLS)):
            if not 1 <= value <= limit:
                raise SegmentError(f"{name} is {value}: it must be between 1 and {limit}")
        cdef Header sizes
        cdef uint64_t allocated = _plan(&sizes, workers, backends, pools, clients, max(statements, 1))
        temporary = f"{path}.{os.getpid()}"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, sizes.total_bytes)
            os.posix_fallocate(fd, 0, allocated)
            mapping = mmap.mmap(fd, sizes.total_bytes)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        cdef Segment self = cls.__new__(cls)
        self._map = mapping
        self.writable = True
        cdef char[::1] view = mapping
        memcpy(&view[0], &sizes, sizeof(Header))
        self.header = <Header *>&view[0]
        self._locate()
        if mutex_init(self.header.mutex) != 0:
            raise SegmentError("a robust mutex cannot be made on this system")
        cdef uint32_t slot
        for slot in range(backends):
            self.slots[slot].word = <uint64_t>0xFFFF << 12 | <uint64_t>0xFF << 4
        return self

    @classmethod
    def attach(cls, path, bint writable=False):
        """An existing segment, by default read-only. Raises SegmentError when it is none of this version."""
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size < PAGE_BYTES:
                raise SegmentError(f"{path} is not a pgmux segment")
            mapping = mmap.mmap(fd, size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))
        finally:
            os.close(fd)
        version = struct.unpack_from("=I", mapping, 8)[0]
        if mapping[:8] != MAGIC:
            raise SegmentError(f"{path} is not a pgmux segment")
        if version != LAYOUT_VERSION:
            raise SegmentError(f"{path} has layout {version}, this pgmux reads layout {LAYOUT_VERSION}: "
                               "use the pgmux that is running")
        cdef Segment self = cls.__new__(cls)
        self._map = mapping
        self.writable = writable
        cdef const unsigned char[::1] view = mapping
        self.header = <Header *>&view[0]
        if self.header.total_bytes > <uint64_t>size:
            raise SegmentError(f"{path} is cut short")
        self._locate()
        return self

    cdef void _locate(self) noexcept:
        cdef char *base = <char *>self.header
        self.workers = <WorkerRecord *>(base + self.header.workers_at)
        self.inboxes = <uint64_t *>(base + self.header.inboxes_at)
        self.slots = <Slot *>(base + self.header.slots_at)
        self.identities = <Identity *>(base + self.header.identities_at)
        self.pools = <PoolRecord *>(base + self.header.pools_at)
        self.free_bits = <uint64_t *>(base + self.header.free_bits_at)
        self.rings = <uint64_t *>(base + self.header.rings_at)
        self.clients = <ClientRecord *>(base + self.header.clients_at)
        self.counters = <Counters *>(base + self.header.counters_at)
        self.baggage = <Baggage *>(base + self.header.baggage_at)
        self.prepared = <Prepared *>(base + self.header.prepared_at)
        self.ears = <Ear *>(base + self.header.ears_at)
        self.board = <Board *>(base + self.header.board_at)
        self.databases = <DatabaseRecord *>(base + self.header.databases_at)
        self.periods = <uint64_t *>(base + self.header.periods_at)
        self.answers = <AnswerRecord *>(base + self.header.answers_at)
        self.guests = <uint64_t *>(base + self.header.guests_at)

    # The lock guards only decisions that end in one atomic store (a slot's first move, a pool's
    # in_use), so whoever dies holding it leaves nothing half done: the next holder just goes on.
    cdef int lock(self) except -1:
        if not self.writable:
            raise SegmentError("the segment is mapped read-only: its lock cannot be taken")
        if mutex_lock(self.header.mutex) < 0:
            raise SegmentError("the segment's lock cannot be taken any more: restart pgmux")
        return 0

    cdef void unlock(self) noexcept:
        mutex_unlock(self.header.mutex)

    def locked(self, work):
        """What `work()` returns, called with the lock held. For tests and rare commands."""
        self.lock()
        try:
            return work()
        finally:
            self.unlock()

    @property
    def worker_count(self):
        """Workers the segment was made for."""
        return self.header.workers

    @property
    def slot_count(self):
        """Slots: max_backends."""
        return self.header.slots

    @property
    def pool_count(self):
        """Pools that may exist at once."""
        return self.header.pools

    @property
    def client_count(self):
        """Client records: max_client_conn and the spare ones."""
        return self.header.clients

    @property
    def client_limit(self):
        """max_client_conn."""
        return self.header.client_limit

    def sizes(self):
        """{kind of record: (bytes of one, how many there are)}."""
        return {"header": (PAGE_BYTES, 1), "board": (sizeof(Board), 1),
                "worker": (sizeof(WorkerRecord), self.header.workers + 1),
                "inbox": (self.header.free_words * 8, self.header.workers + 1),
                "backend": (sizeof(Slot) + sizeof(Identity), self.header.slots),
                "baggage": (sizeof(Baggage) + self.header.prepared_cells * sizeof(Prepared), self.header.slots),
                "pool": (sizeof(PoolRecord) + self.header.free_words * 8, self.header.pools),
                "queue": (self.header.ring_cells * 8, self.header.pools),
                "database": (sizeof(DatabaseRecord), self.header.pools + SPARE_DATABASES),
                "client": (sizeof(ClientRecord), self.header.clients),
                "ear": (sizeof(Ear), self.header.pools),
                "answer": (sizeof(AnswerRecord), ANSWER_SETS * ANSWER_WAYS),
                "counters": (sizeof(Counters), self.header.workers * self.header.pools),
                "snapshot": (TOTALS * 8, PERIODS * self.header.pools)}

    @property
    def created_at_us(self):
        """When it was created, CLOCK_MONOTONIC microseconds."""
        return self.header.created_at_us

    @property
    def total_bytes(self):
        """Size of the file; much of it may be holes."""
        return self.header.total_bytes


cdef uint64_t _plan(Header *header, uint32_t workers, uint32_t slots, uint32_t pools, uint32_t clients,
                    uint32_t statements):
    """Fill in sizes and offsets; gives the bytes that must be allocated at once."""
    cdef uint32_t cells = 64, prepared_cells = 8
    while cells < clients + SPARE_CLIENTS + workers:
        cells *= 2
    while prepared_cells < 2 * statements:
        prepared_cells *= 2
    memset(header, 0, sizeof(Header))
    memcpy(header.magic, b"PGMUXSHM", 8)
    header.layout_version = LAYOUT_VERSION
    header.workers = workers
    header.slots = slots
    header.pools = pools
    header.client_limit = clients
    header.clients = clients + SPARE_CLIENTS
    header.ring_cells = cells
    header.free_words = <uint32_t>(_aligned(slots, CACHE_LINE * 8) // 64)
    header.supervisor_pid = os.getpid()
    header.created_at_us = now_us()
    header.workers_at = PAGE_BYTES
    # One place more than there are workers: the regent's, see crossing.pyx.
    header.inboxes_at = _aligned(header.workers_at + (workers + 1) * sizeof(WorkerRecord), CACHE_LINE)
    header.slots_at = _aligned(header.inboxes_at + (workers + 1) * header.free_words * 8, CACHE_LINE)
    header.identities_at = _aligned(header.slots_at + slots * sizeof(Slot), CACHE_LINE)
    header.free_bits_at = _aligned(header.identities_at + slots * sizeof(Identity), CACHE_LINE)
    header.pools_at = _aligned(header.free_bits_at + <uint64_t>pools * header.free_words * 8, PAGE_BYTES)
    header.databases_at = _aligned(header.pools_at + <uint64_t>pools * sizeof(PoolRecord), CACHE_LINE)
    header.board_at = _aligned(
        header.databases_at + <uint64_t>(pools + SPARE_DATABASES) * sizeof(DatabaseRecord), PAGE_BYTES)
    header.rings_at = _aligned(header.board_at + sizeof(Board), PAGE_BYTES)
    header.counters_at = _aligned(header.rings_at + <uint64_t>pools * cells * 8, PAGE_BYTES)
    header.clients_at = _aligned(
        header.counters_at + <uint64_t>workers * pools * sizeof(Counters), PAGE_BYTES)
    header.prepared_cells = prepared_cells
    header.prepared_limit = statements
    header.baggage_at = _aligned(
        header.clients_at + <uint64_t>header.clients * sizeof(ClientRecord), PAGE_BYTES)
    header.prepared_at = _aligned(header.baggage_at + <uint64_t>slots * sizeof(Baggage), PAGE_BYTES)
    header.ears_at = _aligned(
        header.prepared_at + <uint64_t>slots * prepared_cells * sizeof(Prepared), PAGE_BYTES)
    header.periods_at = _aligned(header.ears_at + <uint64_t>pools * sizeof(Ear), PAGE_BYTES)
    header.answers_at = _aligned(header.periods_at + <uint64_t>PERIODS * pools * TOTALS * 8, PAGE_BYTES)
    header.guests_at = _aligned(
        header.answers_at + <uint64_t>ANSWER_SETS * ANSWER_WAYS * sizeof(AnswerRecord), PAGE_BYTES)
    header.total_bytes = _aligned(header.guests_at + <uint64_t>workers * pools * 8, PAGE_BYTES)
    return header.rings_at


assert sizeof(Header) <= PAGE_BYTES
assert sizeof(WorkerRecord) == 2 * CACHE_LINE
assert sizeof(Slot) == CACHE_LINE
assert sizeof(ClientRecord) == 5 * CACHE_LINE
assert sizeof(Counters) % CACHE_LINE == 0
assert sizeof(PoolRecord) % CACHE_LINE == 0
assert sizeof(Identity) % CACHE_LINE == 0
assert sizeof(Baggage) % CACHE_LINE == 0
assert sizeof(Ear) == 5 * CACHE_LINE
assert sizeof(Board) == PAGE_BYTES
assert sizeof(DatabaseRecord) == 2 * CACHE_LINE
assert sizeof(AnswerRecord) == 8 * CACHE_LINE
