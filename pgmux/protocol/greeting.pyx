"""What a client is sent at the end of its log-in, in one piece.

    AuthenticationOk | ParameterStatus … | BackendKeyData | ReadyForQuery

Manual: "Message Flow", "Start-up". Compiled, because clients that connect for each query pay for it each time.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from pgmux.protocol import messages

cdef bytes BEGINS = messages.build_authentication_ok()
cdef bytes ENDS = messages.build_ready_for_query(b"I")


cdef bytes build_greeting(bytes before, bytes told, uint32_t pid, bytes key):
    """The greeting, after what is `before` it. `told`: the ParameterStatus messages; `pid`, `key`: to cancel by."""
    if len(key) == 4:
        return splice(before, told, pid, key)
    return b"".join((before, BEGINS, told, messages.build_backend_key_data(pid, key), ENDS))


cdef bytes splice(bytes before, bytes told, uint32_t pid, bytes key):
    """The greeting with a key of four bytes: what nearly every client gets."""
    cdef Py_ssize_t until_key = len(before) + len(BEGINS) + len(told)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, until_key + 13 + len(ENDS))
    cdef char *at = PyBytes_AS_STRING(whole)
    cdef int shift
    memcpy(at, PyBytes_AS_STRING(before), len(before))
    at += len(before)
    memcpy(at, PyBytes_AS_STRING(BEGINS), len(BEGINS))
    at += len(BEGINS)
    memcpy(at, PyBytes_AS_STRING(told), len(told))
    at += len(told)
    memcpy(at, b"K\0\0\0\x0c", 5)
    for shift in range(4):
        at[5 + shift] = pid >> (24 - 8 * shift) & 0xFF
    memcpy(at + 9, PyBytes_AS_STRING(key), 4)
    memcpy(at + 13, PyBytes_AS_STRING(ENDS), len(ENDS))
    return whole
