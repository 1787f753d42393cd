from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport Client, Greeting
from pgmux.relay.handshakes cimport Handshakes


cdef enum:
    RANDOM_BYTES = 256                   # as many as getrandom(2) gives at once, for certain

cdef class Arriving(Handshakes):
    cdef list clients                    # by record: Client or None
    cdef readonly list listeners         # listening sockets: our own, then those of workers for whom we stand in
    cdef list listening                  # their descriptors
    cdef Py_ssize_t own_listeners        # how many of these are our own
    cdef list places                     # by listener: its place among its worker's
    cdef uint32_t next_serial            # of who sat down last: tells its events from those of who sat there before
    cdef readonly bint is_accepting        # False: connections wait in the accept queue
    cdef public uint32_t client_count    # whose sockets are open
    cdef uint32_t fewest                 # clients that were left when one had gone, since the last sweep
    cdef uint32_t fewest_before          # and in the time before it; all ones where nobody has gone
    cdef set logging_in                  # clients in LOGIN whose word is awaited
    cdef set awaiting                    # clients in LOGIN that wait for PostgreSQL
    cdef public uint32_t login_limit     # of logging_in: beyond it no more are accepted
    cdef readonly bint is_crowded        # it is reached: connections wait in the accept queue
    cdef public object doors             # what log-ins from now on ask; the worker's
    cdef public uint32_t edition         # raised by the worker to have all clients greeted anew; see Greeting
    cdef public bint tells_arrivals      # the desk hears of clients that have logged in
    cdef public bint tells_partings      # and of those that are gone
    cdef char[RANDOM_BYTES] randomness   # for cancel keys, drawn ahead
    cdef Py_ssize_t drawn                # bytes of it that were used
    cdef set leaving                     # clients in LEAVING, for theirs
    cdef int spare                       # a descriptor to be closed for the sake of one more; -1 = it is gone
    cdef public bytes no_room            # what a newcomer is told for whom there is no descriptor

    cdef int begin_accepting(self, listeners) except -1
    cdef int serve(self, Client client) except -1
    cdef int begin_login(self, Client client) except -1
    cdef int end_login(self, Client client) except -1
    cdef bint join(self, Client client, uint32_t pool, uint64_t tenancy) except -1
    cdef int leave_pool(self, Client client) except -1
    cdef int let_in(self, Client client, Greeting greeting, int32_t slot) except -1
    cdef bytes draw_key(self, Py_ssize_t size)
    cdef int serve_leaving(self, Client client) except -1
    cdef int accept(self, uint32_t index) except -1
    cdef int32_t worthier(self) noexcept
    cdef uint64_t residents(self) noexcept
    cdef Client seat(self, int fd, uint32_t record)
    cdef Client take_in(self, int fd, uint32_t record, bint is_unix)
    cdef int forget_seat(self, Client client) except -1
    cdef bint turn_away(self, int listener) except -1
    cdef int look_at_crowd(self) except -1
    cdef int note_partings(self) except -1
    cdef int forget(self, Client client) except -1
