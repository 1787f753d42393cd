from libc.stdint cimport int64_t, uint32_t, uint64_t

from pgmux.relay.sockets cimport epoll_event


cdef enum:
    MAX_EVENTS = 128         # of one epoll_wait

cdef enum Kind:              # of what an event is for; the index means
    CLIENT = 0               # a client record
    BACKEND = 1              # a slot
    LISTENER = 2             # a listening socket, by its place in Relay's list
    BELL = 3                 # this worker's eventfd

cdef uint32_t EDGES      # what a backend is watched for: reading, writing, the peer's end; edge-triggered
cdef uint32_t READING_EDGES  # the same without writing: a client, until its socket once did not take all

cdef class Poller:
    cdef readonly int epoll
    cdef public bint is_alone        # no other thread wants to run: a wait need not let go of the GIL
    cdef epoll_event events[MAX_EVENTS]

    cdef int watch(self, int fd, Kind kind, uint32_t index, uint32_t serial, uint32_t flags) except -1
    cdef void watch_otherwise(self, int fd, Kind kind, uint32_t index, uint32_t serial, uint32_t flags) noexcept
    cdef void unwatch(self, int fd) noexcept
    cdef int wait(self, int64_t timeout_us) except -1


# An event's tag: kind 2 bits, serial 30, index 32. The serial tells an event for a socket that
# is gone from one for its successor under the same index.
cdef enum:
    SERIAL_MASK = (1 << 30) - 1

cdef inline uint64_t tag_of(Kind kind, uint32_t index, uint32_t serial) noexcept nogil:
    return <uint64_t>kind << 62 | <uint64_t>(serial & SERIAL_MASK) << 32 | index

cdef inline Kind kind_of(uint64_t tag) noexcept nogil:
    return <Kind>(tag >> 62)

cdef inline uint32_t serial_of(uint64_t tag) noexcept nogil:
    return tag >> 32 & SERIAL_MASK

cdef inline uint32_t index_of(uint64_t tag) noexcept nogil:
    return <uint32_t>tag
