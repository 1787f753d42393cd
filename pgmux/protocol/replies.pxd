from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef enum:
    NEAR = 16                    # requests in flight that need no memory of their own; a power of two

cdef enum Mark:                  # what is special about a request, beside its type
    OURS = 0x100                 # we sent it ourselves: its replies are dropped
    FAKED = 0x200                # it was not sent: when its turn comes, its one reply is made by us
    NOTED = 0x400                # Q, P, B, D, E, C: somebody keeps a note of it and wants to know what becomes of it

cdef enum Verdict:               # what becomes of a reply
    MISMATCH = 0                 # it belongs to nothing that was asked: the backend is out of step
    FORWARD = 1                  # it belongs to what the client asked: pass it on
    SWALLOW = 2                  # it belongs to what we asked: the client does not see it
    MISHAP = 3                   # what we asked has failed, and the client has not asked for anything there

cdef struct Replies:             # what one backend owes, oldest first; lives in the relay's Backend
    uint16_t near[NEAR]          # a ring of request types with their marks, while it is enough
    uint16_t *far                # the ring when it is not; NULL = near is in use
    uint32_t capacity
    uint32_t head
    uint32_t count
    uint32_t noted               # NOTED ones among them
    bint failed                  # an error came and no Sync has been sent since: requests get no replies
    bint copying                 # the backend reads CopyData: Sync and Flush are ignored
    uint16_t answered            # the request, with its marks, that the last reply belonged to; 0 = none
    uint32_t kept                # notes whose request was completed by the last reply: 0 or 1
    uint32_t lapsed              # notes whose requests will never be answered, since the last reply was an error

cdef inline bint is_extended(uint8_t request) noexcept nogil:
    """Whether an error has PostgreSQL skip what comes after it, up to a Sync."""
    return request == c"P" or request == c"B" or request == c"D" or request == c"E" or request == c"C"

cdef inline uint16_t *_ring(Replies *replies) noexcept nogil:
    return replies.far if replies.far != NULL else replies.near

cdef inline void _pop(Replies *replies) noexcept nogil:
    replies.head = (replies.head + 1) & (replies.capacity - 1)
    replies.count -= 1

# For the commonest request there is, a Query, the same as `match` would say, without a look at the rules.

cdef inline bint owes_query(Replies *replies) noexcept nogil:
    """Whether what is owed first is a Query of the client's of which nobody keeps a note: a row, the description of
    rows and the tag after them answer it and leave it the first, a ReadyForQuery completes it; all are forwarded."""
    return replies.count != 0 and _ring(replies)[replies.head] == c"Q"

cdef inline void answer_query(Replies *replies, bint completes) noexcept nogil:
    """Such a reply has come."""
    replies.answered = c"Q"
    replies.kept = replies.lapsed = 0
    if completes:
        _pop(replies)

cdef inline int expect_query(Replies *replies) except -1 nogil:
    """Such a Query is being sent: `expect`."""
    if replies.failed or replies.count == replies.capacity:
        return expect(replies, c"Q")
    _ring(replies)[(replies.head + replies.count) & (replies.capacity - 1)] = c"Q"
    replies.count += 1
    return 1

cdef inline bint is_settled(Replies *replies) noexcept nogil:
    """Whether nothing is owed. A transaction's end is this *and* a ReadyForQuery with status I."""
    if replies.count:
        drop_markers(replies)
    return replies.count == 0

cdef void begin(Replies *replies) noexcept nogil
cdef void end(Replies *replies) noexcept nogil
cdef int expect(Replies *replies, uint16_t request) except -1 nogil
cdef Verdict match(Replies *replies, uint8_t reply) noexcept nogil
cdef uint16_t take_faked(Replies *replies) noexcept nogil
cdef void drop_markers(Replies *replies) noexcept nogil
cdef bint is_ours(Replies *replies) noexcept nogil
cdef bint has_turns(Replies *replies) noexcept nogil
cdef bint needs_sync(Replies *replies) noexcept nogil
