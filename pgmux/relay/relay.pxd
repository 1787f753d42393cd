from libc.stdint cimport uint64_t

from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.moving cimport Moving


cpdef enum Stay:             # what of a session may last too long
    QUERY_STAY = 0           # a query is being executed
    TRANSACTION_STAY = 1     # a transaction is open
    IDLE_IN_TRANSACTION_STAY = 2     # a transaction is open, and nothing is done
    IDLE_STAY = 3            # no transaction is open

cdef class Relay(Moving):
    cdef uint64_t since(self, Backend backend, Stay stay) noexcept
    cdef int deliver(self, Client client) except -1
    cdef int retire_if_idle(self, Backend backend, uint64_t word, uint64_t idle_limit_us) except -1
