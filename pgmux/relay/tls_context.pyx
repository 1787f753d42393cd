# cython: boundscheck=False, wraparound=False
"""What the TLS connections of one configuration have in common: certificate, authorities, ciphers.

A reload makes a new context. Connections begun under the old one keep it alive, and it ends
with the last of them.

Sessions are resumed by tickets alone (RFC 5077; RFC 8446 section 4.6.1), because a ticket is
good in any worker that has the same key. A ticket remembers the client's certificate, so it is
bound to the files under which that was verified: after they change, it is not accepted.
"""
from libc.stdint cimport uint8_t

from pgmux.relay.openssl cimport (
    CRYPTO_free, ERR_clear_error, ERR_peek_error, ERR_reason_error_string, OBJ_nid2sn, SSL,
    SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR, SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR, SSL_BUILD_CHAIN_FLAG_NO_ROOT,
    SSL_CTRL_BUILD_CERT_CHAIN, SSL_CTRL_GET_CHAIN_CERTS, SSL_CTRL_MODE, SSL_CTRL_SET_GROUPS_LIST,
    SSL_CTRL_SET_MAX_PROTO_VERSION, SSL_CTRL_SET_MIN_PROTO_VERSION,
    SSL_CTRL_SET_SESS_CACHE_MODE, SSL_CTRL_SET_TLSEXT_TICKET_KEYS, SSL_CTX_check_private_key, SSL_CTX_ctrl,
    SSL_CTX_free, SSL_CTX_get0_certificate, SSL_CTX_load_verify_locations, SSL_CTX_new, SSL_CTX_set_alpn_protos,
    SSL_CTX_set_alpn_select_cb, SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites, SSL_CTX_set_client_CA_list,
    SSL_CTX_set_default_passwd_cb, SSL_CTX_set_default_verify_paths, SSL_CTX_set_num_tickets, SSL_CTX_set_options,
    SSL_CTX_set_session_id_context, SSL_CTX_set_verify, SSL_CTX_use_PrivateKey_file,
    SSL_CTX_use_certificate_chain_file, SSL_FILETYPE_PEM, SSL_MODE_NO_AUTO_CHAIN, SSL_MODE_RELEASE_BUFFERS,
    SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_SESS_CACHE_OFF,
    SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_OK, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_NONE,
    SSL_VERIFY_PEER, SSL_load_client_CA_file, TLS1_2_VERSION, TLS1_3_VERSION, TLS_method, X509, X509_STORE_CTX,
    X509_get_signature_info, i2d_X509, load,
)

import hashlib

from pgmux.errors import PgmuxError

TICKET_KEY_BYTES = 80            # name 16, HMAC 32, AES 32: SSL_CTX_set_tlsext_ticket_key_cb(3)
TLS_1_2, TLS_1_3 = TLS1_2_VERSION, TLS1_3_VERSION

# Ours to clients, whose order counts: SHA-256 has instructions of its own in today's processors, and a handshake
# is a tenth cheaper with it than with OpenSSL's first choice, which hashes with SHA-384.
CLIENT_CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

cdef const uint8_t *ALPN = b"\x0apostgresql"   # a list of names, each after its length (RFC 7301)
cdef enum:
    ALPN_BYTES = 11


class TlsError(PgmuxError):
    """Something about TLS that the configuration asks for cannot be had; the text says what."""


cdef class TlsContext:
    """One configuration's context, of which every connection begun under it keeps a reference."""

    def __init__(self, bint is_for_clients, *, str cert_file="", str key_file="", str ca_file="", bint verifies=False,
                 bint checks_names=False, int oldest=TLS1_2_VERSION, int newest=TLS1_3_VERSION, str ciphers="",
                 str ciphersuites="", str groups=""):
        load()
        self.is_for_clients = is_for_clients
        self.checks_names = checks_names
        self.end_point = b""
        self.context = SSL_CTX_new(TLS_method())
        check(self.context != NULL, "OpenSSL has no room for a context")
        SSL_CTX_ctrl(self.context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL)
        SSL_CTX_ctrl(self.context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL)
        SSL_CTX_ctrl(self.context, SSL_CTRL_SET_MIN_PROTO_VERSION, oldest, NULL)
        SSL_CTX_ctrl(self.context, SSL_CTRL_SET_MAX_PROTO_VERSION, newest, NULL)
        SSL_CTX_set_options(self.context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION
                            | SSL_OP_CIPHER_SERVER_PREFERENCE)
        self._choose_ciphers(ciphers.encode(), ciphersuites.encode(), groups.encode())
        if cert_file:
            self._load_certificate(encode(cert_file), encode(key_file))
        self._load_authorities(encode(ca_file), verifies)
        self._complete_chain()
        if is_for_clients:
            self.end_point = end_point_of(SSL_CTX_get0_certificate(self.context))
            SSL_CTX_set_alpn_select_cb(self.context, choose_protocol, NULL)
            SSL_CTX_set_num_tickets(self.context, 1)
            self._bind_sessions(cert_file, ca_file, verifies)
        else:
            SSL_CTX_set_alpn_protos(self.context, ALPN, ALPN_BYTES)

    def __dealloc__(self):
        if self.context != NULL:
            SSL_CTX_free(self.context)

    def set_ticket_key(self, bytes key):
        """Session tickets are sealed with this from now on, and only such are accepted."""
        if len(key) != TICKET_KEY_BYTES:
            raise ValueError(f"a ticket key has {TICKET_KEY_BYTES} bytes, not {len(key)}")
        check(SSL_CTX_ctrl(self.context, SSL_CTRL_SET_TLSEXT_TICKET_KEYS, TICKET_KEY_BYTES, <char *>key) == 1,
              "OpenSSL does not take the ticket key")

    def _choose_ciphers(self, bytes ciphers, bytes ciphersuites, bytes groups):
        if ciphers:
            check(SSL_CTX_set_cipher_list(self.context, ciphers) == 1,
                  f'OpenSSL knows no cipher of TLS 1.2 in "{ciphers.decode()}"')
        if ciphersuites:
            check(SSL_CTX_set_ciphersuites(self.context, ciphersuites) == 1,
                  f'OpenSSL does not know all ciphers of TLS 1.3 in "{ciphersuites.decode()}"')
        if groups:
            check(SSL_CTX_ctrl(self.context, SSL_CTRL_SET_GROUPS_LIST, 0, <char *>groups) == 1,
                  f'OpenSSL does not know all curves in "{groups.decode()}"')

    def _load_certificate(self, bytes cert_file, bytes key_file):
        SSL_CTX_set_default_passwd_cb(self.context, know_no_passphrase)
        check(SSL_CTX_use_certificate_chain_file(self.context, cert_file) == 1,
              f"cannot use the certificate in {decode(cert_file)}")
        check(SSL_CTX_use_PrivateKey_file(self.context, key_file, SSL_FILETYPE_PEM) == 1,
              f"cannot use the private key in {decode(key_file)}")
        check(SSL_CTX_check_private_key(self.context) == 1,
              f"the private key in {decode(key_file)} does not belong to the certificate in {decode(cert_file)}")

    def _complete_chain(self):
        """Add to our certificate those between it and its authority, where its file has none but they are known.

        OpenSSL would look for them in each handshake anew.
        """
        cdef void *chain = NULL
        SSL_CTX_ctrl(self.context, SSL_CTRL_MODE, SSL_MODE_NO_AUTO_CHAIN, NULL)
        if SSL_CTX_get0_certificate(self.context) == NULL:
            return
        SSL_CTX_ctrl(self.context, SSL_CTRL_GET_CHAIN_CERTS, 0, &chain)
        if chain == NULL:
            SSL_CTX_ctrl(self.context, SSL_CTRL_BUILD_CERT_CHAIN, SSL_BUILD_CHAIN_FLAG_NO_ROOT
                         | SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR | SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR, NULL)
            ERR_clear_error()

    def _load_authorities(self, bytes ca_file, bint verifies):
        """Whom to trust, and what follows when a certificate is not good.

        A client's certificate that nobody asked for ends no handshake: it is looked at, and a log-in that
        goes by certificates is told whether it was good.
        """
        if ca_file:
            check(SSL_CTX_load_verify_locations(self.context, ca_file, NULL) == 1,
                  f"cannot use the authorities in {decode(ca_file)}")
        elif verifies:
            check(SSL_CTX_set_default_verify_paths(self.context) == 1, "cannot find the system's authorities")
        if not self.is_for_clients:
            SSL_CTX_set_verify(self.context, SSL_VERIFY_PEER if verifies else SSL_VERIFY_NONE, NULL)
        elif ca_file:
            SSL_CTX_set_client_CA_list(self.context, SSL_load_client_CA_file(ca_file))
            if verifies:
                SSL_CTX_set_verify(self.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL)
            else:
                SSL_CTX_set_verify(self.context, SSL_VERIFY_PEER, tolerate)

    def _bind_sessions(self, str cert_file, str ca_file, bint verifies):
        """Tickets are good under the same files and rules only."""
        digest = hashlib.sha256(b"verifies" if verifies else b"")
        for path in (cert_file, ca_file):
            if path:
                digest.update(read(path))
        name = digest.digest()
        SSL_CTX_set_session_id_context(self.context, <const uint8_t *><char *>name, len(name))


cdef int know_no_passphrase(char *into, int room, int is_for_writing, void *argument) noexcept nogil:
    """In place of OpenSSL's own, which would ask at the terminal."""
    return -1


cdef int tolerate(int is_good, X509_STORE_CTX *certificate) noexcept nogil:
    """A certificate that is not good is noted by OpenSSL (SSL_get_verify_result) and does no harm."""
    return 1


cdef int choose_protocol(SSL *ssl, const uint8_t **chosen, uint8_t *chosen_size, const uint8_t *offered,
                         unsigned int size, void *argument) noexcept nogil:
    """PostgreSQL's protocol, when the client offers any. Who offers only others has come to the wrong door."""
    cdef unsigned int at = 0, index
    while at < size:
        if offered[at] == ALPN[0] and at + ALPN_BYTES <= size:
            index = 1
            while index < ALPN_BYTES and offered[at + index] == ALPN[index]:
                index += 1
            if index == ALPN_BYTES:
                chosen[0] = ALPN + 1
                chosen_size[0] = ALPN[0]
                return SSL_TLSEXT_ERR_OK
        at += 1 + offered[at]
    return SSL_TLSEXT_ERR_ALERT_FATAL


cdef bytes end_point_of(X509 *certificate):
    """The hash to which SCRAM binds (RFC 5929 section 4.1); b"" where the signature names no hash."""
    cdef int digest = 0
    if certificate == NULL or X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1 or not digest:
        return b""
    name = OBJ_nid2sn(digest).decode().lower()
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, der_of(certificate)).digest()


cdef bytes der_of(X509 *certificate):
    cdef uint8_t *der = NULL
    cdef int size = i2d_X509(certificate, &der)
    check(size > 0, "OpenSSL cannot write a certificate down")
    copy = der[:size]
    CRYPTO_free(der, NULL, 0)
    return copy


cdef int check(bint is_well, str complaint) except -1:
    """Raise TlsError with the complaint and OpenSSL's reason, unless it is well."""
    cdef const char *reason
    if not is_well:
        reason = ERR_reason_error_string(ERR_peek_error())
        ERR_clear_error()
        raise TlsError(f"{complaint}: {reason.decode()}" if reason != NULL else complaint)
    return 0


cdef bytes read(str path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TlsError(f"cannot read {path}: {error.strerror}") from None


cdef bytes encode(str path):
    return path.encode("utf-8", "surrogateescape")


cdef str decode(bytes path):
    return path.decode("utf-8", "surrogateescape")
