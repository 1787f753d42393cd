from libc.stdint cimport uint32_t


cpdef enum Trace:                # what a text may leave behind in its session, or needs of it; bits
    SETTINGS = 0x1               # SET, RESET, set_config: settings that outlive the transaction
    LISTENING = 0x2              # LISTEN, UNLISTEN
    TEMPORARY = 0x4              # temporary tables and the like
    HOLDING = 0x8                # cursors WITH HOLD
    LOCKING = 0x10               # advisory locks of the session
    LOADING = 0x20               # LOAD
    NAMES = 0x40                 # PREPARE, EXECUTE, DEALLOCATE: names of statements
    DISCARDING = 0x80            # DISCARD
    BLOCK = 0x100                # begins with BEGIN, START, COMMIT, END, ROLLBACK or ABORT
    FREEING = 0x200              # may take back what a session keeps: DROP, CLOSE, DISCARD, an unlock, a COMMIT
    UNSEEN = 0x400               # code that runs behind our back: DO, CALL, or a text too long to be read
    LEARNT = 0x800               # a function that leaves something behind, see session/lore.py
    NOTIFYING = 0x1000           # NOTIFY, pg_notify: who listens itself hears it before its transaction is over
    EMPTYING = 0x2000            # DROP DATABASE and the like: nobody may be connected to it
    ADVANCING = 0x4000           # INSERT and the like, nextval: may take values of sequences
    RECALLING = 0x8000           # lastval, currval: asks for the value that the session took last

cdef uint32_t find_traces(const char *text, size_t size, bint backslashes) noexcept nogil
