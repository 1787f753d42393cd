from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.asking cimport Asking
from pgmux.relay.endpoint cimport Backend, Client, Lobby
from pgmux.session.traces cimport HOLDING, LISTENING, LOCKING, SETTINGS, TEMPORARY, UNSEEN


cdef enum:
    CARRIED_NEVER = HOLDING | LOCKING | TEMPORARY
    ANYTHING = SETTINGS | UNSEEN | HOLDING | LOCKING | TEMPORARY | LISTENING     # that code may do behind our back

cdef class Auditing(Asking):
    cdef public uint64_t audit_interval_us  # between two audits of this worker; 0 = none
    cdef uint64_t next_audit_us
    cdef bint asks_functions             # audits ask which functions leave something behind, see session/lore.py

    cdef bint is_unlearnt(self, Client client) noexcept
    cdef bint is_study_due(self, Lobby lobby) noexcept
    cdef bint is_audit_due(self, Client client) noexcept
    cdef bint notes_code(self, Backend backend, const char *tag) except -1
    cdef int touch_unlearnt(self, Client client, Backend backend) except -1
    cdef int audit(self, Client client, Backend backend) except -1
    cdef uint64_t begin_study(self, Lobby lobby) except? 0xFFFFFFFFFFFFFFFF
    cdef int give_up_study(self, Lobby lobby) except -1
    cdef int hear_audit(self, Backend backend) except -1
