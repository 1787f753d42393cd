# cython: boundscheck=False, wraparound=False
"""RESET leads to what the session had at its start: the client's start-up parameters, not pgmux's own log-in.

For the backend the log-in's values are those that RESET leads to. So behind a RESET, a SET … TO DEFAULT or a DISCARD
ALL of a client whose start-up has set something (`restores`), that is set again: behind a Query by Queries of our
own, behind an Execute within its segment, so that what makes the RESET fail, or a ROLLBACK, takes both back.

At the end of a transaction settings are asked for and put right in any case (`settle_settings`). In session mode
nothing is asked: there this is all, and which statements of the client's reset something is kept (`resets`).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from pgmux.protocol.replies cimport NOTED, expect, has_turns
from pgmux.relay.asking cimport RESTORED
from pgmux.relay.endpoint cimport Backend, Client
from pgmux.relay.naming cimport MORE, PASS, STOP, Step, TAKEN
from pgmux.relay.streams cimport Chunk
from pgmux.session.traces cimport BLOCK, DISCARDING, SETTINGS, find_traces

from pgmux.session.settings import to_restore
from pgmux.session.studies import study as study_text

cdef enum:
    HEADER = 5


cdef class Resetting(Recalling):
    """RESET, SET … TO DEFAULT and DISCARD ALL of clients that have logged in with settings."""

    cdef Step study_session(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A request of a client that keeps its backend: only what it resets matters."""
        cdef Step step = PASS
        cdef char request = chunk.data[chunk.at]
        if request == c"Q":
            return self.study_session_query(client, backend, chunk, total)
        if request == c"E" and backend.resetting is not None:
            return self.study_execute(client, backend, chunk, total)
        if request == c"P":
            self.study_session_parse(client, chunk, total)
        elif request == c"B" and client.resets is not None:
            step = self.study_session_bind(client, backend, chunk, total)
        if step == PASS:
            expect(&backend.replies, request)
        return step

    cdef Step study_session_query(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        cdef tuple restored = ()
        if chunk.traces & (SETTINGS | DISCARDING) and chunk.size - chunk.at >= total:
            study = study_text((chunk.data + chunk.at + HEADER)[:total - HEADER - 1], chunk.traces)
            restored = to_restore(client.startup, study.resets, study.resets_all)
        expect(&backend.replies, c"Q")
        if not restored:
            return PASS
        self.cut_requests(chunk, total)
        self.put_request(chunk.data + chunk.at - total, total)
        self.put_restored(client, backend, restored)
        return TAKEN

    cdef int study_session_parse(self, Client client, Chunk *chunk, uint32_t total) except -1:
        """A Parse, read whole: whether its statement is one that resets something."""
        cdef const char *name = chunk.data + chunk.at + HEADER
        cdef const char *end = name + total - HEADER
        cdef const char *text = <const char *>memchr(name, 0, end - name)
        cdef const char *types = NULL if text == NULL else <const char *>memchr(text + 1, 0, end - text - 1)
        cdef uint32_t traces
        if types == NULL:
            return 0
        traces = find_traces(text + 1, types - text - 1, client.backslashes)
        if client.resets is not None:
            client.resets.pop(name[:text - name], None)
        if traces & (SETTINGS | DISCARDING):
            study = study_text(text[1:types - text], traces)
            if study.resets or study.resets_all:
                client.resets = client.resets or {}
                client.resets[name[:text - name]] = study
        return 0

    cdef Step study_session_bind(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """A Bind: whether its portal is one that resets something. Its values go on as they come."""
        cdef const char *portal = chunk.data + chunk.at + HEADER
        cdef const char *end = portal + min(total, chunk.size - chunk.at) - HEADER
        cdef const char *name = <const char *>memchr(portal, 0, end - portal)
        cdef const char *rest = NULL if name == NULL else <const char *>memchr(name + 1, 0, end - name - 1)
        if rest == NULL and chunk.size - chunk.at < total:
            client.wanted = total
            return MORE
        backend.resetting = None if rest == NULL else client.resets.get(name[1:rest - name])
        return PASS

    cdef Step study_execute(self, Client client, Backend backend, Chunk *chunk, uint32_t total) except? STOP:
        """An Execute of what was bound last, which resets settings, or forgets statements, or both."""
        if chunk.size - chunk.at < total:
            client.wanted = total
            return MORE
        study, backend.resetting = backend.resetting, None
        if not backend.poised:
            expect(&backend.replies, c"E")
        else:
            backend.poised = False
            self.forget_names(client, backend, 0)
            if expect(&backend.replies, c"E" | NOTED):
                self.note_mentions(client, backend, None)
        if study is None:
            return PASS
        self.cut_requests(chunk, total)
        self.put_request(chunk.data + chunk.at - total, total)
        self.put_reset(client, backend, study)
        return TAKEN

    cdef int put_reset(self, Client client, Backend backend, object study) except -1:
        """Behind an Execute, within its segment."""
        for text in to_restore(client.startup, study.resets, study.resets_all):
            if self.put_execution(backend, text):
                backend.notes.append((RESTORED, client, None, None))
        if backend.returned:
            backend.returned -= client.startup.values.keys()
        return 0

    cdef tuple restore(self, Client client, Backend backend, uint32_t traces, object study):
        """What is to be run behind a Query of a transaction whose rest may depend on it."""
        cdef tuple texts
        if not client.restores or backend.status != c"T" or traces & BLOCK or has_turns(&backend.replies):
            return ()
        texts = to_restore(client.startup, study.resets, study.resets_all)
        if texts:
            backend.returned = (backend.returned or set()) - client.startup.values.keys()
        return texts

    cdef int put_restored(self, Client client, Backend backend, tuple texts) except -1:
        for text in texts:
            self.put_query(backend, text)
            backend.notes.append((RESTORED, client, None, None))
        return 0
