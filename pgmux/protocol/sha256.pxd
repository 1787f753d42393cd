from libc.stdint cimport uint8_t

cdef enum:
    DIGEST_BYTES = 32

cdef int digest(const uint8_t *data, size_t size, uint8_t *into) except -1
cdef int hmac(const uint8_t *key, const uint8_t *data, size_t size, uint8_t *into) except -1
