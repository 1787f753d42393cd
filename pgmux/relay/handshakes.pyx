# cython: boundscheck=False, wraparound=False
"""TLS handshakes of clients, in the middle of their log-ins.

The log-in says when to begin, and is told how it ended. In between, reading is all there is to
it: what is read goes to OpenSSL, and what that answers is sent (streams.pyx).
"""
from pgmux.relay.endpoint cimport Client
from pgmux.relay.streams cimport CHUNK_BYTES
from pgmux.relay.tls cimport Tls


cdef class Handshakes(Exchange):
    """One worker's handshakes."""

    def __cinit__(self):
        self.tls_mode = "disable"

    cdef int encrypt(self, Client client) except -1:
        """From here on the client is spoken to under TLS. What it has already sent of the handshake is read."""
        cdef bytes words = client.login.take_outgoing(), ciphertext = client.login.take_ciphertext()
        if words:
            self.send_to_client(client, words, len(words))
        client.tls = Tls(self.tls)
        if ciphertext:
            client.tls.open(ciphertext, len(ciphertext), self.buffer, CHUNK_BYTES)   # no plaintext comes so early
            client.readable |= client.tls.has_ended
            self.send_sealed(client)
        return 0

    cdef int shake_hands(self, Client client) except -1:
        """Tell the log-in how the handshake has ended, once it has."""
        if client.tls.is_secured:
            client.login.secure(client.tls.protocol if client.login.is_direct else "")
        elif client.tls.has_ended:
            client.login.lose(client.tls.trouble)
        else:
            return 0
        client.tls.is_announced = True
        return self.attend(client)

    cdef int attend(self, Client client) except -1:
        """Do what a client's log-in wants now. Loop's."""
        raise NotImplementedError
