# cython: language_level=3, boundscheck=False, wraparound=False
"""The loops of the race: takers and releasers, and readers that make snapshots, on the lease table or on the model.

A process runs one of them until its time is over and tells what it did. The lease table is pgmux's own: its
`Pools.take` and `Pools.release`, and a plain read of every word. Both tables have the same number of places, of which the
same number are taken all the time.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.leases cimport LEASED, phase_of
from pgmux.shm.pools cimport NO_SLOT, Pools


cdef extern from "procarray.h" nogil:
    struct model_array:
        pass
    enum:
        MODEL_PLACES
    void model_init(model_array *a)
    void model_take(model_array *a, int me, int place)
    void model_release(model_array *a, int me, int place)
    uint32_t model_snapshot(model_array *a, int me, uint32_t *into)
    uint32_t model_count(model_array *a)
    int model_place(model_array *a, uint32_t at)
    uint64_t race_now_ns()

cdef enum:
    BUCKETS = 64 * 8             # eight for each power of two
    LOOK_AT_THE_CLOCK_EVERY = 64

MODEL_BYTES = sizeof(model_array)


cdef inline int bucket_of(uint64_t ns) noexcept nogil:
    cdef int shift = 0
    while ns >> shift >= 16:
        shift += 1
    return shift * 8 + <int>(ns >> shift)


cdef class Model:
    """The ProcArray's model in memory that processes share."""

    cdef model_array *array
    cdef object memory

    def __cinit__(self, memory):
        cdef unsigned char[::1] view = memory
        self.memory = memory
        self.array = <model_array *>&view[0]

    def prepare(self, int taken):
        """An empty array with its first places taken for good."""
        model_init(self.array)
        for place in range(taken):
            model_take(self.array, 0, place)

    def places(self):
        """Which are taken now, in the array's order."""
        return [model_place(self.array, at) for at in range(model_count(self.array))]

    def sizes_seen(self, int me, uint64_t until_ns):
        """How many places a snapshot had, each number once."""
        cdef uint32_t found[MODEL_PLACES]
        cdef uint32_t size
        seen = set()
        while race_now_ns() < until_ns:
            size = model_snapshot(self.array, me, found)
            if len({found[i] for i in range(size)}) != size:
                raise AssertionError("a place twice in a snapshot")
            seen.add(size)
        return seen

    def churn(self, int me, int place, uint64_t until_ns, uint64_t work_ns):
        """Take and release one place again and again; how often."""
        cdef uint64_t done = 0
        with nogil:
            while race_now_ns() < until_ns:
                model_take(self.array, me, place)
                work(work_ns)
                model_release(self.array, me, place)
                work(work_ns)
                done += 1
        return done

    def read(self, int me, uint64_t until_ns, uint64_t work_ns):
        """Make snapshots; (their number, nanoseconds by bucket, the longest)."""
        cdef uint64_t counts[BUCKETS]
        cdef uint64_t began, took, done = 0, longest = 0
        cdef uint32_t found[MODEL_PLACES]
        cdef int i
        for i in range(BUCKETS):
            counts[i] = 0
        with nogil:
            began = race_now_ns()
            while began < until_ns:
                model_snapshot(self.array, me, found)
                took = race_now_ns() - began
                counts[bucket_of(took)] += 1
                longest = took if took > longest else longest
                done += 1
                work(work_ns)
                began = race_now_ns()
        return done, [counts[i] for i in range(BUCKETS)], longest


def churn_leases(Pools pools, uint32_t pool, uint32_t worker, uint64_t until_ns, uint64_t work_ns):
    """Take and release a lease again and again; how often."""
    cdef uint64_t done = 0
    cdef int32_t slot = NO_SLOT
    with nogil:
        while race_now_ns() < until_ns:
            slot = pools.take(pool, worker, slot)
            if slot == NO_SLOT:
                continue
            work(work_ns)
            pools.release(slot, worker)
            work(work_ns)
            done += 1
    return done


def read_leases(Pools pools, uint64_t until_ns, uint64_t work_ns):
    """Make snapshots of all leases; (their number, nanoseconds by bucket, the longest)."""
    cdef uint64_t counts[BUCKETS]
    cdef uint64_t began, took, done = 0, longest = 0, word
    cdef uint64_t found[4096]
    cdef uint32_t slot, leased
    cdef int i
    for i in range(BUCKETS):
        counts[i] = 0
    with nogil:
        began = race_now_ns()
        while began < until_ns:
            leased = 0
            for slot in range(pools.leases.count):
                word = pools.leases.word(slot)
                if phase_of(word) == LEASED:
                    found[leased] = word
                    leased += 1
            took = race_now_ns() - began
            counts[bucket_of(took)] += 1
            longest = took if took > longest else longest
            done += 1
            work(work_ns)
            began = race_now_ns()
    return done, [counts[i] for i in range(BUCKETS)], longest


cdef inline void work(uint64_t ns) noexcept nogil:
    """What a process does between two looks at the table."""
    cdef uint64_t until = race_now_ns() + ns
    if ns:
        while race_now_ns() < until:
            pass


def now_ns():
    """The clock of these loops."""
    return race_now_ns()


def give_up(Pools pools, uint32_t slot, uint32_t worker):
    """Release a lease."""
    return bool(pools.release(slot, worker))
