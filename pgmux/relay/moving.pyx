# cython: boundscheck=False, wraparound=False
"""Clients on their way from one worker to another: packed, let go, taken up.

Why no answer can reach the wrong client. A client is packed only when it is idle, with nothing of it half
read, half sent or owed: so its session and its socket are all there is. Who may touch the socket is said by the
record's owner word (shm/clients.pyx): the giver reads and writes nothing after it has named the heir in it,
and the heir nothing before it has taken the giver's name out. A socket that comes with a word that is not
so is closed unread: its client learns that it was lost, and is served by nobody.

Who dies in between. The giver before it has sent: its copy of the socket closes, the supervisor frees the
record. The giver after it has sent: the same, unless the heir was faster. The heir: its successor finds the
message and a word that was freed, or is another client's, and closes the socket.
"""
from libc.stdint cimport uint32_t

from pgmux.relay.buffer cimport append, length
from pgmux.relay.endpoint cimport Client, GONE, IDLE
from pgmux.relay.loop cimport Loop
from pgmux.relay.poller cimport CLIENT, READING_EDGES
from pgmux.relay.sockets cimport AF_UNIX, close, getpeername, name_peer, sockaddr, sockaddr_storage
from pgmux.session.modes cimport PoolMode
from pgmux.session.statements cimport Statement
from pgmux.shm.atomics cimport now_us
from pgmux.shm.clients cimport NO_RECORD
from pgmux.shm.layout cimport NAME_BYTES

from pgmux.session.parcel import Card, Parcel, ParcelledStatement
from pgmux.session.settings import settings_of, unpack


cdef class Moving(Loop):
    """The relay's part in handing clients over."""

    def pack(self, Client client, *, bint with_card=False):
        """All of a client that lies in our memory; None when it cannot go now.

        One without a cancel key is pgmux's own, and stays. `with_card`: what its record tells, too.
        """
        cdef Statement statement
        self.now = now_us()
        self.fire()
        if not self.may_move(client) or not client.row.secret_bytes:
            return None
        names = client.names or {}
        statements = [
            ParcelledStatement(
                name, statement.high.to_bytes(8, "big") + statement.low.to_bytes(8, "big"), statement.body,
                statement.sql, statement.traces, statement.study, statement.told, statement.defined)
            for name, statement in names.items()]
        unnamed = client.unnamed.data[client.unnamed.start:client.unnamed.end] if length(&client.unnamed) else b""
        tenancy, database, user = self.pools.tenancies.names(client.lobby.pool)
        return Parcel(
            pool=client.lobby.pool,
            tenancy=tenancy,
            database=database,
            user=user,
            connected_at_us=client.row.connected_at_us,
            secret=self.records.secret(client.record),
            mode=client.mode,
            is_unix=client.is_unix,
            settings=client.settings.raw,
            startup=client.startup.raw,
            unsure="".join([f"{name}\0" for name in client.unsure or ()]).encode("utf-8", "surrogateescape"),
            backslashes=client.backslashes,
            statements=statements,
            unnamed=unnamed,
            unnamed_traces=client.unnamed_traces,
            unnamed_study=client.unnamed_study,
            unnamed_told=client.unnamed_told,
            card=Card(**self.records.card(client.record)) if with_card else None,
        )

    def let_go(self, Client client):
        """The client is another worker's: nothing of it is touched any more but our copy of its socket."""
        self.unwatch(client.fd)
        close(client.fd)
        client.fd = -1
        client.phase = GONE                  # not by `enter`: the record is not ours to write any more
        self.forget_seat(client)
        self.leave_pool(client)

    def take_up(self, uint32_t record, uint32_t giver, int fd, parcel):
        """A client has come from another worker. Takes the descriptor over; None when nobody's client has come.

        Its session is as it was, but for the unnamed statement's token: on no backend is that known to be.
        """
        self.now = now_us()
        if not self.records.receive(record, giver, self.worker, parcel.connected_at_us, parcel.secret):
            close(fd)
            return None
        return self.unfold(record, fd, parcel)

    def land(self, uint32_t record, int fd, parcel):
        """A client has come from a worker that has another segment: as `take_up`, and its record is written here."""
        self.now = now_us()
        if not self.records.settle(record, self.worker, parcel.secret, parcel.connected_at_us, parcel.card):
            close(fd)
            return None
        return self.unfold(record, fd, parcel)

    cdef Client unfold(self, uint32_t record, int fd, parcel):
        """A client whose record is ours, idle, with its session."""
        cdef Client client = self.seat(fd, record)
        cdef bytes unnamed = parcel.unnamed
        client.phase = client.row.phase = IDLE
        client.since_us = client.row.since_us
        client.mode = <PoolMode><int>parcel.mode
        client.is_unix = parcel.is_unix
        client.settings = settings_of(unpack(parcel.settings))
        client.startup = settings_of(unpack(parcel.startup))
        client.digest = client.settings.digest
        unsure = parcel.unsure.decode("utf-8", "surrogateescape").split("\0")
        client.unsure = frozenset([name for name in unsure if name]) or None
        client.backslashes = parcel.backslashes
        if parcel.statements:
            client.names = {
                each.name: self.library.adopt(each.id, each.body, each.sql, each.traces, each.study, each.told,
                                              each.defined)
                for each in parcel.statements}
        if unnamed:
            append(&client.unnamed, unnamed, len(unnamed))
            self.tokens += 1 << 8
            client.unnamed_token = self.tokens
            client.unnamed_traces = parcel.unnamed_traces
            client.unnamed_study = parcel.unnamed_study
            client.unnamed_told = parcel.unnamed_told
        return client

    def serve_on(self, Client client):
        """A client that was taken up is in its pool: what it has sent meanwhile is read."""
        client.row.pool = client.lobby.pool
        self.watch(client.fd, CLIENT, client.record, client.serial, READING_EDGES)

    def take_newcomer(self, int fd):
        """A connection that another worker has accepted: its log-in begins here."""
        cdef int record = self.records.claim(self.worker)
        cdef sockaddr_storage peer
        cdef unsigned int size = sizeof(peer)
        cdef Client client
        self.now = now_us()
        if record == NO_RECORD or getpeername(fd, <sockaddr *>&peer, &size) < 0:
            if record != NO_RECORD:
                self.records.forget(record)
            close(fd)
            return
        client = self.take_in(fd, record, peer.ss_family == AF_UNIX)
        client.row.port = name_peer(&peer, client.row.address, NAME_BYTES)
        self.begin_login(client)

    def serve_again(self, Client client):
        """The client stays: what it has sent is read."""
        if client.readable:
            self.queue(client)
