from libc.stdint cimport uint8_t


cpdef enum PoolMode:         # when a client gives its backend back
    SESSION = 0              # when it leaves
    TRANSACTION = 1          # at the end of a transaction
    STATEMENT = 2            # after each statement; transactions of several are refused

cdef enum Rest:              # what becomes of a backend that has come to rest
    KEEP = 0                 # it stays with its client
    SETTLE = 1               # it goes to the next
    REFUSE = 2               # what its client began is undone, and the client is told

cdef Rest RESTS[3][256]      # by mode and the status of the last ReadyForQuery

cdef inline Rest rest_of(PoolMode mode, uint8_t status) noexcept nogil:
    """What becomes of a backend whose last ReadyForQuery had this status."""
    return RESTS[<int>mode][status]
