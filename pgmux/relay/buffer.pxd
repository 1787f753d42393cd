"""Bytes that could not go on at once: what a socket did not take, what a parked client asked.

Empty ones hold no memory, so an idle client costs nothing here.
"""
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove


cdef struct Buffer:
    char *data               # owned; NULL while nothing was ever kept or all has gone
    size_t start             # of the bytes that are left
    size_t end
    size_t capacity


cdef inline size_t length(Buffer *buffer) noexcept nogil:
    return buffer.end - buffer.start


cdef inline void clear(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.start = buffer.end = buffer.capacity = 0


cdef inline void shed(Buffer *buffer) noexcept nogil:
    """An emptied buffer keeps its memory for the next time, unless that is much."""
    if buffer.capacity > 1 << 18:
        clear(buffer)


cdef inline bint try_append(Buffer *buffer, const char *data, size_t size) noexcept nogil:
    """Whether there was memory for it."""
    cdef size_t wanted
    cdef char *larger
    if buffer.end + size > buffer.capacity:
        if buffer.start:
            memmove(buffer.data, buffer.data + buffer.start, buffer.end - buffer.start)
            buffer.end -= buffer.start
            buffer.start = 0
        if buffer.end + size > buffer.capacity:
            wanted = (buffer.end + size + 255) // 256 * 256
            larger = <char *>realloc(buffer.data, wanted)
            if larger == NULL:
                return False
            buffer.data = larger
            buffer.capacity = wanted
    memcpy(buffer.data + buffer.end, data, size)
    buffer.end += size
    return True


cdef inline int append(Buffer *buffer, const char *data, size_t size) except -1 nogil:
    if not try_append(buffer, data, size):
        with gil:
            raise MemoryError()
    return 0
