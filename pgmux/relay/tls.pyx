# cython: boundscheck=False, wraparound=False
"""One connection's TLS: ciphertext in, plaintext out, and the other way round.

OpenSSL is kept away from sockets. It reads from whatever ciphertext was just received into one
buffer that all connections of the worker share, and writes into another; both are empty again
when a call returns, but for the beginning of a record, of which OpenSSL keeps a copy. So what
is true of a plain connection is true of this one: one recv brings all there is, a short one
has emptied the socket, what a send does not take is kept (as ciphertext) in the endpoint's
`out`, and OpenSSL never has plaintext left that nobody asked for.

The handshake is whatever reading does before it gives plaintext. Greenlets, which have sockets
of their own, use the same by `unseal` and `seal_bytes`.
"""
import ipaddress

from libc.stdint cimport uint8_t, uint32_t

from pgmux.relay.tls_context import TlsError

from pgmux.relay.buffer cimport Buffer, try_append
from pgmux.relay.openssl cimport (
    ASN1_STRING_to_UTF8, BIO, BIO_CTRL_FLUSH, BIO_FLAGS_READ, BIO_FLAGS_SHOULD_RETRY, BIO_METHOD,
    BIO_TYPE_SOURCE_SINK, BIO_clear_flags, BIO_free, BIO_meth_new, BIO_meth_set_ctrl, BIO_meth_set_read,
    BIO_meth_set_write, BIO_new, BIO_read, BIO_s_mem, BIO_set_flags, BIO_set_init, CRYPTO_free, ERR_clear_error,
    ERR_peek_error, ERR_reason_error_string, NID_commonName, SSL_CIPHER_get_name,
    SSL_CIPHER_get_protocol_id,
    SSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_ctrl, SSL_do_handshake, SSL_free, SSL_get0_alpn_selected, SSL_get0_param,
    SSL_get1_peer_certificate, SSL_get_current_cipher, SSL_get_shutdown, SSL_get_verify_result, SSL_get_version,
    SSL_is_init_finished, SSL_new, SSL_read, SSL_session_reused, SSL_set_accept_state, SSL_set_bio,
    SSL_set_connect_state, SSL_shutdown, SSL_version, SSL_write, X509, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_NAME,
    X509_NAME_ENTRY_get_data, X509_NAME_get_entry, X509_NAME_get_index_by_NID, X509_NAME_print_ex, X509_V_OK,
    X509_VERIFY_PARAM_set1_host, X509_VERIFY_PARAM_set1_ip_asc, X509_VERIFY_PARAM_set_hostflags, X509_free,
    X509_get_subject_name, X509_verify_cert_error_string, XN_FLAG_RFC2253, load,
)
from pgmux.relay.sockets cimport EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, errno, recv, send
from pgmux.relay.tls_context cimport TlsContext, end_point_of
from libc.string cimport memcpy

cdef enum:
    RECEIVED_SHUTDOWN = 2        # a bit of SSL_get_shutdown(3): the peer's close_notify has come

cdef char received[CIPHERTEXT_BYTES]     # by the recv under way
cdef const char *incoming = NULL         # ciphertext that OpenSSL has not taken yet, of the connection at hand
cdef size_t incoming_size = 0
cdef bint is_starved = False             # OpenSSL has asked for more than there is
cdef Buffer outgoing                     # ciphertext that OpenSSL has made; empty between two calls
cdef BIO_METHOD *shared_buffers = NULL


cdef class Tls:
    """The state of one connection."""

    def __init__(self, TlsContext context, str host=""):
        cdef BIO *bio
        if shared_buffers == NULL:
            make_method()
        self.context = context
        self.ssl = SSL_new(context.context)
        bio = BIO_new(shared_buffers)
        if self.ssl == NULL or bio == NULL:
            raise MemoryError()
        BIO_set_init(bio, 1)
        SSL_set_bio(self.ssl, bio, bio)
        if context.is_for_clients:
            SSL_set_accept_state(self.ssl)
        else:
            SSL_set_connect_state(self.ssl)
            self._name_server(host)

    def __dealloc__(self):
        if self.ssl != NULL:
            SSL_free(self.ssl)

    # --- for the relay

    cdef Py_ssize_t receive(self, int fd, char *into, size_t room, bint *has_more) noexcept:
        """Read the socket: bytes of plaintext; 0 = no more will come; -1 = nothing now.

        `has_more` says whether to read again. What OpenSSL wants said to the peer is left for take_sealed.
        """
        cdef ssize_t got
        cdef Py_ssize_t size
        while not self.has_ended:
            got = recv(fd, received, CIPHERTEXT_BYTES, MSG_DONTWAIT)
            has_more[0] = got == CIPHERTEXT_BYTES
            if got < 0 and errno == EINTR:
                continue
            if got < 0 and errno == EAGAIN:
                return -1
            if got <= 0:
                self.has_ended = True
                break
            size = self.open(received, got, into, room)
            has_more[0] |= self.has_ended
            if size > 0:
                return size
            if not has_more[0]:
                return -1
        has_more[0] = True
        return 0

    cdef Py_ssize_t open(self, const char *data, size_t size, char *into, size_t room) noexcept:
        """Bytes of plaintext in some ciphertext. Where it ends in the middle of a record, OpenSSL keeps that."""
        global incoming, incoming_size, is_starved
        cdef size_t opened = 0
        cdef int step
        incoming, incoming_size, is_starved = data, size, False
        while True:
            step = SSL_read(self.ssl, into + opened, <int>(room - opened))
            if step <= 0:
                if not is_starved:
                    self._end()
                break
            opened += step
            if not incoming_size:
                break
        incoming = NULL
        incoming_size = 0
        if not self.is_secured:
            self.is_secured = SSL_is_init_finished(self.ssl)
        return opened

    cdef bint seal(self, const char *data, size_t size) noexcept:
        """Whether it could be sealed; take_sealed gives it. Before the handshake is done, nothing can."""
        cdef int step
        if not self.is_secured or self.is_broken:
            return False
        while size:
            step = <int>min(size, RECORD_BYTES)
            if SSL_write(self.ssl, data, step) != step:
                self._end()
                self.is_broken = True
                return False
            data += step
            size -= step
        return True

    cdef void part(self, int fd, const char *last_words, size_t size) noexcept:
        """Say something last, and that it was the last. Nobody minds when the socket does not take it."""
        cdef const char *data
        if self.is_secured and not self.is_broken:
            self.seal(last_words, size)
            SSL_shutdown(self.ssl)
            self.is_broken = True
            ERR_clear_error()
        size = take_sealed(&data)
        if size:
            send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)

    cdef uint32_t suite(self) noexcept:
        """Version and cipher suite by their numbers (RFC 8446, sections 4.1.2 and B.4): version << 16 | suite."""
        return <uint32_t>SSL_version(self.ssl) << 16 | SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(self.ssl))

    cdef void _end(self) noexcept:
        """OpenSSL reads no more: the peer said so, or has not kept to the rules."""
        self.has_ended = True
        if not SSL_get_shutdown(self.ssl) & RECEIVED_SHUTDOWN or not self.is_secured:
            self.failure = ERR_reason_error_string(ERR_peek_error())
            self.is_broken = True
        ERR_clear_error()

    # --- for greenlets

    def begin(self):
        """What is to be sent first by the side that connects."""
        global is_starved
        is_starved = False
        if SSL_do_handshake(self.ssl) <= 0 and not is_starved:
            self._end()
        return take_sealed_bytes()

    def unseal(self, bytes ciphertext):
        """(the plaintext in what came, what is to be sent because of it)."""
        cdef bytearray into = bytearray(len(ciphertext) + RECORD_BYTES)
        cdef size_t opened
        if self.has_ended:
            return b"", b""
        opened = self.open(ciphertext, len(ciphertext), into, len(into))
        return bytes(into[:opened]), take_sealed_bytes()

    def seal_bytes(self, bytes plaintext):
        """What is to be sent for it."""
        if not self.seal(plaintext, len(plaintext)):
            raise TlsError(self.trouble or "the connection has ended")
        return take_sealed_bytes()

    def close(self):
        """What is to be sent last: close_notify."""
        if self.is_secured and not self.is_broken:
            SSL_shutdown(self.ssl)
            self.is_broken = True
            ERR_clear_error()
        return take_sealed_bytes()

    @property
    def code(self):
        """Version and cipher suite by their numbers, for shared memory; not before the handshake is done."""
        return self.suite()

    @property
    def trouble(self):
        """Why the handshake or the connection failed; "" when it did not."""
        cdef long verdict = SSL_get_verify_result(self.ssl)
        if not self.has_ended or self.failure == NULL:
            return ""
        reason = self.failure.decode()
        if reason == "certificate verify failed" and verdict != X509_V_OK:
            return f"{reason}: {X509_verify_cert_error_string(verdict).decode()}"
        return reason

    @property
    def protocol(self):
        """The protocol agreed on by ALPN, "" for none."""
        cdef const uint8_t *name = NULL
        cdef unsigned int size = 0
        SSL_get0_alpn_selected(self.ssl, &name, &size)
        return name[:size].decode("ascii", "replace") if size else ""

    @property
    def is_resumed(self):
        """Whether a ticket of an earlier session spared the handshake's expensive half."""
        return bool(SSL_session_reused(self.ssl))

    def describe(self):
        """Version and cipher, as "TLSv1.3/TLS_AES_256_GCM_SHA384"."""
        cdef const char *cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(self.ssl))
        return f"{SSL_get_version(self.ssl).decode()}/{cipher.decode()}"

    def peer_end_point(self):
        """The hash of the peer's certificate to which SCRAM binds itself; b"" for none."""
        cdef X509 *certificate = SSL_get1_peer_certificate(self.ssl)
        if certificate == NULL:
            return b""
        try:
            return end_point_of(certificate)
        finally:
            X509_free(certificate)

    def identify_peer(self):
        """(whether the peer showed a good certificate, its common name, its distinguished name)."""
        cdef X509_NAME *subject
        cdef X509 *certificate = SSL_get1_peer_certificate(self.ssl)
        if certificate == NULL:
            return False, "", ""
        subject = X509_get_subject_name(certificate)
        try:
            if SSL_get_verify_result(self.ssl) != X509_V_OK:
                return False, "", ""
            return True, common_name_of(subject), distinguish(subject)
        finally:
            X509_free(certificate)

    def _name_server(self, str host):
        """Tell the server whom we mean (an address must not be told: RFC 6066 section 3), and check that it is."""
        cdef bytes name = host.encode("idna") if host else b""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            is_address = False
        else:
            is_address = True
        if name and not is_address:
            SSL_ctrl(self.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, <char *>name)
        if not self.context.checks_names:
            return
        if is_address:
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(self.ssl), name)
        else:
            X509_VERIFY_PARAM_set_hostflags(SSL_get0_param(self.ssl), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
            X509_VERIFY_PARAM_set1_host(SSL_get0_param(self.ssl), name, len(name))


cdef size_t take_sealed(const char **data) noexcept nogil:
    """The ciphertext that OpenSSL has made. It lies there until OpenSSL makes more."""
    cdef size_t size = outgoing.end
    data[0] = outgoing.data
    outgoing.end = 0
    return size


cdef bytes take_sealed_bytes():
    cdef const char *data
    cdef size_t size = take_sealed(&data)
    return data[:size] if size else b""


# What OpenSSL takes for a socket.

cdef int make_method() except -1:
    global shared_buffers
    load()
    shared_buffers = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "pgmux")
    if shared_buffers == NULL:
        raise MemoryError()
    BIO_meth_set_read(shared_buffers, give)
    BIO_meth_set_write(shared_buffers, take)
    BIO_meth_set_ctrl(shared_buffers, control)
    return 0


cdef int give(BIO *bio, char *into, int room) noexcept nogil:
    """OpenSSL reads: of the ciphertext at hand; when there is no more, "try again"."""
    global incoming, incoming_size, is_starved
    cdef size_t size = min(<size_t>room, incoming_size)
    if size:
        BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        memcpy(into, incoming, size)
        incoming += size
        incoming_size -= size
        return <int>size
    is_starved = True
    BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    return -1


cdef int take(BIO *bio, const char *data, int size) noexcept nogil:
    """OpenSSL writes: all of it is taken, always."""
    BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    return size if try_append(&outgoing, data, size) else -1


cdef long control(BIO *bio, int command, long number, void *pointer) noexcept nogil:
    return command == BIO_CTRL_FLUSH


# What a certificate says.

cdef str common_name_of(X509_NAME *subject):
    """"" for none, and for one with a zero byte in it, which would be read as another."""
    cdef uint8_t *text = NULL
    cdef int size, at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
    if at < 0:
        return ""
    size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)))
    if size < 0:
        ERR_clear_error()
        return ""
    name = text[:size]
    CRYPTO_free(text, NULL, 0)
    return "" if b"\0" in name else name.decode("utf-8", "surrogateescape")


cdef str distinguish(X509_NAME *subject):
    cdef char text[4096]
    cdef BIO *bio = BIO_new(BIO_s_mem())
    cdef int size
    if bio == NULL:
        raise MemoryError()
    X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253)
    size = BIO_read(bio, text, sizeof(text))
    BIO_free(bio)
    ERR_clear_error()
    return text[:size].decode("utf-8", "replace") if 0 < size < <int>sizeof(text) else ""
