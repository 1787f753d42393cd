# cython: boundscheck=False, wraparound=False
"""The relay's epoll: the only one of pgmux, nested in gevent's.

Sockets are registered once, edge-triggered; a backend's for reading and writing both, so that neither
back-pressure nor a lease that comes and goes costs an epoll_ctl. A client's is registered for writing
when it has once not taken all: nearly none ever does that, and a socket that is registered for writing makes
an event as it is registered, which a client that comes for a single query would pay for. The price of edges:
who stops before a read gave EAGAIN must remember that the socket is still readable. See epoll(7).
"""
import os

from libc.stdint cimport int64_t, uint32_t

from pgmux.relay.sockets cimport (
    EINTR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD,
    close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, errno,
)

cdef uint32_t EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP | <uint32_t>EPOLLET
cdef uint32_t READING_EDGES = EPOLLIN | EPOLLRDHUP | <uint32_t>EPOLLET


cdef class Poller:
    """An epoll instance and the events of its last wait."""

    def __cinit__(self):
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.epoll >= 0:
            close(self.epoll)

    cdef int watch(self, int fd, Kind kind, uint32_t index, uint32_t serial, uint32_t flags) except -1:
        cdef epoll_event event
        event.events = flags
        event.data.u64 = tag_of(kind, index, serial)
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    cdef void watch_otherwise(self, int fd, Kind kind, uint32_t index, uint32_t serial, uint32_t flags) noexcept:
        """Watch a socket for other events from now on. What is so already makes an event at once."""
        cdef epoll_event event
        event.events = flags
        event.data.u64 = tag_of(kind, index, serial)
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, fd, &event)

    cdef void unwatch(self, int fd) noexcept:
        # Needed before close() too: other processes hold the same socket, so closing ours ends no registration.
        cdef epoll_event event
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)

    cdef int wait(self, int64_t timeout_us) except -1:
        """How many events are in `events`. Waits at most timeout_us, in milliseconds; other threads may run meanwhile,
        unless there are none: to let go of the GIL and take it again costs as much as to relay a message."""
        cdef int count
        cdef int timeout_ms = timeout_us // 1000
        if self.is_alone or timeout_ms == 0:
            count = epoll_wait(self.epoll, self.events, MAX_EVENTS, timeout_ms)
        else:
            with nogil:
                count = epoll_wait(self.epoll, self.events, MAX_EVENTS, timeout_ms)
        if count < 0:
            if errno == EINTR:
                return 0
            raise OSError(errno, os.strerror(errno))
        return count
