"""The functions of OpenSSL that pgmux calls, by OpenSSL's own names. See its manual, section 3.

They are pointers, because no header and no library of OpenSSL is needed to build pgmux:
openssl.pyx finds each in the library that Python's own `ssl` module uses. Where a line says
"macro", OpenSSL has a macro of that name, which is a call of the function beside it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


# What OpenSSL allocates and only it looks into. The members stand for nothing: C wants one.
cdef struct SSL:
    char _opaque
cdef struct SSL_CTX:
    char _opaque
cdef struct BIO:
    char _opaque
cdef struct BIO_METHOD:
    char _opaque
cdef struct X509:
    char _opaque
cdef struct X509_NAME:
    char _opaque
cdef struct X509_NAME_ENTRY:
    char _opaque
cdef struct X509_STORE_CTX:
    char _opaque
cdef struct X509_VERIFY_PARAM:
    char _opaque
cdef struct ASN1_STRING:
    char _opaque
cdef struct SSL_CIPHER:
    char _opaque
cdef struct SSL_METHOD:
    char _opaque
cdef struct STACK_OF_X509_NAME:
    char _opaque

cdef enum:                       # values of OpenSSL's headers, part of its binary interface
    BIO_FLAGS_READ = 0x01
    BIO_FLAGS_SHOULD_RETRY = 0x08
    BIO_CTRL_FLUSH = 11
    BIO_TYPE_SOURCE_SINK = 0x0400
    SSL_CTRL_MODE = 33           # macro SSL_CTX_set_mode(ctx, bits)
    SSL_CTRL_SET_SESS_CACHE_MODE = 44
    SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
    SSL_CTRL_SET_TLSEXT_TICKET_KEYS = 59
    SSL_CTRL_SET_GROUPS_LIST = 92
    SSL_CTRL_SET_MIN_PROTO_VERSION = 123
    SSL_CTRL_SET_MAX_PROTO_VERSION = 124
    SSL_MODE_RELEASE_BUFFERS = 0x10
    SSL_MODE_NO_AUTO_CHAIN = 0x8
    SSL_CTRL_BUILD_CERT_CHAIN = 105  # macro SSL_CTX_build_cert_chain(ctx, flags)
    SSL_CTRL_GET_CHAIN_CERTS = 115   # macro SSL_CTX_get0_chain_certs(ctx, stack)
    SSL_BUILD_CHAIN_FLAG_NO_ROOT = 0x2
    SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR = 0x8
    SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR = 0x10
    SSL_SESS_CACHE_OFF = 0
    SSL_FILETYPE_PEM = 1
    SSL_VERIFY_NONE = 0
    SSL_VERIFY_PEER = 1
    SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2
    SSL_TLSEXT_ERR_OK = 0
    SSL_TLSEXT_ERR_ALERT_FATAL = 2
    TLS1_2_VERSION = 0x0303
    TLS1_3_VERSION = 0x0304
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 0x4
    X509_V_OK = 0
    NID_commonName = 13
    XN_FLAG_RFC2253 = 0x1110317
    SSL_OP_NO_COMPRESSION = 0x20000
    SSL_OP_CIPHER_SERVER_PREFERENCE = 0x400000
    SSL_OP_NO_RENEGOTIATION = 0x40000000

cdef int load() except -1

# errors
cdef unsigned long (*ERR_get_error)() noexcept nogil
cdef unsigned long (*ERR_peek_error)() noexcept nogil
cdef void (*ERR_clear_error)() noexcept nogil
cdef const char *(*ERR_reason_error_string)(unsigned long error) noexcept nogil

# where a connection's bytes come from and go to
cdef BIO_METHOD *(*BIO_meth_new)(int kind, const char *name) noexcept nogil
cdef int (*BIO_meth_set_read)(BIO_METHOD *, int (*read)(BIO *, char *, int) noexcept nogil) noexcept nogil
cdef int (*BIO_meth_set_write)(BIO_METHOD *, int (*write)(BIO *, const char *, int) noexcept nogil) noexcept nogil
cdef int (*BIO_meth_set_ctrl)(BIO_METHOD *, long (*ctrl)(BIO *, int, long, void *) noexcept nogil) noexcept nogil
cdef BIO *(*BIO_new)(const BIO_METHOD *) noexcept nogil
cdef void (*BIO_set_init)(BIO *, int is_ready) noexcept nogil
cdef void (*BIO_set_flags)(BIO *, int flags) noexcept nogil
cdef void (*BIO_clear_flags)(BIO *, int flags) noexcept nogil
cdef const BIO_METHOD *(*BIO_s_mem)() noexcept nogil
cdef int (*BIO_read)(BIO *, void *into, int room) noexcept nogil
cdef int (*BIO_free)(BIO *) noexcept nogil

# contexts
cdef const SSL_METHOD *(*TLS_method)() noexcept nogil
cdef SSL_CTX *(*SSL_CTX_new)(const SSL_METHOD *) noexcept nogil
cdef void (*SSL_CTX_free)(SSL_CTX *) noexcept nogil
cdef long (*SSL_CTX_ctrl)(SSL_CTX *, int command, long number, void *pointer) noexcept nogil
cdef uint64_t (*SSL_CTX_set_options)(SSL_CTX *, uint64_t options) noexcept nogil
cdef int (*SSL_CTX_use_certificate_chain_file)(SSL_CTX *, const char *path) noexcept nogil
cdef int (*SSL_CTX_use_PrivateKey_file)(SSL_CTX *, const char *path, int kind) noexcept nogil
cdef int (*SSL_CTX_check_private_key)(const SSL_CTX *) noexcept nogil
cdef void (*SSL_CTX_set_default_passwd_cb)(SSL_CTX *, int (*ask)(char *, int, int, void *) noexcept nogil) noexcept nogil
cdef int (*SSL_CTX_load_verify_locations)(SSL_CTX *, const char *file, const char *directory) noexcept nogil
cdef int (*SSL_CTX_set_default_verify_paths)(SSL_CTX *) noexcept nogil
cdef void (*SSL_CTX_set_verify)(SSL_CTX *, int mode, int (*judge)(int, X509_STORE_CTX *) noexcept nogil) noexcept nogil
cdef STACK_OF_X509_NAME *(*SSL_load_client_CA_file)(const char *file) noexcept nogil
cdef void (*SSL_CTX_set_client_CA_list)(SSL_CTX *, STACK_OF_X509_NAME *) noexcept nogil
cdef int (*SSL_CTX_set_cipher_list)(SSL_CTX *, const char *list) noexcept nogil
cdef int (*SSL_CTX_set_ciphersuites)(SSL_CTX *, const char *list) noexcept nogil
cdef void (*SSL_CTX_set_alpn_select_cb)(
    SSL_CTX *,
    int (*choose)(SSL *, const uint8_t **, uint8_t *, const uint8_t *, unsigned int, void *) noexcept nogil,
    void *argument) noexcept nogil
cdef int (*SSL_CTX_set_alpn_protos)(SSL_CTX *, const uint8_t *names, unsigned int size) noexcept nogil
cdef int (*SSL_CTX_set_session_id_context)(SSL_CTX *, const uint8_t *name, unsigned int size) noexcept nogil
cdef int (*SSL_CTX_set_num_tickets)(SSL_CTX *, size_t count) noexcept nogil
cdef X509 *(*SSL_CTX_get0_certificate)(const SSL_CTX *) noexcept nogil

# connections
cdef SSL *(*SSL_new)(SSL_CTX *) noexcept nogil
cdef void (*SSL_free)(SSL *) noexcept nogil
cdef void (*SSL_set_bio)(SSL *, BIO *source, BIO *sink) noexcept nogil
cdef void (*SSL_set_accept_state)(SSL *) noexcept nogil
cdef void (*SSL_set_connect_state)(SSL *) noexcept nogil
cdef int (*SSL_do_handshake)(SSL *) noexcept nogil
cdef int (*SSL_is_init_finished)(const SSL *) noexcept nogil
cdef int (*SSL_read)(SSL *, void *into, int room) noexcept nogil
cdef int (*SSL_write)(SSL *, const void *data, int size) noexcept nogil
cdef int (*SSL_shutdown)(SSL *) noexcept nogil
cdef int (*SSL_get_shutdown)(const SSL *) noexcept nogil
cdef long (*SSL_ctrl)(SSL *, int command, long number, void *pointer) noexcept nogil
cdef X509_VERIFY_PARAM *(*SSL_get0_param)(SSL *) noexcept nogil
cdef int (*X509_VERIFY_PARAM_set1_host)(X509_VERIFY_PARAM *, const char *name, size_t size) noexcept nogil
cdef int (*X509_VERIFY_PARAM_set1_ip_asc)(X509_VERIFY_PARAM *, const char *address) noexcept nogil
cdef void (*X509_VERIFY_PARAM_set_hostflags)(X509_VERIFY_PARAM *, unsigned int flags) noexcept nogil
cdef const char *(*SSL_get_version)(const SSL *) noexcept nogil
cdef int (*SSL_version)(const SSL *) noexcept nogil
cdef uint16_t (*SSL_CIPHER_get_protocol_id)(const SSL_CIPHER *) noexcept nogil
cdef const SSL_CIPHER *(*SSL_get_current_cipher)(const SSL *) noexcept nogil
cdef const char *(*SSL_CIPHER_get_name)(const SSL_CIPHER *) noexcept nogil
cdef int (*SSL_session_reused)(const SSL *) noexcept nogil
cdef void (*SSL_get0_alpn_selected)(const SSL *, const uint8_t **name, unsigned int *size) noexcept nogil
cdef X509 *(*SSL_get1_peer_certificate)(const SSL *) noexcept nogil     # SSL_get_peer_certificate before OpenSSL 3
cdef long (*SSL_get_verify_result)(const SSL *) noexcept nogil
cdef const char *(*X509_verify_cert_error_string)(long result) noexcept nogil

# certificates
cdef void (*X509_free)(X509 *) noexcept nogil
cdef int (*i2d_X509)(const X509 *, uint8_t **into) noexcept nogil
cdef int (*X509_get_signature_info)(X509 *, int *digest, int *key, int *bits, uint32_t *flags) noexcept nogil
cdef const char *(*OBJ_nid2sn)(int number) noexcept nogil
cdef X509_NAME *(*X509_get_subject_name)(const X509 *) noexcept nogil
cdef int (*X509_NAME_get_index_by_NID)(X509_NAME *, int number, int after) noexcept nogil
cdef X509_NAME_ENTRY *(*X509_NAME_get_entry)(const X509_NAME *, int index) noexcept nogil
cdef ASN1_STRING *(*X509_NAME_ENTRY_get_data)(const X509_NAME_ENTRY *) noexcept nogil
cdef int (*ASN1_STRING_to_UTF8)(uint8_t **text, const ASN1_STRING *) noexcept nogil
cdef int (*X509_NAME_print_ex)(BIO *, const X509_NAME *, int indent, unsigned long flags) noexcept nogil
cdef void (*CRYPTO_free)(void *memory, const char *file, int line) noexcept nogil
