# cython: boundscheck=False, wraparound=False
"""The replies a backend owes: one queue of requests, one table of which reply answers which.

Every request that is sent is pushed; every reply must fit the request at the head, and the
reply that completes a request pops it. A reply that fits nothing is a MISMATCH: the backend
is out of step with us and must be closed, for its next reply could reach the wrong client.

The turning points of the protocol (manual: "Message Flow"):

- An ErrorResponse answers an extended request and everything after it up to the next Sync,
  a Query too: those are popped, and until a Sync is sent no request is answered (`failed`).
- In COPY IN the backend ignores Sync and Flush (`copying`), so those sent before CopyDone or
  CopyFail earn no ReadyForQuery. CopyDone and CopyFail outside of it are ignored.
- ReadyForQuery answers Query, FunctionCall and Sync, nothing else.
- CopyBothResponse (replication) makes both sides free to send CopyData until both have said CopyDone.

Some requests are marked. OURS were sent by us in between: their replies are swallowed, but an
error to an extended one is forwarded, for what the client asked next has failed with it. FAKED
were not sent at all: `take_faked` gives them when their turn has come, and their reply is made
then. NOTED ones are counted as they are completed (`kept`) or popped by an error (`lapsed`), in
the order in which they were expected, so that who keeps the notes needs no more than a queue.

This file does no I/O and knows nothing of clients or sockets.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc

# reply: (requests it may answer, those of them it completes). Asynchronous replies answer none.
RULES = {
    b"1": (b"P", b"P"),        # ParseComplete
    b"2": (b"B", b"B"),        # BindComplete
    b"3": (b"C", b"C"),        # CloseComplete
    b"t": (b"D", b""),         # ParameterDescription, before RowDescription or NoData
    b"T": (b"QD", b"D"),       # RowDescription
    b"n": (b"D", b"D"),        # NoData
    b"D": (b"QE", b""),        # DataRow
    b"C": (b"QE", b"E"),       # CommandComplete
    b"I": (b"QE", b"E"),       # EmptyQueryResponse
    b"s": (b"E", b"E"),        # PortalSuspended
    b"G": (b"QE", b""),        # CopyInResponse
    b"H": (b"QE", b""),        # CopyOutResponse
    b"d": (b"QE", b""),        # CopyData
    b"c": (b"QE", b""),        # CopyDone
    b"W": (b"Q", b""),         # CopyBothResponse
    b"V": (b"F", b""),         # FunctionCallResponse
    b"Z": (b"QFS", b"QFS"),    # ReadyForQuery
    b"E": (b"QFSPBDEC", b""),  # ErrorResponse; _fail() does the rest
}
ASYNCHRONOUS = b"NSA"          # NoticeResponse, ParameterStatus, NotificationResponse: at any moment
ANSWERED = b"QFSPBDEC"         # requests that earn replies
MARKERS = b"cf"                # CopyDone, CopyFail: queued to find the end of a COPY IN, never answered
MARKS = {"ours": OURS, "faked": FAKED, "noted": NOTED}
VERDICTS = {MISMATCH: "mismatch", FORWARD: "forward", SWALLOW: "swallow", MISHAP: "mishap"}

# The same as bits: request r is bit BIT_OF[r].
cdef uint32_t BIT_OF[256]
cdef uint32_t MAY_ANSWER[256]
cdef uint32_t COMPLETES[256]
cdef uint8_t IS_ASYNCHRONOUS[256]

for _number, _request in enumerate(ANSWERED):
    BIT_OF[_request] = 1 << _number
for _reply, (_answers, _completes) in RULES.items():
    MAY_ANSWER[ord(_reply)] = sum([1 << ANSWERED.index(_request) for _request in _answers])
    COMPLETES[ord(_reply)] = sum([1 << ANSWERED.index(_request) for _request in _completes])
for _reply in ASYNCHRONOUS:
    IS_ASYNCHRONOUS[_reply] = 1


cdef void begin(Replies *replies) noexcept nogil:
    """Nothing is owed."""
    if replies.far != NULL:
        free(replies.far)
    replies.far = NULL
    replies.capacity = NEAR
    replies.head = replies.count = replies.noted = 0
    replies.failed = replies.copying = False
    replies.answered = 0
    replies.kept = replies.lapsed = 0


cdef void end(Replies *replies) noexcept nogil:
    """Free what a deep pipeline took."""
    begin(replies)


cdef int expect(Replies *replies, uint16_t request) except -1 nogil:
    """A request is being sent (or, FAKED, is not). Whether it was queued: 0 = it earns no reply now."""
    cdef uint8_t kind = request & 0xFF
    if kind == c"S":
        if replies.copying:
            return 0
        replies.failed = False
    elif kind == c"c" or kind == c"f":
        if replies.copying:
            replies.copying = False
            return 0
        if replies.count == 0:
            return 0
    elif replies.failed or not BIT_OF[kind]:
        return 0
    if replies.count == replies.capacity:
        _grow(replies)
    _ring(replies)[(replies.head + replies.count) & (replies.capacity - 1)] = request
    replies.count += 1
    replies.noted += request & NOTED != 0
    return 1


cdef Verdict match(Replies *replies, uint8_t reply) noexcept nogil:
    """Whether the reply answers what is owed, and for whom; it is taken off the queue when it completes a request.

    FAKED requests at the head must have been taken first.
    """
    cdef uint16_t request
    cdef uint8_t kind
    replies.answered = 0
    replies.kept = replies.lapsed = 0
    if IS_ASYNCHRONOUS[reply]:
        return FORWARD
    drop_markers(replies)
    if replies.count == 0:
        # An error nobody asked for announces the end of the session (idle timeouts, shutdown).
        return FORWARD if reply == c"E" else MISMATCH
    request = _ring(replies)[replies.head]
    kind = request & 0xFF
    if not MAY_ANSWER[reply] & BIT_OF[kind] or request & FAKED:
        return MISMATCH
    replies.answered = request
    if COMPLETES[reply] & BIT_OF[kind]:
        replies.kept = request & NOTED != 0
        replies.noted -= replies.kept
        _pop(replies)
    elif reply == c"E":
        _fail(replies, kind)
        if request & OURS:
            return MISHAP if kind == c"Q" or kind == c"S" else FORWARD
    elif reply == c"G":
        _start_copying(replies)
    return SWALLOW if request & OURS else FORWARD


cdef uint16_t take_faked(Replies *replies) noexcept nogil:
    """The request at the head, when it is FAKED, taken off: its reply is to be made now. 0 = there is none."""
    cdef uint16_t request
    drop_markers(replies)
    if replies.count == 0:
        return 0
    request = _ring(replies)[replies.head]
    if not request & FAKED:
        return 0
    replies.noted -= request & NOTED != 0
    _pop(replies)
    return request


cdef bint is_ours(Replies *replies) noexcept nogil:
    """Whether what the backend is doing now was asked by us."""
    return replies.count > 0 and _ring(replies)[replies.head] & OURS != 0


cdef bint has_turns(Replies *replies) noexcept nogil:
    """Whether a ReadyForQuery is owed: a segment before the present one is not answered yet."""
    cdef uint32_t at
    cdef uint8_t kind
    for at in range(replies.count, 0, -1):
        kind = _ring(replies)[(replies.head + at - 1) & (replies.capacity - 1)] & 0xFF
        if kind == c"S" or kind == c"Q" or kind == c"F":
            return True
    return False


cdef bint needs_sync(Replies *replies) noexcept nogil:
    """Whether the backend will not come to rest by itself: it owes nothing that ends in a ReadyForQuery, or
    something extended that no Sync follows (were it to fail, a Query after it would not be answered)."""
    cdef uint32_t at
    cdef uint8_t kind
    cdef bint needed = True
    for at in range(replies.count, 0, -1):
        kind = _ring(replies)[(replies.head + at - 1) & (replies.capacity - 1)] & 0xFF
        if kind == c"S":
            return False
        if kind == c"Q" or kind == c"F":
            needed = False
        elif BIT_OF[kind]:
            return True
    return needed


cdef void drop_markers(Replies *replies) noexcept nogil:
    """Take markers from the head of the queue: nothing answers them."""
    while replies.count and not BIT_OF[_ring(replies)[replies.head] & 0xFF]:
        _pop(replies)


cdef void _fail(Replies *replies, uint8_t kind) noexcept nogil:
    """An ErrorResponse: to an extended request it answers all that follow, up to a Sync."""
    cdef uint16_t request
    replies.copying = False
    if kind == c"Q" or kind == c"F" or kind == c"S":
        return
    while replies.count:
        request = _ring(replies)[replies.head]
        if request & 0xFF == c"S":
            break
        replies.lapsed += request & NOTED != 0
        _pop(replies)
    replies.noted -= replies.lapsed
    replies.failed = replies.count == 0


cdef void _start_copying(Replies *replies) noexcept nogil:
    """COPY IN has begun: strike out the Syncs sent ahead of the CopyDone or CopyFail that ends it."""
    cdef uint32_t at, kept = 1, count = replies.count
    cdef uint16_t request
    cdef uint8_t kind
    cdef uint16_t *ring = _ring(replies)
    replies.copying = True
    for at in range(1, count):
        request = ring[(replies.head + at) & (replies.capacity - 1)]
        kind = request & 0xFF
        if replies.copying:
            if kind == c"S":
                continue
            if kind == c"c" or kind == c"f":
                replies.copying = False
                continue
        ring[(replies.head + kept) & (replies.capacity - 1)] = request
        kept += 1
    replies.count = kept


cdef int _grow(Replies *replies) except -1 nogil:
    cdef uint32_t at
    cdef uint16_t *ring = <uint16_t *>malloc(replies.capacity * 2 * sizeof(uint16_t))
    if ring == NULL:
        with gil:
            raise MemoryError()
    for at in range(replies.count):
        ring[at] = _ring(replies)[(replies.head + at) & (replies.capacity - 1)]
    if replies.far != NULL:
        free(replies.far)
    replies.far = ring
    replies.capacity *= 2
    replies.head = 0
    return 0


cdef class Conversation:
    """The queue with a Python face, for tests: bytes of request types in, verdicts out."""

    cdef Replies replies

    def __cinit__(self):
        begin(&self.replies)

    def __dealloc__(self):
        end(&self.replies)

    def send(self, requests, uint16_t marks=0):
        """Push requests, one byte each, all with the same marks."""
        for request in requests:
            expect(&self.replies, request | marks)
        return self

    def receive(self, answers):
        """True when every reply, one byte each, belonged to a request of the client's."""
        return all([match(&self.replies, answer) == FORWARD for answer in answers])

    def judge(self, answers):
        """[(verdict's name, requests whose reply is faked before this one, notes kept, notes lapsed)]."""
        told = []
        for answer in answers:
            faked = self.take_faked()
            verdict = match(&self.replies, answer)
            told.append((VERDICTS[verdict], faked, self.replies.kept, self.replies.lapsed))
        return told

    def take_faked(self):
        """The requests whose replies are to be made now."""
        faked = bytearray()
        while request := take_faked(&self.replies):
            faked.append(request & 0xFF)
        return bytes(faked)

    @property
    def owed(self):
        """The requests not yet completed, oldest first."""
        cdef uint32_t at
        is_settled(&self.replies)
        return bytes([_ring(&self.replies)[(self.replies.head + at) % self.replies.capacity] & 0xFF
                      for at in range(self.replies.count)])

    @property
    def noted(self):
        """How many of them are noted."""
        return self.replies.noted

    @property
    def is_settled(self):
        """Whether nothing is owed."""
        return bool(is_settled(&self.replies))

    @property
    def needs_sync(self):
        """Whether only a Sync will bring the backend to rest."""
        return bool(needs_sync(&self.replies))
