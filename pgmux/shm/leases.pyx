# cython: boundscheck=False, wraparound=False
"""The lease table: which worker may touch which backend, at this instant.

Two rules. Everything that changes who may touch a backend's socket goes through
`LeaseTable.move`; and a move is one compare-and-swap of one word, which holds phase, owner,
pool and generation together. A process killed at any instruction therefore leaves every
slot in one of six phases, with an owner that can be looked up, never half way between two.

A lease is (slot, generation). The generation grows when the socket changes (OPEN, CLEAR)
and when a lease is ended from outside (CLOSE, FENCE), so that a late release by a worker
that was fenced fails its compare-and-swap, and a worker knows from the word alone whether
the descriptor it keeps for the slot is still the slot's socket.

Nothing here takes a lock, allocates memory, or enters the kernel. Readers never disturb
writers: a snapshot is a plain read of each word.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from pgmux.shm.atomics cimport now_us, swap
from pgmux.shm.layout cimport ADDRESS_BYTES, Identity, KEY_BYTES
from pgmux.shm.segment cimport Segment

# The law, once: verb, from which phases, to which, and whether the generation grows.
#   owner afterwards: OPEN, TAKE, RECALL the mover; GRANT, FENCE the one named; RELEASE, RETURN, CLEAR nobody
LAW = (
    (OPEN, (EMPTY,), OPENING, True),                     # under the segment's lock, within both limits
    (ADOPT, (OPENING,), LEASED, False),                  # logged in, and its descriptor passed round
    (TAKE, (FREE,), LEASED, False),
    (RELEASE, (LEASED,), FREE, False),
    (GRANT, (LEASED,), GRANTED, False),                  # to the worker at the head of the wait queue
    (ACCEPT, (GRANTED,), LEASED, False),                 # by the worker it was granted to
    (RECALL, (GRANTED,), LEASED, False),                 # by the granter: that waiter had gone
    (RETURN, (GRANTED,), FREE, False),                   # by the supervisor: that worker had died
    (CLOSE, (OPENING, LEASED), CLOSING, True),
    (FENCE, (OPENING, LEASED, CLOSING), CLOSING, True),  # by the supervisor: the owner had died
    (CLEAR, (CLOSING,), EMPTY, True),                    # PostgreSQL has ended the connection
)

cdef Move MOVES[VERBS]
cdef uint64_t GRANTS = <uint64_t>0xFF << GRANTS_AT
cdef uint64_t KEPT = ~((<uint64_t>1 << GRANTS_AT) - 1)     # of a word by each move: generation and grants

for _verb, _origins, _target, _renews in LAW:
    MOVES[_verb].origins = sum([1 << _origin for _origin in _origins])
    MOVES[_verb].target = _target
    MOVES[_verb].renews = _renews


cdef uint64_t moved(uint64_t seen, uint32_t verb, uint32_t owner, uint32_t pool) noexcept nogil:
    """The word that a legal move makes of `seen`."""
    cdef uint64_t kept = seen & KEPT
    if MOVES[verb].renews:
        kept += <uint64_t>1 << GENERATION_AT
    elif verb == GRANT:
        kept = kept & ~GRANTS | (seen + (<uint64_t>1 << GRANTS_AT)) & GRANTS
    return kept | <uint64_t>pool << POOL_AT | owner << OWNER_AT | MOVES[verb].target


cdef class LeaseTable:
    """The lease words of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.slots = segment.slots
        self.count = segment.header.slots

    cdef bint move(
            self, uint32_t slot, uint64_t seen, uint32_t verb, uint32_t owner, uint32_t pool) noexcept nogil:
        """Whether the slot was still as `seen` and has made the move; an illegal move is refused."""
        if not MOVES[verb].origins >> phase_of(seen) & 1:
            return False
        return swap(&self.slots[slot].word, seen, moved(seen, verb, owner, pool))

    cdef uint64_t introduced(self, uint32_t slot) noexcept nogil:
        """The generation of the slot when its present socket was introduced. Each fence of a CLOSING slot makes the
        word's own grow, so this alone tells which socket has still to be ended."""
        return self.segment.identities[slot].generation

    # The Python face: cold paths and tests.

    def read(self, uint32_t slot):
        """(phase, owner, pool, generation) of a slot at this instant."""
        self._check(slot)
        cdef uint64_t word = self.word(slot)
        return Phase(phase_of(word)), owner_of(word), pool_of(word), generation_of(word)

    def try_move(self, uint32_t slot, verb, uint32_t owner, pool=None, phase=None, holder=None):
        """Make one move from the slot's present word. False when it is illegal or was overtaken.

        `owner` is the owner afterwards; `phase` and `holder`, when given, must be those of the
        present word; `pool` is kept unless given.
        """
        self._check(slot)
        cdef uint64_t seen = self.word(slot)
        if phase is not None and phase_of(seen) != phase:
            return False
        if holder is not None and owner_of(seen) != holder:
            return False
        return bool(self.move(slot, seen, verb, owner, pool_of(seen) if pool is None else pool))

    def snapshot(self):
        """Every slot as (phase, owner, pool, generation), read without disturbing anybody."""
        return [self.read(slot) for slot in range(self.count)]

    def introduce(self, uint32_t slot, uint32_t backend_pid, bytes key, uint32_t expires_s=0, home=None):
        """Write down who a backend is, before its first lease. `expires_s`: CLOCK_MONOTONIC, 0 = never; `home`:
        the only worker that can use it, None = all can."""
        self._check(slot)
        cdef Identity *identity = &self.segment.identities[slot]
        if len(key) > KEY_BYTES:
            raise ValueError(f"a cancel key has at most {KEY_BYTES} bytes")
        identity.backend_pid = backend_pid
        identity.generation = <uint32_t>generation_of(self.word(slot))
        identity.key_bytes = len(key)
        memcpy(identity.key, <const char *>key, len(key))
        self.slots[slot].opened_at_us = now_us()
        self.slots[slot].lease_count = 0
        self.slots[slot].cancels = 0
        self.slots[slot].expires_s = expires_s
        self.slots[slot].home = 0 if home is None else home + 1

    def locate(self, uint32_t slot, address, local_address, uint32_t tls=0):
        """Write down where a backend's connection leads to, and from where: (host, port) each; and under what."""
        self._check(slot)
        cdef Identity *identity = &self.segment.identities[slot]
        identity.tls = tls
        host, identity.port = address[0].encode()[:ADDRESS_BYTES - 1], address[1]
        local_host, identity.local_port = local_address[0].encode()[:ADDRESS_BYTES - 1], local_address[1]
        memset(identity.address, 0, ADDRESS_BYTES)
        memset(identity.local_address, 0, ADDRESS_BYTES)
        memcpy(identity.address, <const char *>host, len(host))
        memcpy(identity.local_address, <const char *>local_host, len(local_host))

    def identity(self, uint32_t slot):
        """(PostgreSQL's pid, cancel key) of the backend in a slot."""
        self._check(slot)
        cdef Identity *identity = &self.segment.identities[slot]
        return identity.backend_pid, (<char *>identity.key)[:identity.key_bytes]

    def describe(self, uint32_t slot):
        """A slot as a dict; times in CLOCK_MONOTONIC microseconds; owner and pool may be None."""
        phase, owner, pool, generation = self.read(slot)
        cdef Identity *identity = &self.segment.identities[slot]
        return {"slot": slot, "phase": phase, "owner": None if owner == NOBODY else owner,
                "pool": None if pool == NO_POOL else pool, "generation": generation,
                "backend_pid": self.segment.identities[slot].backend_pid,
                "opened_at_us": self.slots[slot].opened_at_us, "leased_at_us": self.slots[slot].leased_at_us,
                "released_at_us": self.slots[slot].released_at_us,
                "lease_count": self.slots[slot].lease_count, "client": self.slots[slot].client,
                "home": self.slots[slot].home - 1 if self.slots[slot].home else None,
                "expires_s": self.slots[slot].expires_s, "cancels": self.slots[slot].cancels,
                "pins": self.slots[slot].pins, "private": Private(self.slots[slot].private),
                "address": identity.address[:strlen(identity.address)], "port": identity.port,
                "local_address": identity.local_address[:strlen(identity.local_address)],
                "local_port": identity.local_port, "tls": identity.tls}

    def _check(self, uint32_t slot):
        if slot >= self.count:
            raise IndexError(f"slot {slot} of {self.count}")
        if not self.segment.header:
            raise ValueError("no segment")

    def pins(self, uint32_t slot):
        """Why the client of a slot keeps it beyond its transaction: bits of session.inquiry.Pin."""
        self._check(slot)
        return self.slots[slot].pins
