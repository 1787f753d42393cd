from pgmux.relay.loop cimport Loop


cdef class Moving(Loop):
    pass
