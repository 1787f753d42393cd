# cython: boundscheck=False, wraparound=False
"""Fencing: a dead worker's leases are ended, so that what it had can serve others."""
from libc.stdint cimport uint32_t, uint64_t

from pgmux.shm.leases cimport (
    EMPTY, FENCE, FREE, GRANTED, LeaseTable, NOBODY, RETURN, TAKE, owner_of, phase_of, pool_of,
)
from pgmux.shm.pools cimport Pools
from pgmux.shm.workers cimport BURY_BACKENDS, LOOK_FOR_GRANTS, OPEN_BACKENDS


def fence(Pools pools, uint32_t dead, uint32_t successor):
    """End all that a dead worker held. By the supervisor, before it forks a successor.

    Its tickets leave the queues first, so that nothing new is granted to it; then its slots: what
    was granted to it is free again, what it was opening, using or closing, and what it was the home
    of, is CLOSING, for `successor` to bury, whichever worker that is. Last, the others look for what it
    may not have told them. Gives the slots fenced.
    """
    cdef uint32_t slot
    cdef uint64_t seen
    cdef LeaseTable leases = pools.leases
    pools.waiters.expel(dead)
    pools.tenancies.expel(dead)
    fenced = []
    for slot in range(leases.count):
        while True:
            seen = leases.word(slot)
            if phase_of(seen) == FREE and pools.slots[slot].home == dead + 1:
                if leases.move(slot, seen, TAKE, dead, pool_of(seen)):      # nobody else can use it
                    pools._clear_free(pool_of(seen), slot)
                continue
            if owner_of(seen) != dead or phase_of(seen) in (EMPTY, FREE):
                break
            if phase_of(seen) == GRANTED:
                if leases.move(slot, seen, RETURN, NOBODY, pool_of(seen)):
                    break
            elif leases.move(slot, seen, FENCE, successor, pool_of(seen)):
                fenced.append(slot)
                break
    pools.rebuild()
    pools.workers.send_all_on_errand(LOOK_FOR_GRANTS | OPEN_BACKENDS | BURY_BACKENDS)
    return fenced
