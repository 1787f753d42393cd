from libc.stdint cimport uint32_t

cdef bytes build_greeting(bytes before, bytes told, uint32_t pid, bytes key)
