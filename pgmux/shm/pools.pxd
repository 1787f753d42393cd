from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.shm.baggage cimport BaggageTable
from pgmux.shm.board cimport Board
from pgmux.shm.layout cimport PoolRecord, Slot
from pgmux.shm.leases cimport LeaseTable
from pgmux.shm.renewal cimport Renewal
from pgmux.shm.segment cimport Segment
from pgmux.shm.tenancies cimport Tenancies
from pgmux.shm.tidings cimport Tidings
from pgmux.shm.waiters cimport WaitQueue
from pgmux.shm.workers cimport Workers


cdef enum:
    NO_SLOT = -1

cdef class Pools:
    cdef readonly Segment segment
    cdef readonly LeaseTable leases
    cdef readonly WaitQueue waiters
    cdef readonly Workers workers
    cdef readonly BaggageTable baggage
    cdef readonly Board board
    cdef readonly Tenancies tenancies
    cdef readonly Tidings tidings
    cdef readonly Renewal renewal
    cdef PoolRecord *records
    cdef Slot *slots
    cdef uint64_t *free_bits
    cdef uint32_t words          # of one pool's free bitmap
    cdef uint32_t slack_us       # how long the head of a queue may wait before a worker stops serving its own

    cdef bint is_disabled(self, uint32_t pool) noexcept nogil
    cdef bytes user_of(self, uint32_t pool)
    cdef bint pauses(self, uint32_t pool) noexcept nogil
    cdef int32_t take(self, uint32_t pool, uint32_t worker, int32_t favourite) noexcept nogil
    cdef int32_t take_other(self, uint32_t pool, uint32_t worker, int32_t last) noexcept nogil
    cdef int32_t _take_any(self, uint32_t pool, uint32_t worker) noexcept nogil
    cdef bint _take_slot(self, uint32_t pool, uint32_t worker, uint32_t slot) noexcept nogil
    cdef int32_t _open_ceded(self, uint32_t pool, uint32_t worker, uint32_t private) noexcept
    cdef uint32_t size(self, uint32_t pool) noexcept nogil
    cdef bint release(self, uint32_t slot, uint32_t worker) noexcept nogil
    cdef bint accept(self, uint32_t slot, uint32_t worker) noexcept nogil
    cdef bint serves_own(self, uint32_t pool, uint32_t worker, uint64_t now) noexcept nogil
    cdef void _set_free(self, uint32_t pool, uint32_t slot) noexcept nogil
    cdef void _clear_free(self, uint32_t pool, uint32_t slot) noexcept nogil
