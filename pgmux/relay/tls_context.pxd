from pgmux.relay.openssl cimport SSL_CTX, X509


cdef class TlsContext:
    cdef SSL_CTX *context
    cdef readonly bint is_for_clients    # pgmux answers the handshake; otherwise it begins it
    cdef readonly bint checks_names      # PostgreSQL's certificate must be for the host we asked for (verify-full)
    cdef readonly bytes end_point        # of our certificate: tls-server-end-point (RFC 5929); b"" = none

cdef bytes end_point_of(X509 *certificate)
