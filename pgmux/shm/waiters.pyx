# cython: boundscheck=False, wraparound=False
"""The wait queue: one ring of cells a pool, first come first served over all workers.

A ticket is a position that only grows; its cell is ticket % cells, its turn ticket / cells.
A cell holds turn, state, worker and time of parking in one word, so each step is one
compare-and-swap of one cell, and `head` and `tail` are hints that anybody who finds them
behind moves on. Nobody ever waits for another process here, and a process that is killed
between its two steps leaves the second to whoever comes next:

    park    cell EMPTY(turn) -> WAITING(turn, worker)       then tail + 1
    leave   cell WAITING(turn, worker) -> LEFT(turn)        head passes over it later
    pop     cell WAITING or LEFT(turn) -> EMPTY(turn + 1)   then head + 1

A ring has more cells than there can be clients, but who leaves keeps its cell until the head has
passed it: it can be full of those who have left behind one who waits on.

The entry names the worker; which of its clients is served is the worker's own affair.
No wake-up is lost: a client parks, *then* its worker looks for a free backend once more;
a backend is freed, *then* its worker looks for waiters once more; all sequentially consistent.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pgmux.shm.atomics cimport load, swap
from pgmux.shm.segment cimport Segment

# A cell, from the lowest bit: time 30 (units of 64 us: ages up to 9 hours), worker 8, state 2, turn 24.
cdef enum:
    TIME_BITS = 30
    WORKER_AT = 30
    STATE_AT = 38
    TURN_AT = 40
    TURN_BITS = 24

cdef enum State:
    VACANT = 0
    WAITING = 1
    LEFT = 2


cdef inline uint64_t _cell(uint64_t turn, State state, uint32_t worker, uint64_t now) noexcept nogil:
    return ((turn & ((1 << TURN_BITS) - 1)) << TURN_AT | <uint64_t>state << STATE_AT
            | <uint64_t>worker << WORKER_AT | (now >> 6) & ((1 << TIME_BITS) - 1))


cdef inline State _state(uint64_t cell) noexcept nogil:
    return <State>(cell >> STATE_AT & 3)


cdef inline uint64_t _age_us(uint64_t cell, uint64_t now) noexcept nogil:
    """Since the parking; 0 for one that parked after the `now` that a worker keeps for a whole batch."""
    cdef uint64_t age = ((now >> 6) - cell) & ((1 << TIME_BITS) - 1)
    return age << 6 if age < 1 << (TIME_BITS - 1) else 0


cdef class WaitQueue:
    """The wait queues of all pools of one segment."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.pools = segment.pools
        self.rings = segment.rings
        self.cells = segment.header.ring_cells
        self.shift = 0
        while 1 << self.shift < self.cells:
            self.shift += 1

    cdef int64_t park(self, uint32_t pool, uint32_t worker, uint64_t now) noexcept nogil:
        """A ticket at the tail for `worker`, NO_TICKET when the ring is full."""
        cdef uint64_t *tail = &self.pools[pool].tail
        cdef uint64_t *cell
        cdef uint64_t ticket, seen, turn, oldest, age_us
        cdef int64_t behind
        cdef uint32_t heir
        while True:
            ticket = load(tail)
            turn = ticket >> self.shift
            cell = &self.rings[<uint64_t>pool * self.cells + (ticket & (self.cells - 1))]
            seen = load(cell)
            behind = _turns_between(seen >> TURN_AT, turn)
            if behind == 0 and _state(seen) == VACANT:
                if swap(cell, seen, _cell(turn, WAITING, worker, now)):
                    swap(tail, ticket, ticket + 1)
                    return <int64_t>ticket
            elif behind > 0:                        # the cell's last occupant is still queued
                oldest = load(&self.pools[pool].head)
                self.head(pool, &heir, now, &age_us)        # passes over those at the front who have left
                if load(&self.pools[pool].head) == oldest and load(tail) == ticket:
                    return NO_TICKET
            else:
                swap(tail, ticket, ticket + 1)      # whoever filled the cell has not moved the tail yet

    cdef bint is_waiting(self, uint32_t pool, int64_t ticket) noexcept nogil:
        """Whether the ticket is queued: neither left nor popped."""
        cdef uint64_t *cell = &self.rings[<uint64_t>pool * self.cells + (<uint64_t>ticket & (self.cells - 1))]
        cdef uint64_t seen = load(cell)
        return ticket != NO_TICKET and _state(seen) == WAITING \
            and _turns_between(seen >> TURN_AT, <uint64_t>ticket >> self.shift) == 0

    cdef bint leave(self, uint32_t pool, int64_t ticket) noexcept nogil:
        """Whether the ticket was still queued and is no longer; False = a grant for it is under way."""
        cdef uint64_t *cell = &self.rings[<uint64_t>pool * self.cells + (<uint64_t>ticket & (self.cells - 1))]
        cdef uint64_t seen = load(cell)
        cdef uint64_t turn = <uint64_t>ticket >> self.shift
        if _turns_between(seen >> TURN_AT, turn) != 0 or _state(seen) != WAITING:
            return False
        return swap(cell, seen, _cell(turn, LEFT, 0, 0))

    cdef int64_t head(self, uint32_t pool, uint32_t *worker, uint64_t now, uint64_t *age_us) noexcept nogil:
        """The oldest ticket that waits, with its worker and age; NO_TICKET when nobody waits."""
        cdef uint64_t *head = &self.pools[pool].head
        cdef uint64_t *cell
        cdef uint64_t ticket, seen, turn
        cdef int64_t behind
        while True:
            ticket = load(head)
            turn = ticket >> self.shift
            cell = &self.rings[<uint64_t>pool * self.cells + (ticket & (self.cells - 1))]
            seen = load(cell)
            behind = _turns_between(seen >> TURN_AT, turn)
            if behind < 0:
                swap(head, ticket, ticket + 1)      # whoever popped it has not moved the head yet
            elif behind > 0 or _state(seen) == VACANT:
                if load(head) == ticket:
                    return NO_TICKET
            elif _state(seen) == LEFT:
                if swap(cell, seen, _cell(turn + 1, VACANT, 0, 0)):
                    swap(head, ticket, ticket + 1)
            else:
                worker[0] = seen >> WORKER_AT & 0xFF
                age_us[0] = _age_us(seen, now)
                return <int64_t>ticket

    cdef bint pop(self, uint32_t pool, int64_t ticket) noexcept nogil:
        """Whether this call took the ticket, which `head` gave, out of the queue."""
        cdef uint64_t *cell = &self.rings[<uint64_t>pool * self.cells + (<uint64_t>ticket & (self.cells - 1))]
        cdef uint64_t seen = load(cell)
        cdef uint64_t turn = <uint64_t>ticket >> self.shift
        if _turns_between(seen >> TURN_AT, turn) != 0 or _state(seen) != WAITING:
            return False
        if not swap(cell, seen, _cell(turn + 1, VACANT, 0, 0)):
            return False
        swap(&self.pools[pool].head, <uint64_t>ticket, <uint64_t>ticket + 1)
        return True

    def expel(self, uint32_t worker):
        """Take every ticket of a dead worker out of every queue. Gives how many there were."""
        cdef uint64_t ticket, seen
        cdef uint32_t pool, expelled = 0
        for pool in range(self.segment.header.pools):
            if not load(&self.pools[pool].in_use):
                continue
            # One past the tail: the worker may have died between filling a cell and moving the tail.
            for ticket in range(load(&self.pools[pool].head), load(&self.pools[pool].tail) + 1):
                seen = load(&self.rings[<uint64_t>pool * self.cells + (ticket & (self.cells - 1))])
                if seen >> WORKER_AT & 0xFF == worker and _state(seen) == WAITING:
                    expelled += self.leave(pool, ticket)
        return expelled

    # The Python face, for tests.

    def try_park(self, uint32_t pool, uint32_t worker, uint64_t now=0):
        """A ticket, or None when the ring is full."""
        ticket = self.park(pool, worker, now)
        return None if ticket == NO_TICKET else ticket

    def try_leave(self, uint32_t pool, int64_t ticket):
        """Whether the ticket was still queued."""
        return bool(self.leave(pool, ticket))

    def is_queued(self, uint32_t pool, int64_t ticket):
        """Whether the ticket is queued: neither left nor popped."""
        return bool(self.is_waiting(pool, ticket))

    def first(self, uint32_t pool, uint64_t now=0):
        """(ticket, worker, age in microseconds) of the oldest waiter, or None."""
        cdef uint32_t worker
        cdef uint64_t age_us
        ticket = self.head(pool, &worker, now, &age_us)
        return None if ticket == NO_TICKET else (ticket, worker, age_us)

    def try_pop(self, uint32_t pool, int64_t ticket):
        """Whether this call took the ticket out."""
        return bool(self.pop(pool, ticket))

    def waiting(self, uint32_t pool):
        """How many clients wait: exactly, for each ticket is looked at."""
        cdef uint64_t ticket
        cdef uint32_t found = 0
        for ticket in range(load(&self.pools[pool].head), load(&self.pools[pool].tail)):
            found += self.is_waiting(pool, ticket)
        return found

    def places(self, uint32_t pool, uint32_t worker):
        """{ticket: how many wait before it, in all workers} of a worker's tickets in a pool's queue."""
        cdef uint64_t ticket, seen
        cdef uint32_t before = 0
        found = {}
        for ticket in range(load(&self.pools[pool].head), load(&self.pools[pool].tail)):
            if not self.is_waiting(pool, ticket):
                continue
            seen = load(&self.rings[<uint64_t>pool * self.cells + (ticket & (self.cells - 1))])
            if seen >> WORKER_AT & 0xFF == worker:
                found[ticket] = before
            before += 1
        return found


cdef inline int64_t _turns_between(uint64_t cell_turn, uint64_t turn) noexcept nogil:
    """Turns from the cell's to the ticket's, of TURN_BITS bits: > 0 = the cell is behind, < 0 = ahead."""
    cdef int64_t distance = <int64_t>((turn - cell_turn) & ((1 << TURN_BITS) - 1))
    return distance if distance < 1 << (TURN_BITS - 1) else distance - (1 << TURN_BITS)
