# cython: boundscheck=False, wraparound=False
"""The columns of a result, told from others by a digest of what PostgreSQL itself compares.

That are their names, types and type modifiers (equalRowTypes in its tupdesc.c): with others a cached plan
"must not change result type". Which table a column is of and in which format it will come is not compared.

Manual: "Message Formats", RowDescription.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    COUNT_BYTES = 2
    TABLE_BYTES = 6              # of each column, behind its name: the table's oid, the attribute's number
    TYPE_BYTES = 4
    SIZE_BYTES = 2
    MODIFIER_BYTES = 4
    REST_BYTES = TABLE_BYTES + TYPE_BYTES + SIZE_BYTES + MODIFIER_BYTES + 2     # and the format

cdef uint64_t BASIS = 0xCBF29CE484222325      # FNV-1a
cdef uint64_t PRIME = 0x100000001B3


cdef inline uint64_t _mix(uint64_t digest, const char *data, size_t size) noexcept nogil:
    cdef size_t at
    for at in range(size):
        digest = (digest ^ <uint8_t>data[at]) * PRIME
    return digest


cdef uint32_t digest_columns(const char *body, size_t size) noexcept nogil:
    """Of a RowDescription, without its header; UNTOLD when it is none."""
    cdef size_t at = COUNT_BYTES, start
    cdef uint64_t digest = BASIS
    cdef uint32_t folded
    if size < COUNT_BYTES:
        return UNTOLD
    while at < size:
        start = at
        while at < size and body[at]:
            at += 1
        at += 1
        if at + REST_BYTES > size:
            return UNTOLD
        digest = _mix(digest, body + start, at - start)
        digest = _mix(digest, body + at + TABLE_BYTES, TYPE_BYTES)
        digest = _mix(digest, body + at + TABLE_BYTES + TYPE_BYTES + SIZE_BYTES, MODIFIER_BYTES)
        at += REST_BYTES
    folded = <uint32_t>(digest ^ digest >> 32)
    return folded if folded > NO_COLUMNS else folded + NO_COLUMNS + 1


def digest(bytes body):
    """The same for tests."""
    return digest_columns(body, len(body))
