from libc.stdint cimport uint32_t

from pgmux.relay.openssl cimport SSL
from pgmux.relay.tls_context cimport TlsContext


cdef enum:
    RECORD_BYTES = 16384             # of plaintext, the most that one record of TLS holds
    CIPHERTEXT_BYTES = 48000         # of one read: with what is left of a record before, less than a chunk

cdef class Tls:
    cdef SSL *ssl
    cdef readonly TlsContext context
    cdef readonly bint is_secured    # the handshake is done
    cdef readonly bint has_ended     # the peer has said its last word, or what came is not to be trusted
    cdef bint is_broken              # nothing can be sent any more either
    cdef bint is_announced           # the log-in knows that the handshake is done
    cdef const char *failure         # OpenSSL's reason why it has ended; NULL = the peer ended it

    cdef Py_ssize_t receive(self, int fd, char *into, size_t room, bint *has_more) noexcept
    cdef Py_ssize_t open(self, const char *data, size_t size, char *into, size_t room) noexcept
    cdef bint seal(self, const char *data, size_t size) noexcept
    cdef uint32_t suite(self) noexcept
    cdef void _end(self) noexcept
    cdef void part(self, int fd, const char *last_words, size_t size) noexcept

cdef size_t take_sealed(const char **data) noexcept nogil
