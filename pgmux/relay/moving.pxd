from libc.stdint cimport uint32_t

from pgmux.relay.endpoint cimport Client
from pgmux.relay.loop cimport Loop


cdef class Moving(Loop):
    cdef Client unfold(self, uint32_t record, int fd, parcel)
