# cython: boundscheck=False, wraparound=False
"""Answers: what PostgreSQL said of a user (auth_query), for all workers, for a moment.

A thousand clients of one user that log in at once, in whatever workers, are one question. Whoever
needs an answer consults this table; the first is told to ASK and the others to WAIT, until
the asker tells the answer, gives up, or dies. A question is known by its digest, which says where
its answer may lie: one of a few places, of which the one that was answered longest ago is given
to a new question. Where each of them is being asked, a worker asks for itself.

Everything happens under the segment's lock, for some hundred nanoseconds. `answered_at_us` is set
to 0 before an answer is written and to its time afterwards, so a holder that dies in
between leaves no answer, and `asked_at_us` expires.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pgmux.shm.atomics cimport now_us, store
from pgmux.shm.layout cimport ANSWER_BYTES, ANSWER_SETS, ANSWER_WAYS, AnswerRecord, QUESTION_BYTES
from pgmux.shm.segment cimport Segment
from pgmux.shm.workers cimport HEAR_ANSWERS, Workers


cdef class Answers:
    """The answers of one segment, as seen by one process."""

    def __cinit__(self, Segment segment, Workers workers):
        self.segment = segment
        self.workers = workers

    def consult(self, bytes key, uint32_t worker, uint64_t fresh_us, uint64_t patience_us):
        """What to do about a question, and its answer if that is HAVE.

        `key`: its digest. `fresh_us`: how long an answer is good. `patience_us`: who has been asking for longer
        is not waited for any more.
        """
        cdef uint64_t now
        cdef AnswerRecord *record
        _check(key)
        self.segment.lock()
        try:
            now = now_us()               # under the lock: what is written here is never later than it
            record = self.place_of(key, True, now, patience_us)
            if record == NULL:
                return Verdict.ASK, None
            if record.answered_at_us and now - record.answered_at_us < fresh_us:
                return Verdict.HAVE, record.answer[:record.answer_bytes]
            if record.asked_at_us and record.asker != worker and now - record.asked_at_us < patience_us:
                return Verdict.WAIT, None
            record.asker = worker
            record.asked_at_us = now
            return Verdict.ASK, None
        finally:
            self.segment.unlock()

    def tell(self, bytes key, uint32_t worker, bytes answer):
        """Share the answer to a question that was yours to ask. Whether there was room for it."""
        cdef AnswerRecord *record
        _check(key)
        if len(answer) > ANSWER_BYTES:
            self.give_up(key, worker)
            return False
        self.segment.lock()
        try:
            record = self.place_of(key, False, 0, 0)
            if record != NULL:
                store(&record.answered_at_us, 0)
                memcpy(record.answer, <const char *>answer, len(answer))
                record.answer_bytes = len(answer)
                record.asked_at_us = 0
                store(&record.answered_at_us, now_us())
        finally:
            self.segment.unlock()
        self.workers.send_all_on_errand(HEAR_ANSWERS)
        return record != NULL

    def give_up(self, bytes key, uint32_t worker):
        """A question that was yours to ask has no answer to be shared: others may ask it."""
        cdef AnswerRecord *record
        _check(key)
        self.segment.lock()
        try:
            record = self.place_of(key, False, 0, 0)
            if record != NULL and record.asker == worker:
                record.asked_at_us = 0
        finally:
            self.segment.unlock()
        self.workers.send_all_on_errand(HEAR_ANSWERS)

    def distrust(self, bytes key, uint64_t older_than_us):
        """A proof has failed: an answer that is older than this is asked anew.

        So a new password is good at the second attempt, and who guesses has PostgreSQL asked no oftener.
        """
        cdef AnswerRecord *record
        _check(key)
        self.segment.lock()
        try:
            record = self.place_of(key, False, 0, 0)
            if record != NULL and now_us() - record.answered_at_us > older_than_us:
                record.answered_at_us = 0
        finally:
            self.segment.unlock()

    def expel(self, uint32_t worker):
        """What a dead worker was asking, others may ask. By the supervisor, when it has reaped it."""
        cdef uint32_t at
        self.segment.lock()
        try:
            for at in range(ANSWER_SETS * ANSWER_WAYS):
                if self.segment.answers[at].asked_at_us and self.segment.answers[at].asker == worker:
                    self.segment.answers[at].asked_at_us = 0
        finally:
            self.segment.unlock()
        self.workers.send_all_on_errand(HEAR_ANSWERS)

    cdef AnswerRecord *place_of(self, const uint8_t *key, bint make, uint64_t now, uint64_t patience_us) noexcept nogil:
        """The record of a question; NULL when it has none, and none is made or can be."""
        cdef AnswerRecord *places = &self.segment.answers[(key[0] % ANSWER_SETS) * ANSWER_WAYS]
        cdef AnswerRecord *oldest = NULL
        cdef uint32_t way
        for way in range(ANSWER_WAYS):
            if memcmp(places[way].key, key, QUESTION_BYTES) == 0:
                return &places[way]
            if places[way].asked_at_us and now - places[way].asked_at_us < patience_us:
                continue
            if oldest == NULL or places[way].answered_at_us < oldest.answered_at_us:
                oldest = &places[way]
        if not make or oldest == NULL:
            return NULL
        store(&oldest.answered_at_us, 0)
        memset(oldest, 0, sizeof(AnswerRecord))
        memcpy(oldest.key, key, QUESTION_BYTES)
        return oldest


cdef int _check(bytes key) except -1:
    if len(key) != QUESTION_BYTES:
        raise ValueError(f"a key of {len(key)} bytes, not {QUESTION_BYTES}")
    return 0
