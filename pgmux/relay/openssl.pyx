"""The functions of OpenSSL that pgmux calls, found in the library that Python's own `ssl` module uses.

One OpenSSL a process: a second one, linked by us, could be another version under the same names.
Nothing is looked for until `load` is called, so a pgmux without TLS does without the library.
See dlopen(3), dlsym(3).
"""
from pgmux.errors import PgmuxError

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *path, int flags)
    void *dlsym(void *library, const char *name)
    int RTLD_LAZY

_LIBRARIES = (b"libssl.so.3", b"libssl.so.1.1")   # tried where Python has no ssl module


class NoOpenSslError(PgmuxError):
    """There is no OpenSSL that could be used; the text says what to install."""


cdef void *library = NULL
cdef list missing = []


cdef int load() except -1:
    """Find the functions; once a process. Raises NoOpenSslError where there is none, or one before 1.1.1."""
    global library
    if library != NULL and not missing:
        return 0
    library = open_library()
    if library == NULL:
        raise NoOpenSslError("TLS needs OpenSSL, which was not found: install its library, or a Python with ssl")
    missing.clear()
    find_all()
    if missing:
        raise NoOpenSslError(f"TLS needs OpenSSL 1.1.1 or later: the library that Python uses has no {missing[0]}")
    return 0


cdef void *open_library() except? NULL:
    cdef void *found
    cdef bytes path
    try:
        import _ssl
    except ImportError:
        pass
    else:
        file = getattr(_ssl, "__file__", None)   # none where ssl is built into Python
        if file is None:
            return dlopen(NULL, RTLD_LAZY)
        path = file.encode("utf-8", "surrogateescape")
        return dlopen(path, RTLD_LAZY)           # a name is looked for in what it depends on, too
    for path in _LIBRARIES:
        found = dlopen(path, RTLD_LAZY)
        if found != NULL:
            return found
    return NULL


cdef int find(void **where, const char *name, const char *older_name=NULL) except -1:
    where[0] = dlsym(library, name)
    if where[0] == NULL and older_name != NULL:
        where[0] = dlsym(library, older_name)
    if where[0] == NULL:
        missing.append(name.decode())
    return 0


cdef int find_all() except -1:
    find(<void **>&ERR_get_error, "ERR_get_error")
    find(<void **>&ERR_peek_error, "ERR_peek_error")
    find(<void **>&ERR_clear_error, "ERR_clear_error")
    find(<void **>&ERR_reason_error_string, "ERR_reason_error_string")
    find(<void **>&BIO_meth_new, "BIO_meth_new")
    find(<void **>&BIO_meth_set_read, "BIO_meth_set_read")
    find(<void **>&BIO_meth_set_write, "BIO_meth_set_write")
    find(<void **>&BIO_meth_set_ctrl, "BIO_meth_set_ctrl")
    find(<void **>&BIO_new, "BIO_new")
    find(<void **>&BIO_set_init, "BIO_set_init")
    find(<void **>&BIO_set_flags, "BIO_set_flags")
    find(<void **>&BIO_clear_flags, "BIO_clear_flags")
    find(<void **>&BIO_s_mem, "BIO_s_mem")
    find(<void **>&BIO_read, "BIO_read")
    find(<void **>&BIO_free, "BIO_free")
    find(<void **>&TLS_method, "TLS_method")
    find(<void **>&SSL_CTX_new, "SSL_CTX_new")
    find(<void **>&SSL_CTX_free, "SSL_CTX_free")
    find(<void **>&SSL_CTX_ctrl, "SSL_CTX_ctrl")
    find(<void **>&SSL_CTX_set_options, "SSL_CTX_set_options")
    find(<void **>&SSL_CTX_use_certificate_chain_file, "SSL_CTX_use_certificate_chain_file")
    find(<void **>&SSL_CTX_use_PrivateKey_file, "SSL_CTX_use_PrivateKey_file")
    find(<void **>&SSL_CTX_check_private_key, "SSL_CTX_check_private_key")
    find(<void **>&SSL_CTX_set_default_passwd_cb, "SSL_CTX_set_default_passwd_cb")
    find(<void **>&SSL_CTX_load_verify_locations, "SSL_CTX_load_verify_locations")
    find(<void **>&SSL_CTX_set_default_verify_paths, "SSL_CTX_set_default_verify_paths")
    find(<void **>&SSL_CTX_set_verify, "SSL_CTX_set_verify")
    find(<void **>&SSL_load_client_CA_file, "SSL_load_client_CA_file")
    find(<void **>&SSL_CTX_set_client_CA_list, "SSL_CTX_set_client_CA_list")
    find(<void **>&SSL_CTX_set_cipher_list, "SSL_CTX_set_cipher_list")
    find(<void **>&SSL_CTX_set_ciphersuites, "SSL_CTX_set_ciphersuites")
    find(<void **>&SSL_CTX_set_alpn_select_cb, "SSL_CTX_set_alpn_select_cb")
    find(<void **>&SSL_CTX_set_alpn_protos, "SSL_CTX_set_alpn_protos")
    find(<void **>&SSL_CTX_set_session_id_context, "SSL_CTX_set_session_id_context")
    find(<void **>&SSL_CTX_set_num_tickets, "SSL_CTX_set_num_tickets")
    find(<void **>&SSL_CTX_get0_certificate, "SSL_CTX_get0_certificate")
    find(<void **>&SSL_new, "SSL_new")
    find(<void **>&SSL_free, "SSL_free")
    find(<void **>&SSL_set_bio, "SSL_set_bio")
    find(<void **>&SSL_set_accept_state, "SSL_set_accept_state")
    find(<void **>&SSL_set_connect_state, "SSL_set_connect_state")
    find(<void **>&SSL_do_handshake, "SSL_do_handshake")
    find(<void **>&SSL_is_init_finished, "SSL_is_init_finished")
    find(<void **>&SSL_read, "SSL_read")
    find(<void **>&SSL_write, "SSL_write")
    find(<void **>&SSL_shutdown, "SSL_shutdown")
    find(<void **>&SSL_get_shutdown, "SSL_get_shutdown")
    find(<void **>&SSL_ctrl, "SSL_ctrl")
    find(<void **>&SSL_get0_param, "SSL_get0_param")
    find(<void **>&X509_VERIFY_PARAM_set1_host, "X509_VERIFY_PARAM_set1_host")
    find(<void **>&X509_VERIFY_PARAM_set1_ip_asc, "X509_VERIFY_PARAM_set1_ip_asc")
    find(<void **>&X509_VERIFY_PARAM_set_hostflags, "X509_VERIFY_PARAM_set_hostflags")
    find(<void **>&SSL_get_version, "SSL_get_version")
    find(<void **>&SSL_version, "SSL_version")
    find(<void **>&SSL_CIPHER_get_protocol_id, "SSL_CIPHER_get_protocol_id")
    find(<void **>&SSL_get_current_cipher, "SSL_get_current_cipher")
    find(<void **>&SSL_CIPHER_get_name, "SSL_CIPHER_get_name")
    find(<void **>&SSL_session_reused, "SSL_session_reused")
    find(<void **>&SSL_get0_alpn_selected, "SSL_get0_alpn_selected")
    find(<void **>&SSL_get1_peer_certificate, "SSL_get1_peer_certificate", "SSL_get_peer_certificate")
    find(<void **>&SSL_get_verify_result, "SSL_get_verify_result")
    find(<void **>&X509_verify_cert_error_string, "X509_verify_cert_error_string")
    find(<void **>&X509_free, "X509_free")
    find(<void **>&i2d_X509, "i2d_X509")
    find(<void **>&X509_get_signature_info, "X509_get_signature_info")
    find(<void **>&OBJ_nid2sn, "OBJ_nid2sn")
    find(<void **>&X509_get_subject_name, "X509_get_subject_name")
    find(<void **>&X509_NAME_get_index_by_NID, "X509_NAME_get_index_by_NID")
    find(<void **>&X509_NAME_get_entry, "X509_NAME_get_entry")
    find(<void **>&X509_NAME_ENTRY_get_data, "X509_NAME_ENTRY_get_data")
    find(<void **>&ASN1_STRING_to_UTF8, "ASN1_STRING_to_UTF8")
    find(<void **>&X509_NAME_print_ex, "X509_NAME_print_ex")
    find(<void **>&CRYPTO_free, "CRYPTO_free")
    return 0
