from pgmux.relay.endpoint cimport Client
from pgmux.relay.exchange cimport Exchange
from pgmux.relay.tls_context cimport TlsContext


cdef class Handshakes(Exchange):
    cdef public str tls_mode             # client_tls_sslmode
    cdef public TlsContext tls           # for clients that ask for it from now on
    cdef object shaking                  # clients with something of their handshake to be read: a deque
    cdef bint is_shaking                 # there are any

    cdef int encrypt(self, Client client) except -1
    cdef int shake_hands(self, Client client) except -1
    cdef int defer(self, Client client) except -1
    cdef int shake_next(self) except -1
    cdef int serve_login(self, Client client) except -1
    cdef int attend(self, Client client) except -1
