cdef class ScramServer:
    cdef object verifier
    cdef bytes nonce             # the server's part at first, then the whole
    cdef bytes end_point         # of our TLS connection with the client; b"" = there is none
    cdef bytes auth_message      # the messages so far, without the proof
    cdef bytes channel_binding   # base64 of what client-first began with, and of what it is bound to
    cdef bytes client_key        # once the proof was right

    cpdef bytes challenge(self, bytes client_first, str mechanism=*)
    cpdef bytes verify(self, bytes client_final)

cdef bytes draw_nonce()
