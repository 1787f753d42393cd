from libc.stdint cimport uint32_t


cdef enum:
    UNTOLD = 0                   # digest of columns that nobody has told
    NO_COLUMNS = 1               # of those of a statement that gives no rows

cdef uint32_t digest_columns(const char *body, size_t size) noexcept nogil
