from libc.stdint cimport uint8_t, uint64_t

from pgmux.shm.layout cimport AnswerRecord
from pgmux.shm.segment cimport Segment
from pgmux.shm.workers cimport Workers


cpdef enum Verdict:      # on a question
    HAVE = 0             # its answer is here, fresh
    WAIT = 1             # another worker is asking it: its answer comes with HEAR_ANSWERS
    ASK = 2              # it is yours to ask; then `tell`, or `give_up`

cdef class Answers:
    cdef readonly Segment segment
    cdef Workers workers

    cdef AnswerRecord *place_of(self, const uint8_t *key, bint make, uint64_t now, uint64_t patience_us) noexcept nogil
