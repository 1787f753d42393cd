from libc.stdint cimport uint32_t, uint64_t

from pgmux.relay.arriving cimport Arriving
from pgmux.relay.endpoint cimport Backend


cdef class Loop(Arriving):
    cdef int hub                         # the descriptor of its epoll; -1 = not told yet
    cdef public uint32_t slice_us        # go back to the hub after so long, however busy
    cdef readonly bint is_hubs_turn      # its epoll has something

    cdef void take_from_hub(self, int fd) noexcept
    cdef int on_client(self, uint64_t tag, uint32_t events) except -1
    cdef int on_backend(self, uint64_t tag, uint32_t events) except -1
    cdef int on_idle_backend(self, Backend backend, uint32_t events) except -1
    cdef int serve_ready(self) except -1
