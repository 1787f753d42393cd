# cython: boundscheck=False, wraparound=False
"""TLS handshakes of clients, in the middle of their log-ins.

The log-in says when to begin, and is told how it ended. In between, reading is all there is to
it: what is read goes to OpenSSL, and what that answers is sent (streams.pyx).

A step of a handshake costs as much as fifty queries. So handshakes take turns, one step between
two looks at the epoll: a storm of newcomers waits for itself, and whoever is in is served.
"""
from collections import deque

from pgmux.relay.buffer cimport append, clear, length
from pgmux.relay.endpoint cimport Client, LOGIN
from pgmux.relay.streams cimport CHUNK_BYTES
from pgmux.relay.tls cimport Tls


cdef class Handshakes(Exchange):
    """One worker's handshakes."""

    def __cinit__(self):
        self.tls_mode = "disable"
        self.shaking = deque()

    cdef int encrypt(self, Client client) except -1:
        """From here on the client is spoken to under TLS. What it has already sent of the handshake is read."""
        cdef bytes words = client.login.take_outgoing(), ciphertext = client.login.take_ciphertext()
        if words:
            self.send_to_client(client, words, len(words))
        client.tls = Tls(self.tls)
        client.stays = True                  # the state of its cipher is in this process's memory
        if ciphertext:
            append(&client.held, ciphertext, len(ciphertext))
            self.defer(client)
        return 0

    cdef int defer(self, Client client) except -1:
        """A client in its handshake has sent something, or has left. It waits for its turn."""
        if not client.queued:
            client.queued = True
            self.shaking.append(client)
            self.is_shaking = True
        return 0

    cdef int shake_next(self) except -1:
        """One step of the handshake that has waited longest."""
        cdef Client client = self.shaking.popleft()
        self.is_shaking = bool(self.shaking)
        client.queued = False
        if client.phase != LOGIN:
            return 0
        if length(&client.held):             # no plaintext comes so early
            client.tls.open(client.held.data + client.held.start, length(&client.held), self.buffer, CHUNK_BYTES)
            clear(&client.held)
            client.readable |= client.tls.has_ended
            self.send_sealed(client)
        return self.serve_login(client)

    cdef int shake_hands(self, Client client) except -1:
        """Tell the log-in how the handshake has ended, once it has."""
        if client.tls.is_secured:
            client.row.tls = client.tls.suite()
            client.login.secure(client.tls.protocol if client.login.is_direct else "")
        elif client.tls.has_ended:
            client.login.lose(client.tls.trouble)
        else:
            return 0
        client.tls.is_announced = True
        return self.attend(client)

    cdef int serve_login(self, Client client) except -1:
        """Hand what came to the log-in. Loop's."""
        raise NotImplementedError

    cdef int attend(self, Client client) except -1:
        """Do what a client's log-in wants now. Loop's."""
        raise NotImplementedError
