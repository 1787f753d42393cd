from libc.stdint cimport uint32_t, uint64_t


cdef class Statement:
    cdef object __weakref__
    cdef readonly uint64_t high          # of its id, with low
    cdef readonly uint64_t low
    cdef readonly bytes name             # on backends, without terminator
    cdef readonly bytes body             # of the Parse that prepares it, from the text on; empty = by `sql`
    cdef readonly bytes sql              # the PREPARE that prepares it, where the session did so in SQL
    cdef readonly uint32_t traces        # of its text, as `study` has confirmed them
    cdef readonly object study           # Study of its text; None without traces
    cdef readonly uint32_t told          # digest of the columns that its clients were told; 0 = none yet
    cdef readonly uint64_t defined       # its clients have prepared it as of those definitions (Header.definitions)
    cdef Statement untold                # the same for clients that have not been told; None = it is that

cdef class Library:
    cdef bytes _key                      # of the hash: the same in all workers
    cdef object _known                   # (statement id, defined, told): Statement, as long as somebody uses it

    cdef Statement told_of(self, Statement statement, uint32_t columns)
    cdef Statement parsed(self, bytes body, bytes meaning, uint64_t defined, uint32_t traces, object study)
