cdef enum:
    LONGEST_REMEMBERED = 1024            # bytes of a packet; others are rare

cdef class Introduction:
    cdef readonly dict parameters        # all that the client sent, as it sent it
    cdef readonly str user
    cdef readonly bytes user_name        # the same, as it lies in shared memory
    cdef readonly str database
    cdef readonly bint is_console
    cdef readonly bint is_replication    # it wants a backend of its own, which speaks the replication protocol too
    cdef readonly tuple protocol_version  # the one that is spoken
    cdef readonly int key_bytes          # of its cancel key
    cdef readonly bytes answer           # to be sent before anything else
    cdef readonly tuple refusal          # why nobody is let in with this, and the names in its text; None
    cdef public object greeting          # what was told to the last who was let in with this; the relay's
    cdef object trusted_by               # the Doors that let in whoever sends this, from wherever; None = none do
    cdef dict known_settings             # None = not worked out yet

cdef dict remembered                     # Introduction by packet
