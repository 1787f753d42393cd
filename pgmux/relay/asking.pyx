# cython: boundscheck=False, wraparound=False
"""What a backend is asked when a transaction has ended: what is left of its session there.

A transaction whose texts have left traces ends with a question. Its last ReadyForQuery is kept
back, the backend is asked what its session state is now (session/inquiry.py), the client's
settings, channels and pins become what was told, and only then does the client learn that it is
over. So what errors, savepoints and ROLLBACK do to settings need not be known here.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pgmux.protocol.replies cimport NOTED, OURS, expect
from pgmux.relay.buffer cimport length
from pgmux.relay.endpoint cimport (
    ASKING, Backend, Client, IDLE, LEASED, NO_ERRAND, REJECT, SUBSCRIBING, WARN,
)
from pgmux.relay.streams cimport Chunk
from pgmux.session.traces cimport HOLDING, LISTENING, LOADING, LOCKING, NOTIFYING, TEMPORARY
from pgmux.shm.leases cimport LEASED as LEASED_SLOT, phase_of, pool_of

from pgmux.protocol.messages import channel_of
from pgmux.session.inquiry import (
    Pin, build_question, drop_empty, drop_limit, drop_self, read_answer, settle_settings, suspects,
)

cdef uint32_t LIBRARY = Pin.LOADED_LIBRARY


cdef class Asking(Retrying):
    """The inquiries of a worker's backends."""

    def __cinit__(self):
        self.own_settings = frozenset()

    cdef int put_query(self, Backend backend, bytes text) except -1:
        """A Query of our own, NOTED: whoever calls this keeps the note. It ends the backend's unnamed statement."""
        self.pools.baggage.slots[backend.slot].unnamed = 0
        self.put_header(c"Q", len(text) + 1)
        self.put_request(text, len(text) + 1)
        return expect(&backend.replies, c"Q" | OURS | NOTED)

    cdef int send_ready(self, Client client, uint8_t status) except -1:
        cdef char[6] ready
        ready[0], ready[1], ready[2], ready[3], ready[4], ready[5] = c"Z", 0, 0, 0, 5, status
        return self.send_to_client(client, ready, 6)

    cdef int ask(self, Client client, Backend backend) except -1:
        """The transaction has left traces: ask what of its session's state is left."""
        cdef Chunk nothing
        names = backend.touched or ()
        if backend.touched_any:
            names = self.own_settings.union(names)
        self.counters[backend.pool].inquiries += 1
        backend.errand = ASKING
        backend.heard = bytearray()
        self.put_query(backend, build_question(names, backend.traces, every=backend.touched_any,
                                               own=backend.touched_unlearnt))
        backend.notes.append((ASKED, client, None, backend.returned or ()))
        backend.at_rest = False
        nothing.data, nothing.size, nothing.at, nothing.run = NULL, 0, 0, 0
        return self.post_requests(backend, &nothing)

    cdef int hear(self, Client client, Backend backend, object resets) except -1:
        """The answer is there: the client's session is what the backend has told."""
        answer = self.take_answer(backend)
        if answer is None:
            return self.lose(backend, False)
        told = drop_self(answer.settings, self.lobbies[backend.pool].login_user)
        if backend.touched_any:
            named = (backend.touched or set()) | client.settings.values.keys()
            told = drop_empty(drop_limit(told, answer, named), {name for name in told if "." in name} - named)
            backend.unsettled = True             # settings of one's own (a.b) whose names nobody knows are not told
            backend.soiled |= answer.has_statements
        have = client.settings.changed(told)
        self.pools.baggage.set_settings(backend.slot, have.raw, have.digest)
        client.settings = settle_settings(client.settings, client.startup, told, resets,
                                          undone=backend.undone)
        client.settings.prove()
        client.digest = client.settings.digest
        client.backslashes = client.settings.values.get("standard_conforming_strings") == "off"
        if backend.traces & (TEMPORARY | HOLDING | LOCKING | LOADING):
            self.pin(client, backend, answer.pins)
        backend.fresh = True                     # should it be kept, its settings may have to be caught up
        if backend.traces & LISTENING:
            self.hear_channels(client, backend, frozenset(answer.channels))
        if backend.errand == SUBSCRIBING:
            return 0
        if backend.traces & NOTIFYING:
            return self.sound(client, backend)
        return self.conclude(client, backend)

    cdef object take_answer(self, Backend backend):
        """The answer, which has come whole; None when it is none to what was asked."""
        heard, backend.heard = bytes(backend.heard), None
        try:
            return read_answer(heard)
        except ValueError:
            return None

    cdef int pin(self, Client client, Backend backend, object found) except -1:
        """What is there that cannot be carried: the client keeps its backend for it, or, where it may not, loses it."""
        cdef uint32_t before = client.pins
        cdef uint32_t asked = 0
        for pin in Pin:
            if backend.traces & suspects(pin):
                asked |= pin
        client.pins = client.pins & ~asked | <uint32_t>found
        if backend.traces & LOADING and not backend.undone:
            client.pins |= <uint32_t>Pin.LOADED_LIBRARY
        if client.pins and not before and not self.may_pin(client, backend):
            client.pins = 0
        self.pools.slots[backend.slot].pins = client.pins
        if client.pins & ~before:
            self.counters[backend.pool].pins += 1
            self.news.append(("pinned", (client, client.pins & ~before)))
            if client.lobby.on_pin == WARN:
                self.tell(client, self.desk.pinned(client.pins & ~before))
        elif before and not client.pins:
            self.news.append(("unpinned", client))
        return 0

    cdef bint may_pin(self, Client client, Backend backend) except -1:
        """Whether the client may keep its backend. If not it is told, in front of its ReadyForQuery, and the
        backend is made clean when it has been let go: what the transaction has committed stays so."""
        if client.lobby.on_pin != REJECT and self.count_pinned(backend) < client.lobby.most_pinned:
            return True
        self.tell(client, self.desk.pin_refused(client.pins, 0 if client.lobby.on_pin == REJECT
                                                else client.lobby.most_pinned))
        self.counters[backend.pool].errors += 1
        if client.pins & LIBRARY:
            self.pools.slots[backend.slot].expires_s = 1         # nothing takes a library away but the end
        backend.soiled = True
        return False

    cdef uint32_t count_pinned(self, Backend backend) except? 0xFFFF:
        """How many other backends of its pool are pinned.

        Two workers may look at once and one too many be let through: it is a limit for the pool's good.
        """
        cdef uint32_t slot, pinned = 0
        cdef uint64_t word
        for slot in range(self.pools.leases.count):
            word = self.pools.leases.word(slot)
            if slot != backend.slot and phase_of(word) == LEASED_SLOT and pool_of(word) == <uint32_t>backend.pool:
                pinned += self.pools.slots[slot].pins != 0
        return pinned

    cdef int tell(self, Client client, bytes words) except -1:
        return self.send_to_client(client, words, len(words))

    cdef int hear_channels(self, Client client, Backend backend, object heard) except -1:
        """What the session listens to now: what it had, less what it gave up unless that was undone, and the new.

        Between the COMMIT of its LISTEN and our UNLISTEN this backend heard the new channels: the client's own
        notifications of the same transaction, and others'. The ear is asked after that, so it tells of none twice.
        """
        kept = client.channels or frozenset()
        if not backend.undone:
            kept = frozenset() if backend.unlistened_all else kept - (backend.unlistened or set())
        channels = kept | heard
        if backend.overheard is not None:        # the channels that it had are heard by the ear
            new = channels - (client.channels or frozenset())
            backend.overheard = [message for message in backend.overheard if channel_of(message) in new]
        if channels != (client.channels or frozenset()):
            client.channels = channels or None
            backend.errand = SUBSCRIBING
            self.news.append(("subscribe", (client, backend.pool)))
        return 0

    cdef int sound(self, Client client, Backend backend) except -1:
        """A client that listens has notified. PostgreSQL tells a session of its own notifications before its
        transaction's ReadyForQuery: so it hears first what is on the way to it."""
        backend.errand = SUBSCRIBING
        self.news.append(("notified", client))
        return 0

    cdef int conclude(self, Client client, Backend backend) except -1:
        """All is known: the client may know that its transaction is over."""
        backend.errand = NO_ERRAND
        for message in backend.overheard or ():
            self.keep_notification(client, message)
        self.forget_traces(backend)
        if client.pending is not None and not client.overrun:
            self.deliver(client)
        self.send_ready(client, c"I")
        self.settle_if_due(backend)
        return self.proceed(client)

    cdef int proceed(self, Client client) except -1:
        """While an errand was on its way nothing was read from the client, and what it had asked was held.

        Half a message (`wanted`) is held, too: its rest may lie in the socket, and makes no new edge.
        """
        if client.phase != IDLE and client.phase != LEASED:
            return 0
        if length(&client.held) and not client.wanted:
            return self.resume(client)
        if client.readable:
            self.queue(client)
        return 0

    cdef int forget_traces(self, Backend backend) except -1:
        backend.traces = backend.asked_again = 0
        backend.touched = backend.returned = backend.unlistened = backend.overheard = None
        backend.touched_any = backend.touched_unlearnt = backend.unlistened_all = backend.undone = False
        return 0

    # --- elsewhere

    cdef int keep_notification(self, Client client, bytes message) except -1:
        """Relay's."""
        raise NotImplementedError

    cdef int settle_if_due(self, Backend backend) except -1:
        """Replying's."""
        raise NotImplementedError

    cdef int lose(self, Backend backend, bint is_gone) except -1:
        """Parting's."""
        raise NotImplementedError
