# cython: boundscheck=False, wraparound=False
"""What no text announces: found by looking at backends that were let go, and announced from then on.

An audit asks a backend, now and then, what its last client has left there without a word of it in a text. The
first of a database asks besides which of its functions leave something behind (session/lore.py): a text that
names one announces it.

While that is not known, every transaction is taken for one that may have changed anything, and asked about. It is
known *as of* a moment: whoever sees a function being made moves Header.lore on when its transaction is over, and
all workers know too little again. An answer counts for the moment at which it was asked for, so that a function
made meanwhile is asked for again. What is made elsewhere, past pgmux, is met within a minute (RENEWED_AFTER_US).
"""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.asking cimport AUDITED
from pgmux.relay.endpoint cimport AUDITING, Backend, Client, Lobby, NO_LORE
from pgmux.relay.leasing cimport CLOSE_WITHIN_US
from pgmux.relay.streams cimport Chunk
from pgmux.session.modes cimport SESSION

from pgmux.session.inquiry import build_question, drop_empty, drop_self, find_unknown

cdef enum:
    RENEWED_AFTER_US = 60_000_000    # a database is asked for its functions again
    STUDIED_FOR_US = 10_000_000      # but no oftener, when an audit has found what they might have left
    BUSY_FOR = 200                   # and a catalog that takes long to read, seldom: a 200th of the time
    ASKED_IN_VAIN = 3                # then it is let alone


cdef class Auditing(Asking):
    """Audits of a worker's backends, and what is known of functions."""

    def __cinit__(self):
        self.asks_functions = True

    def learnt(self, uint32_t pool, uint64_t lore, uint64_t took_us=0):
        """What functions of a pool's database leave behind is known, as of that moment.

        `took_us`: how long PostgreSQL was busy with it, which shall not be much of its time.
        """
        cdef Lobby lobby = self.lobby_of(pool)
        lobby.lore = lobby.lore_asked = lore
        lobby.studied_at_us = self.now
        lobby.renewed_after_us = max(RENEWED_AFTER_US, BUSY_FOR * took_us)
        lobby.asked_in_vain = 0

    cdef bint is_unlearnt(self, Client client) noexcept:
        """Whether a text of the client may name a function that we do not know of."""
        return (client.lobby.lore != self.pools.baggage.lore() and self.asks_functions
                and self.audit_interval_us != 0 and client.mode != SESSION)

    cdef bint notes_code(self, Backend backend, const char *tag) except -1:
        """Note that a command has made code which texts may name: FUNCTION, PROCEDURE, TRIGGER, VIEW, RULE, POLICY,
        EXTENSION and the like, by CREATE or ALTER."""
        cdef const char *word = tag + (7 if tag[0] == c"C" else 6)
        if word[0] not in b"FPERV" and (word[0] != c"T" or word[1] != c"R"):
            return False
        backend.makes_code = True
        if backend.client is not None and backend.client.mode != SESSION:
            self.touch_unlearnt(backend.client, backend)         # it may call it in this very transaction
        return True

    cdef int touch_unlearnt(self, Client client, Backend backend) except -1:
        """The transaction may call what we do not know of."""
        backend.touched_unlearnt = True
        return self.touch(client, backend, ANYTHING, None)

    cdef int audit(self, Client client, Backend backend) except -1:
        """The client's transaction is over and it has let the backend go: ask what it has left, though it left no
        traces.

        Nobody has the backend meanwhile. What is found (a function can take a lock or change a setting without a
        word of it in the text) is counted, logged with the client's name, and taken away before the next.
        """
        cdef Chunk nothing
        backend.lore_asked = self.begin_study(self.lobbies[backend.pool])
        self.next_audit_us = self.now + self.audit_interval_us
        self.counters[backend.pool].audits += 1
        backend.errand = AUDITING
        backend.heard = bytearray()
        self.put_query(backend, build_question(self.own_settings, CARRIED_NEVER, every=True,
                                               functions=backend.lore_asked != NO_LORE))
        backend.notes.append((AUDITED, None, None, client))
        backend.at_rest = False
        backend.orphaned = True
        backend.deadline_us = self.now + CLOSE_WITHIN_US
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        return self.post_requests(backend, &nothing)

    cdef uint64_t begin_study(self, Lobby lobby) except? 0xFFFFFFFFFFFFFFFF:
        """As of when this audit asks for functions; NO_LORE = it need not."""
        if not self.is_study_due(lobby) and (not self.asks_functions
                                             or self.now < lobby.studied_at_us + lobby.renewed_after_us):
            return NO_LORE
        if lobby.lore_asked == self.pools.baggage.lore() and lobby.lore != lobby.lore_asked:
            lobby.asked_in_vain += 1
            if lobby.asked_in_vain == ASKED_IN_VAIN:
                self.give_up_study(lobby)
                return NO_LORE
        lobby.lore_asked = self.pools.baggage.lore()
        lobby.studied_at_us = self.now
        return lobby.lore_asked

    cdef int give_up_study(self, Lobby lobby) except -1:
        """The catalog is closed to us, or too large."""
        self.asks_functions = False
        self.news.append(("functions refused", lobby.pool))
        return 0

    cdef int hear_audit(self, Backend backend) except -1:
        cdef Client client = backend.audited
        cdef Lobby lobby = self.lobbies[backend.pool]
        if client is None:                       # it was refused
            backend.heard = None
            return self.settle_if_due(backend)
        answer = self.take_answer(backend)
        backend.audited = None
        if answer is None:
            return self.lose(backend, False)
        if backend.lore_asked != NO_LORE:
            took_us = self.now - lobby.studied_at_us
            self.news.append(("functions", (backend.pool, answer.functions, backend.lore_asked, took_us)))
        told = drop_empty(drop_self(answer.settings, lobby.login_user), self.own_settings)
        known = self.pools.baggage.settings(backend.slot)
        unknown = () if known is None else find_unknown(told, known)
        backend.soiled |= answer.has_statements
        if answer.pins or unknown:
            self.counters[backend.pool].findings += 1
            backend.soiled = True
            if self.now >= lobby.studied_at_us + STUDIED_FOR_US:
                lobby.lore_asked = NO_LORE       # perhaps by a function that is newer than what we know
            self.news.append(("found", (client, backend.slot, answer.pins, unknown)))
        return self.settle_if_due(backend)
