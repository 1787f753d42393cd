from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.atomics cimport load
from pgmux.shm.layout cimport Baggage, Prepared
from pgmux.shm.segment cimport Segment


cdef enum Recaller:              # in Baggage.recaller, beside a session's token
    NOBODY = 0                   # there are no last values
    SEVERAL = 1                  # perhaps several sessions', perhaps not the last of any

cdef struct StatementId:         # 128 bits of a keyed hash of what the statement means
    uint64_t high
    uint64_t low

cdef class BaggageTable:
    cdef readonly Segment segment
    cdef Baggage *slots          # [slots]
    cdef Prepared *cells         # [slots][mask + 1]
    cdef uint32_t mask
    cdef readonly uint32_t limit  # statements kept on one backend

    cdef Prepared *_find(self, uint32_t slot, StatementId statement) noexcept nogil
    cdef bint has(self, uint32_t slot, StatementId statement, uint64_t defined) noexcept nogil
    cdef uint64_t defined(self, uint32_t slot, StatementId statement) noexcept nogil
    cdef uint32_t columns(self, uint32_t slot, StatementId statement) noexcept nogil
    cdef void describe(self, uint32_t slot, StatementId statement, uint32_t columns) noexcept nogil
    cdef void add(self, uint32_t slot, StatementId statement, uint64_t defined) noexcept nogil
    cdef bint remove(self, uint32_t slot, StatementId statement) noexcept nogil
    cdef bint oldest(self, uint32_t slot, StatementId *statement) noexcept nogil
    cdef void outdate(self) noexcept nogil
    cdef void redefine(self) noexcept nogil
    cdef uint64_t definitions(self) noexcept nogil
    cdef void outgrow_lore(self) noexcept nogil

    cdef inline uint64_t lore(self) noexcept nogil:
        """As of when functions that are asked for now are known; 0 = none was made yet."""
        return load(&self.segment.header.lore)

    cdef inline void refresh(self, uint32_t slot) noexcept nogil:
        """As a lease begins: statements that were prepared before the last change are not relied upon."""
        cdef uint32_t plans = <uint32_t>load(&self.segment.header.plans)
        if self.slots[slot].plans != plans:
            self.forget_statements(slot)
            self.slots[slot].plans = plans

    cdef void forget_statements(self, uint32_t slot) noexcept nogil
    cdef void forget(self, uint32_t slot) noexcept nogil
