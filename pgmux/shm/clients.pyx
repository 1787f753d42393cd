# cython: boundscheck=False, wraparound=False
"""Client records: one fixed record a client, written by the worker that holds it alone.

Every worker can list all clients and find the one that a cancel key names. There are
max_client_conn records (and a few spare ones, for those who must be told that it is reached),
so the limit is exact over all workers and nothing counts it.

A client goes from one worker to another by its record's owner word. The giver names the heir and itself in it
(`hand_over`), *then* sends the socket; the heir takes the giver's name out (`receive`), *then* serves. Between the
two the supervisor may take the record from either's death, by a compare-and-swap of the same word: so of heir and
supervisor one alone has it, and who finds the word changed closes the socket it was sent.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from pgmux.shm.atomics cimport load, now_us, store, swap
from pgmux.shm.layout cimport ClientRecord, NAME_BYTES, SECRET_BYTES, Slot
from pgmux.shm.leases cimport OPENING, is_held
from pgmux.shm.segment cimport Segment
from pgmux.shm.survey cimport SERVED, WAITING


cdef class Clients:
    """The client records of one segment, as seen by one process."""

    def __cinit__(self, Segment segment):
        self.segment = segment
        self.records = segment.clients
        self.count = segment.header.clients
        self.limit = segment.header.client_limit
        self.next_try = 0

    cdef int32_t claim(self, uint32_t worker) noexcept nogil:
        """A record now the worker's. One at or beyond `limit` says that max_client_conn is reached;
        NO_RECORD that even the spare ones are taken."""
        cdef uint32_t _tried, record = self.next_try
        for _tried in range(self.limit):
            if record >= self.limit:
                record = 0
            if self._is_ours(record, worker):
                self.next_try = record + 1
                return record
            record += 1
        for record in range(self.limit, self.count):
            if self._is_ours(record, worker):
                return record
        return NO_RECORD

    cdef bint _is_ours(self, uint32_t record, uint32_t worker) noexcept nogil:
        cdef uint64_t *owner = &self.records[record].owner
        if load(owner) or not swap(owner, 0, worker + 1):
            return False
        self.records[record].serial += 1
        self._raise_mark(record)
        return True

    cdef void _raise_mark(self, uint32_t record) noexcept nogil:
        cdef uint64_t *mark = &self.segment.board.client_mark
        cdef uint64_t seen = load(mark)
        while record >= seen and not swap(mark, seen, record + 1):
            seen = load(mark)

    cdef void forget(self, uint32_t record) noexcept nogil:
        self.records[record].secret_bytes = 0
        if record < self.limit:
            self.next_try = record    # its page is in use already; those of clients that never come are holes
        store(&self.records[record].owner, 0)

    def try_claim(self, uint32_t worker):
        """A record for a client of the worker, or None when all are taken, the spare ones too."""
        record = self.claim(worker)
        return None if record == NO_RECORD else record

    def give_back(self, uint32_t record):
        """The client is gone: its record is free for another."""
        self.forget(record)

    def introduce(self, uint32_t record, bytes address, uint16_t port):
        """Write down where the client of a claimed record comes from."""
        cdef ClientRecord *client = &self.records[record]
        write_name(client.address, address)
        client.port = port

    cpdef int admit(self, uint32_t record, bytes secret, uint32_t pool, bytes application_name) except -1:
        """Fill in the rest of a claimed record when its client has logged in. `secret`: its cancel key, 4 to 32
        bytes; none for a client that never cancels. Raises ValueError for a key of another length."""
        if secret and not 4 <= len(secret) <= SECRET_BYTES:
            raise ValueError(f"a cancel key of ours has 4 to {SECRET_BYTES} bytes, not {len(secret)}")
        cdef ClientRecord *client = &self.records[record]
        write_name(client.application_name, application_name)
        client.pool = pool
        client.slot = -1
        client.transactions = 0
        client.statements = 0
        client.connected_at_us = client.since_us = now_us()
        memcpy(client.secret, <const char *>secret, len(secret))
        client.secret_bytes = len(secret)
        return 0

    cpdef int name_user(self, uint32_t record, bytes user) except -1:
        """Write down who the client of a claimed record has logged in as: before it is admitted."""
        write_name(self.records[record].user, user)
        return 0

    # A client's number names it, and nobody who has its record after it: the operator's to kill it by.

    def number_of(self, uint32_t record):
        """The number of the client that has a record now: 1 and more, the same for no other client."""
        return <uint64_t>(self.records[record].serial - 1) * self.count + record + 1

    def find_number(self, uint64_t number):
        """(record, worker) of the client with that number, or None when it has gone."""
        cdef uint32_t record = (number - 1) % self.count
        cdef uint64_t owner
        if number == 0:
            return None
        owner = load(&self.records[record].owner)
        if has_left(owner) or owner == AWAY or self.number_of(record) != number:
            return None
        return record, holder_of(owner) - 1

    def find(self, uint32_t record, bytes secret):
        """The worker that holds the client a cancel key names, or None when the key is not good.

        The key may be half written while another worker looks: that worker's word is none yet, and who
        holds the client looks again. How long the look takes tells nothing of how much of a key is right.
        """
        cdef ClientRecord *client = &self.records[record]
        cdef const uint8_t *told = secret
        cdef uint32_t at, size = len(secret)
        cdef uint8_t differing = 0
        if record >= self.count:
            return None
        cdef uint64_t owner = load(&client.owner)
        if has_left(owner) or owner == AWAY or size == 0 or size != client.secret_bytes:
            return None
        for at in range(size):
            differing |= told[at] ^ client.secret[at]
        return None if differing else holder_of(owner) - 1

    def hand_over(self, uint32_t record, uint32_t giver, uint32_t heir):
        """A client is about to be sent to another worker. Whether it was the giver's."""
        return bool(swap(&self.records[record].owner, giver + 1, on_the_way(giver, heir)))

    def take_back(self, uint32_t record, uint32_t giver, uint32_t heir):
        """It could not be sent. Whether it is the giver's again."""
        return bool(swap(&self.records[record].owner, on_the_way(giver, heir), giver + 1))

    def receive(self, uint32_t record, uint32_t giver, uint32_t heir, uint64_t connected_at_us, bytes secret):
        """A client has come from another worker. Whether it is the heir's now; if not, its socket is to be closed.

        Time and key tell this client from another that was given the record since, and sent the same way: while
        the word names heir and giver, the record is written by nobody.
        """
        cdef ClientRecord *client = &self.records[record]
        if load(&client.owner) != on_the_way(giver, heir) or (client.connected_at_us, self.secret(record)) != (
                connected_at_us, secret):
            return False
        return bool(swap(&client.owner, on_the_way(giver, heir), heir + 1))

    def disown(self, uint32_t record, uint32_t giver, uint32_t heir):
        """What has come from another worker cannot be served: the record is free for another, if it still is that."""
        if swap(&self.records[record].owner, on_the_way(giver, heir), BURYING):
            self.forget(record)

    # Between two segments (crossing.pyx) a client keeps its record's number, which its cancel key names.

    def unused_of(self, records):
        """Those of the records that nobody has any more."""
        cdef uint32_t record
        return [record for record in records if not load(&self.records[record].owner)]

    def roll(self, dict told):
        """What the records of clients that have not gone over tell, for `note_away`, as dicts: those of whom another
        (serial, since_us, phase) than this has been `told`, by record."""
        cdef uint32_t record
        cdef ClientRecord *client
        found = []
        for record in range(self.mark):
            client = &self.records[record]
            if (has_left(load(&client.owner))
                    or told.get(record) == (client.serial, client.since_us, client.phase)):
                continue
            found.append({"record": record, "phase": client.phase, "slot": client.slot, "pool": client.pool,
                          "tls": client.tls, "statements": client.statements,
                          "connected_at_us": client.connected_at_us, **self.card(record)})
        return found

    def set_aside(self, uint32_t record):
        """A record's client is in the other segment, and may come. Whether the record was nobody's."""
        self._raise_mark(record)
        return bool(swap(&self.records[record].owner, 0, AWAY))

    def note_away(self, uint32_t pool, row):
        """Write down what `roll` has told of a client that is still to come. Not if it has come, or will not."""
        cdef ClientRecord *client = &self.records[<uint32_t>row.record]
        cdef Slot *backend
        self.segment.lock()                  # as `_take`: who has the record meanwhile must not find it written to
        try:
            if load(&client.owner) != AWAY:
                return
            self._copy(row.record, b"", pool, row)
            client.connected_at_us, client.phase, client.slot = row.connected_at_us, row.phase, row.slot
            client.tls, client.statements = row.tls, row.statements
            if 0 <= row.slot < <int>self.segment.header.slots:
                backend = &self.segment.slots[<uint32_t>row.slot]
                if is_held(load(&backend.word), OPENING, self.segment.header.workers):
                    backend.client = row.record
        finally:
            self.segment.unlock()

    def is_away(self, uint32_t record):
        """Whether a record's client is still to come from the other segment."""
        return record < self.count and load(&self.records[record].owner) == AWAY

    def find_away(self, uint64_t number):
        """The record of the client with that number, if it is still to come from the other segment; else None."""
        cdef uint32_t record = (number - 1) % self.count
        return record if number and self.is_away(record) and self.number_of(record) == number else None

    def send_over(self, uint32_t record, uint32_t worker):
        """A client is about to be sent to a worker of the other segment. Whether it was the worker's.

        Until it `has_gone_over` its giver's death ends it, as with `hand_over`: nobody else would tell that it is lost.
        """
        return bool(swap(&self.records[record].owner, worker + 1, on_the_way(worker, OVER - 1)))

    def has_gone_over(self, uint32_t record, uint32_t worker):
        """It was sent."""
        swap(&self.records[record].owner, on_the_way(worker, OVER - 1), OVER)

    def call_back(self, uint32_t record, uint32_t worker):
        """It could not be sent: it is the worker's as before."""
        swap(&self.records[record].owner, on_the_way(worker, OVER - 1), worker + 1)

    def free_away(self, uint32_t record):
        """A client will not come from the other segment. Whether its record was still set aside."""
        if not self._take(record, BURYING):
            return False
        self.forget(record)
        return True

    cdef bint _take(self, uint32_t record, uint64_t owner):
        """Whether a record was set aside; it has that owner now."""
        cdef bint was_away
        self.segment.lock()
        was_away = swap(&self.records[record].owner, AWAY, owner)
        self.segment.unlock()
        return was_away

    def card(self, uint32_t record):
        """What a client's record tells, to be written into another segment's by `settle`."""
        cdef ClientRecord *client = &self.records[record]
        return {"serial": client.serial, "since_us": client.since_us, "transactions": client.transactions,
                "process": client.process, "port": client.port, "listener": client.listener,
                "address": client.address[:strlen(client.address)],
                "application_name": client.application_name[:strlen(client.application_name)],
                "user": client.user[:strlen(client.user)]}

    def settle(self, uint32_t record, uint32_t worker, bytes secret, uint64_t connected_at_us, card):
        """A client has come from the other segment. Whether its record was set aside; it is the worker's now."""
        if record >= self.count or not self._take(record, worker + 1):
            return False
        self._copy(record, secret, 0, card)
        self.records[record].connected_at_us = connected_at_us
        return True

    cdef int _copy(self, uint32_t record, bytes secret, uint32_t pool, card) except -1:
        cdef ClientRecord *client = &self.records[record]
        self.introduce(record, card.address, card.port)
        self.name_user(record, card.user)
        self.admit(record, secret, pool, card.application_name)
        client.since_us, client.transactions, client.process = card.since_us, card.transactions, card.process
        client.listener, client.serial = card.listener, card.serial
        return 0

    def secret(self, uint32_t record):
        """The cancel key of a client; empty for one that never cancels."""
        return self.records[record].secret[:self.records[record].secret_bytes]

    def expel(self, uint32_t worker, bint keeps_coming=False):
        """Free every record of a dead worker, and of those on their way from or to it. Gives how many there were.

        `keeps_coming`: it has left in order, so those on their way to it lie in its mailbox, for its successor.
        """
        cdef uint32_t record, expelled = 0
        cdef uint64_t word
        for record in range(self.count):
            word = load(&self.records[record].owner)
            if giver_of(word) and holder_of(word) == worker + 1 and keeps_coming:
                continue
            if holder_of(word) != worker + 1 and (giver_of(word) != worker + 1 or keeps_coming):
                continue
            if swap(&self.records[record].owner, word, BURYING):
                self.forget(record)
                expelled += 1
        return expelled

    def read(self, uint32_t record):
        """A record as a dict, or None when it is unused. A client that is still to come has no worker."""
        cdef ClientRecord *client = &self.records[record]
        if record >= self.count:
            raise IndexError(f"client record {record}")
        cdef uint64_t owner = load(&client.owner)
        if has_left(owner):
            return None
        return {"client": record, "number": self.number_of(record),
                "worker": None if owner == AWAY else holder_of(owner) - 1, "pool": client.pool,
                "phase": client.phase, "listener": client.listener, "tls": client.tls,
                "slot": None if client.slot < 0 else client.slot, "since_us": client.since_us,
                "connected_at_us": client.connected_at_us, "transactions": client.transactions,
                "statements": client.statements, "process": client.process,
                "address": client.address[:strlen(client.address)], "port": client.port,
                "application_name": client.application_name[:strlen(client.application_name)],
                "user": client.user[:strlen(client.user)]}

    def next_used(self, uint32_t record):
        """The first record in use from this one on, or None."""
        cdef uint64_t mark = load(&self.segment.board.client_mark)
        while record < mark:
            if load(&self.records[record].owner):
                return record
            record += 1
        return None

    @property
    def mark(self):
        """Records from here on were never used."""
        return load(&self.segment.board.client_mark)

    def busy(self):
        """Every record whose client has a backend or waits for one, as dicts: of ten thousand clients, few."""
        cdef uint32_t record
        found = []
        for record in range(load(&self.segment.board.client_mark)):
            if load(&self.records[record].owner) and self.records[record].phase in (WAITING, SERVED):
                client = self.read(record)
                if client is not None:
                    found.append(client)
        return found

    def snapshot(self):
        """Every record in use, as dicts."""
        found = (self.read(record) for record in range(self.mark))
        return [client for client in found if client is not None]


cdef void write_name(char *field, bytes name) noexcept:
    """A name of at most NAME_BYTES, its end included; what is longer is cut."""
    cdef size_t size = min(<size_t>len(name), <size_t>NAME_BYTES - 1)
    memset(field, 0, NAME_BYTES)
    memcpy(field, <const char *>name, size)
