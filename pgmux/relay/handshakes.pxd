from pgmux.relay.endpoint cimport Client
from pgmux.relay.exchange cimport Exchange
from pgmux.relay.tls_context cimport TlsContext


cdef class Handshakes(Exchange):
    cdef public str tls_mode             # client_tls_sslmode
    cdef public TlsContext tls           # for clients that ask for it from now on

    cdef int encrypt(self, Client client) except -1
    cdef int shake_hands(self, Client client) except -1
    cdef int attend(self, Client client) except -1
