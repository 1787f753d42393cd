# cython: boundscheck=False, wraparound=False
"""The board: what the operator has said, where every process reads it.

One record a database: paused, disabled, when its clients were killed, when its backends were told to reconnect.
A moment is kept and not a flag where a worker may come late: a worker that was stopped when KILL was said drops
who was there at that moment, and nobody who came since.

Beside them what SET has changed, which the supervisor alone writes, in a turn that readers check.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen, strncmp

from pgmux.shm.atomics cimport load, now_us, store
from pgmux.shm.layout cimport NAME_BYTES, CHANGES_BYTES
from pgmux.shm.segment cimport SPARE_DATABASES, Segment

from pgmux.errors import PgmuxError

TRIES = 100_000      # to read settings that nobody is writing
NO_DATABASE = -1     # what database_of gives when no record is left


class BoardFull(PgmuxError):
    """No record is left for another database, or no room for another setting."""


cdef class Board:
    """The board of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.record = segment.board
        self.databases = segment.databases
        self.count = segment.header.pools + SPARE_DATABASES

    # --- databases

    cdef int32_t database_of(self, bytes name) except -2:
        """The record of a database, made when there is none; NO_DATABASE when none is left. Under the lock.

        Names come from clients: where none is left, one is given away that no pool has and about which the operator
        has said nothing that lasts, the one asked for longest ago. So whoever asks for one to write to it has time.
        """
        cdef uint32_t database
        cdef int32_t found = NO_DATABASE
        cdef DatabaseRecord *record
        name = name[:NAME_BYTES - 1]
        for database in range(self.count):
            record = &self.databases[database]
            if not load(&record.in_use):
                found = database
                break
            if strncmp(record.name, <const char *>name, NAME_BYTES) == 0:
                record.asked_at_us = now_us()
                return database
        if found == NO_DATABASE:
            found = self.oldest_vacant()
        if found == NO_DATABASE:
            return NO_DATABASE
        record = &self.databases[found]
        store(&record.in_use, 0)
        memset(record, 0, sizeof(DatabaseRecord))
        memcpy(record.name, <const char *>name, len(name))
        record.asked_at_us = now_us()
        store(&record.in_use, 1)
        return found

    cdef int32_t oldest_vacant(self) except -2:
        cdef uint32_t database, pool
        cdef int32_t oldest = NO_DATABASE
        cdef DatabaseRecord *record
        wanted = set()
        for pool in range(self.segment.header.pools):
            if load(&self.segment.pools[pool].in_use):
                wanted.add(self.segment.pools[pool].database_record)
        for database in range(self.count):
            record = &self.databases[database]
            if database in wanted or load(&record.paused) or load(&record.disabled):
                continue
            if oldest == NO_DATABASE or record.asked_at_us < self.databases[oldest].asked_at_us:
                oldest = database
        return oldest

    def register(self, bytes name):
        """The record of a database, made when there is none yet. Raises BoardFull."""
        self.segment.lock()
        try:
            database = self.database_of(name)
        finally:
            self.segment.unlock()
        if database == NO_DATABASE:
            raise BoardFull(f"all {self.count} records of databases are in use: raise max_pools and restart")
        return database

    def find(self, bytes name):
        """The record of a database, or None when nobody has asked for it yet."""
        cdef uint32_t database
        for database in range(self.count):
            if load(&self.databases[database].in_use) \
                    and strncmp(self.databases[database].name, <const char *>name, NAME_BYTES) == 0:
                return database
        return None

    def rows(self):
        """The records in use, as `read` gives them."""
        rows = (self.read(database) for database in range(self.count))
        return [row for row in rows if row is not None]

    def read(self, uint32_t database):
        """A record as a dict, or None when it is unused. Moments: CLOCK_MONOTONIC microseconds, 0 = never."""
        self._check(database)
        cdef DatabaseRecord *record = &self.databases[database]
        if not load(&record.in_use):
            return None
        return {"database": database, "name": record.name[:strlen(record.name)],
                "is_paused": bool(load(&record.paused)), "is_disabled": bool(load(&record.disabled)),
                "killed_at_us": self.killed_at(database),
                "reconnect_at_us": load(&record.reconnect_at_us)}

    def killed_at(self, uint32_t database):
        """When clients of a database were killed last; 0 = never."""
        self._check(database)
        return max(load(&self.databases[database].killed_at_us), load(&self.record.killed_at_us))

    def pause(self, uint32_t database):
        """No new leases in any pool of the database until `resume`. What is under way goes on."""
        self._check(database)
        store(&self.databases[database].paused, 1)

    def resume(self, uint32_t database):
        """Leases again. Who calls this has every worker look for waiting clients."""
        self._check(database)
        store(&self.databases[database].paused, 0)

    def disable(self, uint32_t database):
        """No new clients until `enable`. Who is in goes on."""
        self._check(database)
        store(&self.databases[database].disabled, 1)

    def enable(self, uint32_t database):
        """New clients again."""
        self._check(database)
        store(&self.databases[database].disabled, 0)

    def kill(self, uint32_t database):
        """Every client of the database that is admitted now must go. Workers are told by an errand."""
        self._check(database)
        store(&self.databases[database].killed_at_us, now_us())

    def kill_all(self):
        """The same for all databases, those included that nobody has asked for yet."""
        store(&self.record.killed_at_us, now_us())

    def reconnect(self, uint32_t database):
        """Every backend of the database whose connection has been begun must be replaced, when it is not in use."""
        self._check(database)
        store(&self.databases[database].reconnect_at_us, now_us())

    @property
    def killed_all_at(self):
        """When KILL was said of everything last, CLOCK_MONOTONIC microseconds; 0 = never."""
        return load(&self.record.killed_at_us)

    # --- whether it is heeded where another segment is in use: see supervisor/sayings.py

    def note_heeded(self, uint64_t moment_us, bint is_defied=False):
        """By the supervisor: workers of another layout have heeded what was said by that moment; 0 = none are left."""
        store(&self.record.defied, is_defied)
        store(&self.record.heeded_at_us, moment_us)

    def is_heeded(self, uint64_t moment_us):
        """Whether what was said by that moment is heeded by workers of another layout, if there are any."""
        cdef uint64_t heeded = load(&self.record.heeded_at_us)
        return heeded == 0 or heeded >= moment_us

    @property
    def has_predecessors(self):
        """Whether workers of another layout are still there."""
        return load(&self.record.heeded_at_us) != 0

    @property
    def is_defied(self):
        """Whether they keep to a configuration of before, for they cannot read the one in force."""
        return bool(load(&self.record.defied))

    # --- the configuration in force

    @property
    def configuration(self):
        """The number of the configuration in force: it grows with each RELOAD and SET."""
        return load(&self.record.configuration)

    @property
    def reloads(self):
        """How many configurations came by RELOAD."""
        return load(&self.record.reloads)

    def settings(self):
        """What SET has changed since the last RELOAD, as key=value lines."""
        cdef uint64_t turn
        text = b""
        for _ in range(TRIES):
            turn = load(&self.record.settings_turn)
            text = self.record.settings[:strlen(self.record.settings)]
            if not turn & 1 and load(&self.record.settings_turn) == turn:
                break                        # else it is being written: a matter of microseconds
        return text

    def publish(self, bytes settings, bint is_reload):
        """By the supervisor: another configuration is in force. Raises BoardFull when `settings` are too long."""
        if len(settings) >= CHANGES_BYTES:
            raise BoardFull(f"SET has changed too much: {len(settings)} bytes, at most {CHANGES_BYTES - 1}")
        store(&self.record.settings_turn, self.record.settings_turn | 1)
        memset(self.record.settings, 0, CHANGES_BYTES)
        memcpy(self.record.settings, <const char *>settings, len(settings))
        store(&self.record.settings_turn, self.record.settings_turn + 1)
        if is_reload:
            store(&self.record.reloads, self.record.reloads + 1)
        store(&self.record.configuration, self.record.configuration + 1)

    def _check(self, uint32_t database):
        if database >= self.count:
            raise IndexError(f"database record {database}")
