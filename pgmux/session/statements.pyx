# cython: boundscheck=False, wraparound=False
"""Prepared statements: what a client calls by a name of its own, backends call by what it means.

A statement's id is a keyed hash of its text, its parameter types and the settings that change its
meaning, so every worker computes the same id, and two clients that prepare the same share one. Its
name on backends is made of the id; no client can guess it, for the key is pgmux's own.

A statement's text is kept once a worker, as long as some client has a name for it. Clients that prepared it before and
after something was altered, or were told different columns of it since, have different Statements with one id: what a
backend has prepared is good for who has prepared as of then or earlier, and its columns are compared.
"""
from hashlib import blake2b
from weakref import WeakValueDictionary

from libc.stdint cimport uint32_t, uint64_t

PREFIX = b"pgmux_"               # of all names on backends; clients' own that begin so are altered
_ID_BYTES = 16


cdef class Statement:
    """One prepared statement."""

    def __cinit__(self, bytes digest, bytes body, bytes sql, uint64_t defined, uint32_t traces, study):
        self.high = int.from_bytes(digest[:8], "big")
        self.low = int.from_bytes(digest[8:], "big")
        self.name = PREFIX + digest.hex().encode()
        self.body = body
        self.sql = sql
        self.defined = defined
        self.traces = traces
        self.study = study

    def __repr__(self):
        return f"<Statement {self.name.decode()}>"


cdef class Library:
    """The statements that clients of one worker have names for."""

    def __init__(self, bytes key):
        self._key = key
        self._known = WeakValueDictionary()

    cdef Statement parsed(self, bytes body, bytes meaning, uint64_t defined, uint32_t traces, object study):
        """The statement that a Parse prepares. `body`: the message from its text on."""
        return self._find(b"P", body, b"", meaning, defined, traces, study)

    def prepared(self, definition, meaning, defined, traces, study):
        """The statement that PREPARE prepares. `definition`: what follows its name."""
        return self._find(b"Q", b"", bytes(definition), meaning, defined, traces, study)

    cdef Statement told_of(self, Statement statement, uint32_t columns):
        """The same statement for a client that has been told its columns; who was told the same shares it."""
        cdef Statement known
        if statement.told == columns:
            return statement
        if statement.untold is not None:
            statement = statement.untold
        digest = bytes.fromhex(statement.name[len(PREFIX):].decode())
        key = (digest, statement.defined, columns)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Statement(digest, statement.body, statement.sql, statement.defined,
                                                 statement.traces, statement.study)
            known.told = columns
            known.untold = statement
        return known

    def adopt(self, bytes digest, bytes body, bytes sql, uint32_t traces, study, uint32_t told=0, uint64_t defined=0):
        """A statement that another worker's client has had prepared, by its id of 16 bytes."""
        return self.told_of(self._untold(digest, body, sql, defined, traces, study), told)

    def parse(self, body, meaning, defined=0, traces=0, study=None):
        """As `parsed`, for tests."""
        return self.parsed(body, meaning, defined, traces, study)

    def _find(self, kind, bytes body, bytes definition, bytes meaning, uint64_t defined, uint32_t traces, study):
        content = b"%s%d,%s%s%s" % (kind, len(meaning), meaning, body, definition)
        digest = blake2b(content, key=self._key, digest_size=_ID_BYTES).digest()
        sql = b"PREPARE " + PREFIX + digest.hex().encode() + definition if kind == b"Q" else b""
        return self._untold(digest, body, sql, defined, traces, study)

    def _untold(self, bytes digest, bytes body, bytes sql, uint64_t defined, uint32_t traces, study):
        statement = self._known.get((digest, defined, 0))
        if statement is None:
            statement = self._known[digest, defined, 0] = Statement(digest, body, sql, defined, traces, study)
        return statement
