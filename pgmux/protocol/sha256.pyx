"""SHA-256 and its HMAC (FIPS 180-4, RFC 2104), without an object for each.

The digest is OpenSSL's, found in the library that Python's hashlib uses. Its plain functions are called:
by way of hashlib and hmac an HMAC over a log-in's few bytes costs five times what its hashing does. Where
that library has none of them, hashlib it is. See dlsym(3).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

import hashlib

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *path, int flags)
    void *dlsym(void *library, const char *name)
    int RTLD_LAZY

cdef enum:
    BLOCK_BYTES = 64
    STATE_WORDS = 16             # OpenSSL's SHA256_CTX has 112 bytes in all its versions

cdef int (*SHA256_Init)(void *state) noexcept nogil
cdef int (*SHA256_Update)(void *state, const void *data, size_t size) noexcept nogil
cdef int (*SHA256_Final)(uint8_t *into, void *state) noexcept nogil


def sha256(bytes data):
    """The digest, 32 bytes."""
    cdef uint8_t[DIGEST_BYTES] into
    digest(<const uint8_t *>PyBytes_AS_STRING(data), len(data), into)
    return PyBytes_FromStringAndSize(<char *>into, DIGEST_BYTES)


def hmac_sha256(bytes key, bytes data):
    """The HMAC under a key of 32 bytes. Raises ValueError for a key of another length."""
    cdef uint8_t[DIGEST_BYTES] into
    if len(key) != DIGEST_BYTES:
        raise ValueError(f"a key has {DIGEST_BYTES} bytes, not {len(key)}")
    hmac(<const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(data), len(data), into)
    return PyBytes_FromStringAndSize(<char *>into, DIGEST_BYTES)


cdef int digest(const uint8_t *data, size_t size, uint8_t *into) except -1:
    return digest_two(NULL, data, size, into)


cdef int hmac(const uint8_t *key, const uint8_t *data, size_t size, uint8_t *into) except -1:
    """Under a key of DIGEST_BYTES."""
    cdef uint8_t[BLOCK_BYTES] block
    cdef int at
    for at in range(BLOCK_BYTES):
        block[at] = (key[at] if at < DIGEST_BYTES else 0) ^ 0x36
    digest_two(block, data, size, into)
    for at in range(BLOCK_BYTES):
        block[at] ^= 0x36 ^ 0x5C
    return digest_two(block, into, DIGEST_BYTES, into)


cdef int digest_two(const uint8_t *block, const uint8_t *data, size_t size, uint8_t *into) except -1:
    """The digest of a block, if there is one, and of what comes after it; `into` may be `data`."""
    cdef uint64_t[STATE_WORDS] state
    cdef bytes answer
    if SHA256_Init != NULL:
        SHA256_Init(state)
        if block != NULL:
            SHA256_Update(state, block, BLOCK_BYTES)
        SHA256_Update(state, data, size)
        SHA256_Final(into, state)
        return 0
    answer = hashlib.sha256((block[:BLOCK_BYTES] if block != NULL else b"") + data[:size]).digest()
    memcpy(into, PyBytes_AS_STRING(answer), DIGEST_BYTES)
    return 0


cdef int load() except -1:
    global SHA256_Init, SHA256_Update, SHA256_Final
    cdef void *library
    cdef bytes path
    try:
        import _hashlib
    except ImportError:
        return 0                             # a Python without OpenSSL
    path = getattr(_hashlib, "__file__", "").encode("utf-8", "surrogateescape")
    library = dlopen(path, RTLD_LAZY) if path else dlopen(NULL, RTLD_LAZY)
    if library == NULL or dlsym(library, "SHA256_Init") == NULL:
        return 0
    SHA256_Update = <int (*)(void *, const void *, size_t) noexcept nogil>dlsym(library, "SHA256_Update")
    SHA256_Final = <int (*)(uint8_t *, void *) noexcept nogil>dlsym(library, "SHA256_Final")
    if SHA256_Update != NULL and SHA256_Final != NULL:
        SHA256_Init = <int (*)(void *) noexcept nogil>dlsym(library, "SHA256_Init")
    return 0


load()
