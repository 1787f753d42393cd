from pgmux.shm.layout cimport PoolRecord
from pgmux.shm.segment cimport Segment
from pgmux.shm.workers cimport Workers


cdef class Tidings:
    cdef Segment segment         # whose lock keeps a reader from half of two texts
    cdef Workers workers         # who refuse those that wait, once there is trouble
    cdef PoolRecord *records
