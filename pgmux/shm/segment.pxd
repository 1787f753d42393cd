from libc.stdint cimport uint64_t

from pgmux.shm.layout cimport (
    AnswerRecord, Baggage, Board, ClientRecord, Counters, DatabaseRecord, Ear, Header, Identity, PoolRecord, Prepared,
    Slot, WorkerRecord,
)


cdef enum:
    SPARE_DATABASES = 64     # that the operator may name and no client has asked for

cdef class Segment:
    cdef object _map             # the mmap object: keeps the mapping alive
    cdef readonly bint writable
    cdef Header *header
    cdef WorkerRecord *workers   # [workers]
    cdef uint64_t *inboxes       # [workers][free_words]: bit s of worker w = slot s was granted to w
    cdef Slot *slots             # [slots]
    cdef Identity *identities    # [slots]
    cdef PoolRecord *pools       # [pools]
    cdef uint64_t *free_bits     # [pools][free_words]
    cdef uint64_t *rings         # [pools][ring_cells]
    cdef ClientRecord *clients   # [clients]
    cdef Counters *counters      # [workers][pools]
    cdef Baggage *baggage        # [slots]
    cdef Prepared *prepared      # [slots][prepared_cells]
    cdef Ear *ears               # [pools]: a database has at least one pool
    cdef Board *board
    cdef DatabaseRecord *databases   # [pools + SPARE_DATABASES]
    cdef uint64_t *periods       # [PERIODS][pools][TOTALS]: sums of the counters over all workers
    cdef AnswerRecord *answers   # [ANSWER_SETS][ANSWER_WAYS]
    cdef uint64_t *guests        # [workers][pools]: how many clients of the worker use the pool; by the worker

    cdef int lock(self) except -1
    cdef void unlock(self) noexcept
    cdef void _locate(self) noexcept
