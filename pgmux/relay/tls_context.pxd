from pgmux.relay.openssl cimport SSL_CTX


cdef class TlsContext:
    cdef SSL_CTX *context
    cdef readonly bint is_for_clients    # pgmux answers the handshake; otherwise it begins it
    cdef readonly bint checks_names      # PostgreSQL's certificate must be for the host we asked for (verify-full)
    cdef readonly bytes end_point        # of our certificate: tls-server-end-point (RFC 5929); b"" = none
