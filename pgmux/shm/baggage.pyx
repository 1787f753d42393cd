# cython: boundscheck=False, wraparound=False
"""The baggage of a backend: what the sessions that used it have left there, and the next must know.

It lies with the slot, because the next lease may be another worker's: the settings that differ
from those of the log-in, which unnamed statement is there, and the ids of the statements that
are prepared, with their ages. Only who has the lease reads or writes it, so nothing here is
atomic; when the owner dies the backend is closed, and its baggage with it.

The table of prepared statements is open addressing with linear probing; it is never more than
half full, and a removal moves its followers up, so that no cell is a tombstone.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pgmux.shm.atomics cimport load, now_us, store
from pgmux.shm.layout cimport Baggage, Prepared, SETTINGS_BYTES, UNKNOWN_SETTINGS
from pgmux.shm.segment cimport Segment


cdef class BaggageTable:
    """The baggage of every slot of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.slots = segment.baggage
        self.cells = segment.prepared
        self.mask = segment.header.prepared_cells - 1
        self.limit = segment.header.prepared_limit

    cdef Prepared *_find(self, uint32_t slot, StatementId statement) noexcept nogil:
        """Its cell, or the vacant one where it would stand."""
        cdef Prepared *table = self.cells + <uint64_t>slot * (self.mask + 1)
        cdef uint32_t at = statement.low & self.mask
        while table[at].high or table[at].low:
            if table[at].high == statement.high and table[at].low == statement.low:
                break
            at = (at + 1) & self.mask
        return &table[at]

    cdef bint has(self, uint32_t slot, StatementId statement, uint64_t defined) noexcept nogil:
        """Whether a statement is prepared there, as of those definitions or later ones; it counts as used."""
        cdef Prepared *cell = self._find(slot, statement)
        if not cell.high and not cell.low or cell.defined < defined:
            return False
        self.slots[slot].clock += 1
        cell.used_at = self.slots[slot].clock
        return True

    cdef uint32_t columns(self, uint32_t slot, StatementId statement) noexcept nogil:
        """The digest of the columns that a statement gives there; 0 = it is not prepared, or was not asked."""
        return self._find(slot, statement).columns

    cdef uint64_t defined(self, uint32_t slot, StatementId statement) noexcept nogil:
        """As of which definitions a statement is prepared there."""
        return self._find(slot, statement).defined

    cdef void describe(self, uint32_t slot, StatementId statement, uint32_t columns) noexcept nogil:
        """The backend has told which columns a statement gives there."""
        cdef Prepared *cell = self._find(slot, statement)
        if cell.high or cell.low:
            cell.columns = columns

    cdef void add(self, uint32_t slot, StatementId statement, uint64_t defined) noexcept nogil:
        """The backend has prepared it. One too many for the table is not remembered: it is closed unseen later."""
        cdef Prepared *cell = self._find(slot, statement)
        if not cell.high and not cell.low:
            if self.slots[slot].prepared_count * 2 > self.mask:
                return
            cell.high, cell.low = statement.high, statement.low
            self.slots[slot].prepared_count += 1
        cell.columns = 0
        cell.defined = defined
        self.slots[slot].clock += 1
        cell.used_at = self.slots[slot].clock

    cdef bint remove(self, uint32_t slot, StatementId statement) noexcept nogil:
        """Whether it was there and is no longer."""
        cdef Prepared *table = self.cells + <uint64_t>slot * (self.mask + 1)
        cdef Prepared *cell = self._find(slot, statement)
        cdef uint32_t hole, at, home
        if not cell.high and not cell.low:
            return False
        hole = at = <uint32_t>(cell - table)
        while True:
            at = (at + 1) & self.mask
            if not table[at].high and not table[at].low:
                break
            home = table[at].low & self.mask
            if (at - home) & self.mask >= (at - hole) & self.mask:
                table[hole] = table[at]
                hole = at
        memset(&table[hole], 0, sizeof(Prepared))
        self.slots[slot].prepared_count -= 1
        return True

    cdef bint oldest(self, uint32_t slot, StatementId *statement) noexcept nogil:
        """The least recently used statement; False when there is none."""
        cdef Prepared *table = self.cells + <uint64_t>slot * (self.mask + 1)
        cdef Prepared *found = NULL
        cdef uint32_t at
        for at in range(self.mask + 1):
            if (table[at].high or table[at].low) and (found == NULL or table[at].used_at < found.used_at):
                found = &table[at]
        if found == NULL:
            return False
        statement.high, statement.low = found.high, found.low
        return True

    cdef void outdate(self) noexcept nogil:
        """What a statement means has changed: all that is prepared anywhere is to be prepared anew."""
        store(&self.segment.header.plans, now_us())
        self.redefine()

    cdef void redefine(self) noexcept nogil:
        """Something was altered or dropped: what is prepared from now on is not what the same text was before."""
        store(&self.segment.header.definitions, now_us())

    cdef uint64_t definitions(self) noexcept nogil:
        """As of when a statement that is prepared now is defined; 0 = nothing was altered yet."""
        return load(&self.segment.header.definitions)

    cdef void outgrow_lore(self) noexcept nogil:
        """A function or the like was made: what is known of its database's functions may be too little."""
        store(&self.segment.header.lore, now_us())

    cdef void forget_statements(self, uint32_t slot) noexcept nogil:
        """None is prepared there any more."""
        if self.slots[slot].prepared_count:
            memset(self.cells + <uint64_t>slot * (self.mask + 1), 0, (self.mask + 1) * sizeof(Prepared))
        self.slots[slot].prepared_count = 0
        self.slots[slot].unnamed = 0

    cdef void forget(self, uint32_t slot) noexcept nogil:
        """As after a log-in, or DISCARD ALL."""
        self.forget_statements(slot)
        self.slots[slot].settings_digest = 0
        self.slots[slot].settings_bytes = 0
        self.slots[slot].recaller = 0

    # The Python face: once per change of settings, and tests.

    def settings(self, uint32_t slot):
        """What is set on the backend beyond the log-in, as name\\0value\\0…; None when nobody knows."""
        self._check(slot)
        if self.slots[slot].settings_bytes == UNKNOWN_SETTINGS:
            return None
        return self.slots[slot].settings[:self.slots[slot].settings_bytes]

    def set_settings(self, uint32_t slot, bytes settings, uint64_t digest):
        """Write down what is set now. `settings` None, or longer than can be kept: nobody knows."""
        self._check(slot)
        cdef Baggage *baggage = &self.slots[slot]
        if settings is None or len(settings) > SETTINGS_BYTES:
            baggage.settings_bytes = UNKNOWN_SETTINGS
        else:
            memcpy(baggage.settings, <const char *>settings, len(settings))
            baggage.settings_bytes = len(settings)
        baggage.settings_digest = digest

    def empty(self, uint32_t slot):
        """As after a log-in."""
        self._check(slot)
        self.forget(slot)

    def keep_prepared(self, uint32_t slot, bytes statement):
        """Note a statement id (16 bytes) as prepared."""
        self._check(slot)
        self.add(slot, id_of(statement), 0)

    def is_prepared(self, uint32_t slot, bytes statement):
        """Whether a statement id is noted as prepared; it counts as used."""
        self._check(slot)
        return bool(self.has(slot, id_of(statement), 0))

    def drop_prepared(self, uint32_t slot, bytes statement):
        """Whether a statement id was noted as prepared, and is no longer."""
        self._check(slot)
        return bool(self.remove(slot, id_of(statement)))

    def oldest_prepared(self, uint32_t slot):
        """The statement id that was not used for longest, or None."""
        self._check(slot)
        cdef StatementId statement
        if not self.oldest(slot, &statement):
            return None
        return statement.high.to_bytes(8, "big") + statement.low.to_bytes(8, "big")

    def prepared_count(self, uint32_t slot):
        """How many statements are prepared on the backend."""
        self._check(slot)
        return self.slots[slot].prepared_count

    def _check(self, uint32_t slot):
        if slot >= self.segment.header.slots:
            raise IndexError(f"slot {slot} of {self.segment.header.slots}")


cdef inline StatementId id_of(bytes statement):
    """Of the 16 bytes that name it."""
    return StatementId(int.from_bytes(statement[:8], "big"), int.from_bytes(statement[8:16], "big"))
