from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.asking cimport Asking
from pgmux.relay.endpoint cimport Backend, Client, Lobby
from pgmux.session.modes cimport SESSION
from pgmux.session.traces cimport HOLDING, LISTENING, LOCKING, SETTINGS, TEMPORARY, UNSEEN


cdef enum:
    CARRIED_NEVER = HOLDING | LOCKING | TEMPORARY
    ANSWERED_WITHIN_US = 10_000_000      # an audit that asks for functions; else another does
    ANYTHING = SETTINGS | UNSEEN | HOLDING | LOCKING | TEMPORARY | LISTENING     # that code may do behind our back

cdef class Auditing(Asking):
    cdef public uint64_t audit_interval_us  # between two audits of this worker; 0 = none
    cdef uint64_t next_audit_us
    cdef bint asks_functions             # audits ask which functions leave something behind, see session/lore.py

    cdef bint is_unlearnt(self, Client client) noexcept
    cdef bint notes_code(self, Backend backend, const char *tag) except -1
    cdef int touch_unlearnt(self, Client client, Backend backend) except -1
    cdef int audit(self, Client client, Backend backend) except -1
    cdef uint64_t begin_study(self, Lobby lobby) except? 0xFFFFFFFFFFFFFFFF
    cdef int give_up_study(self, Lobby lobby) except -1
    cdef int hear_audit(self, Backend backend) except -1

    cdef inline bint is_study_due(self, Lobby lobby) noexcept:
        """Whether its database is to be asked for its functions now."""
        if not self.asks_functions:
            return False
        if lobby.lore_asked != self.pools.baggage.lore():
            return True
        return lobby.lore != lobby.lore_asked and self.now >= lobby.studied_at_us + ANSWERED_WITHIN_US

    cdef inline bint is_audit_due(self, Client client) noexcept:
        """Whether a backend that its client leaves now is looked at: one of this worker's, once in a while."""
        return (self.audit_interval_us != 0 and client.mode != SESSION
                and (self.now >= self.next_audit_us or self.is_study_due(client.lobby)))
