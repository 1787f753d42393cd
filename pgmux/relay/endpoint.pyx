# cython: boundscheck=False, wraparound=False
"""Both ends of the relay: clients, backends, and the lobby where clients wait.

Plain objects with C fields and no behaviour beyond their own bookkeeping; who changes which
field is said in endpoint.pxd. An idle client is one such object: no buffer, no stack.
"""
from collections import deque

from pgmux.protocol.replies cimport begin, end
from pgmux.relay.buffer cimport clear
from pgmux.relay.sockets cimport SOL_SOCKET, SO_PEERCRED, getsockopt
from pgmux.session.modes cimport PoolMode, TRANSACTION

from pgmux.session.arrival import Arrival, Encryption
from pgmux.session.settings import BASE

cdef uint64_t NO_LORE = 0xFFFFFFFFFFFFFFFF


cdef class Endpoint:
    """A socket and where its streams stand."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        clear(&self.out)


cdef class Client(Endpoint):
    """An application's connection."""

    def __cinit__(self):
        self.phase = LOGIN
        self.ticket = self.last_slot = -1
        self.mode = TRANSACTION
        self.settings = self.startup = BASE

    def address(self):
        """(host, port) of the peer; ("unix", 0) for one on the Unix socket, ("", 0) for one that is gone."""
        if self.fd < 0:
            return "", 0
        return self.row.address.decode(), self.row.port

    def arrival(self):
        """How it came in, for the rules."""
        address, port = self.address()
        encryption = None
        if self.tls is not None:
            encryption = Encryption(*self.tls.identify_peer(), self.tls.context.end_point)
        return Arrival("" if self.is_unix else address, port, bool(self.is_unix), self.peer_uid(), encryption)

    def peer_uid(self):
        """The uid of the process that connected to the Unix socket (unix(7)); -1 when that is not known."""
        return self.credential(1)

    cdef int64_t credential(self, int which) noexcept:
        """Of the process that connected to the Unix socket its pid (0) or uid (1); -1 when that is not known."""
        cdef int credentials[3]              # struct ucred: pid, uid, gid
        cdef unsigned int size = sizeof(credentials)
        if not self.is_unix or getsockopt(self.fd, SOL_SOCKET, SO_PEERCRED, credentials, &size) < 0:
            return -1
        return <unsigned int>credentials[which]

    def __dealloc__(self):
        clear(&self.held)
        clear(&self.unnamed)


cdef class Backend(Endpoint):
    """This worker's view of one slot: its descriptor, and the conversation while it is leased."""

    def __cinit__(self, slot):
        self.slot = slot
        self.pool = -1
        self.status = c"I"
        self.notes = deque()
        self.inflight = {}
        self.wavering = {}
        begin(&self.replies)

    def __dealloc__(self):
        end(&self.replies)
        clear(&self.stash)
        clear(&self.record)


cdef class Greeting:
    """Where a client is let in, and what it is told: the same for all that introduce themselves alike.

    It holds as long as neither the relay's `edition` nor the pool's tenancy changes.
    """

    def __init__(self, uint32_t pool, uint64_t tenancy, bytes application_name, bytes told, object credential,
                 uint32_t edition, PoolMode mode=TRANSACTION, settings=BASE, unsure=frozenset()):
        self.pool = pool
        self.tenancy = tenancy
        self.application_name = application_name
        self.told = told
        self.credential = credential
        self.edition = edition
        self.mode = mode
        self.settings = settings
        self.digest = settings.digest
        self.backslashes = settings.values.get("standard_conforming_strings") == "off"
        self.unsure = unsure or None


cdef class Lobby:
    """A pool's waiting clients in this worker, first come first served."""

    def __cinit__(self, pool):
        self.pool = pool
        self.favourite = -1
        self.most_pinned = 0xFFFFFFFF
        self.lore = self.lore_asked = NO_LORE

    cdef void append(self, Client client):
        client.before = self.last
        client.after = None
        if self.last is None:
            self.first = client
        else:
            self.last.after = client
        self.last = client
        self.waiting += 1

    cdef void remove(self, Client client):
        if client.before is None:
            self.first = client.after
        else:
            client.before.after = client.after
        if client.after is None:
            self.last = client.before
        else:
            client.after.before = client.before
        client.before = client.after = None
        self.waiting -= 1
