"""What lies in the shared segment: every struct, with each field's unit and writer.

Sizes are fixed at start. A struct that is written on every transaction fills whole
cache lines, so that two writers never share one. A change of any struct here needs
a new LAYOUT_VERSION in segment.pyx.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    CACHE_LINE = 64
    ADDRESS_BYTES = 48       # an IP address as text, or "unix"
    NAME_BYTES = 64          # a name of PostgreSQL's (NAMEDATALEN) with its final zero
    KEY_BYTES = 256          # the longest cancel key of protocol 3.2
    SECRET_BYTES = 32        # the longest that we give a client: as PostgreSQL 18's
    WELCOME_BYTES = 2048     # ParameterStatus of a pool's backends, as name\0value\0…
    TROUBLE_BYTES = 1024     # why the pool's last log-in failed, as text
    BUCKETS = 32             # of a histogram: bucket n counts durations in [2^n, 2^(n+1)) microseconds
    MUTEX_BYTES = 64
    SETTINGS_BYTES = 2008    # of a backend's settings, as name\0value\0…
    UNKNOWN_SETTINGS = 0xFFFFFFFF
    PLACE_BYTES = 256        # host, port and database of an ear, as people write them
    DIGEST_BYTES = 16
    CHANGES_BYTES = 4008     # what SET has changed, as key=value lines
    PERIODS = 3              # snapshots of the counters that are kept: one being written, two to compare
    TOTALS = 29              # counters in a snapshot: those of Counters before its histograms
    QUESTION_BYTES = 32      # of a question's digest (SHA-256)
    ANSWER_BYTES = 440       # what PostgreSQL said of a user, as text
    ANSWER_WAYS = 8          # places that one answer may lie in
    ANSWER_SETS = 128        # and as many such groups of places

cdef struct Header:              # one page at the start; written once by the supervisor
    char magic[8]
    uint32_t layout_version
    uint32_t workers             # sizes, as counts of records
    uint32_t slots
    uint32_t pools
    uint32_t clients
    uint32_t ring_cells          # of one pool's wait queue: a power of two
    uint32_t free_words          # of one pool's free bitmap, and of one worker's inbox
    uint32_t supervisor_pid
    uint64_t total_bytes
    uint64_t workers_at          # offsets from the start of the segment, bytes
    uint64_t inboxes_at
    uint64_t slots_at
    uint64_t identities_at
    uint64_t pools_at
    uint64_t free_bits_at
    uint64_t rings_at
    uint64_t clients_at
    uint64_t counters_at
    uint64_t created_at_us       # CLOCK_MONOTONIC
    uint32_t client_limit        # max_client_conn; the records beyond it are for saying no
    uint32_t _pad0
    uint64_t paused              # 1 = the operator's PAUSE: no new leases; by the supervisor
    uint64_t baggage_at
    uint64_t prepared_at
    uint32_t prepared_cells      # of one slot: a power of two
    uint32_t prepared_limit      # statements kept on one backend
    uint64_t ears_at
    uint64_t plans               # changes when a statement was found to mean something else than when it was prepared
    uint64_t board_at            # offsets
    uint64_t databases_at
    uint64_t periods_at
    uint64_t answers_at
    uint64_t guests_at
    uint64_t definitions         # the moment of the last ALTER or DROP that was seen; 0 = none; by any worker
    uint64_t leaving             # 1 = a successor with another layout takes over: see crossing.pyx; under the mutex
    uint64_t lore                # the moment of the last CREATE FUNCTION or the like; 0 = none was seen; by any worker
    uint8_t _pad[512 - 248]
    uint8_t mutex[MUTEX_BYTES]   # robust; taken to open a backend or register a pool, never per transaction

cdef struct WorkerRecord:        # two cache lines a worker
    uint64_t sleeping            # 1 = write its eventfd after leaving it something; the waker clears it
    uint64_t errands             # bits of Errand, set by anybody, cleared by the worker
    uint8_t _pad1[48]
    uint64_t heartbeat_us        # CLOCK_MONOTONIC; by the worker, several times a second
    uint64_t started_at_us       # by the supervisor at the fork
    uint32_t pid                 # by the supervisor; 0 = no such process now
    uint32_t state               # WorkerState; by the worker
    uint32_t clients             # logged-in and logging-in; by the worker
    uint32_t deaths              # of who filled the place; by the supervisor
    uint32_t listening           # clients that LISTEN; by the worker
    uint32_t configuration       # number of the configuration it works by (Board); by the worker
    uint64_t cpu_us              # processor time of this process so far; by the worker, with its heartbeat
    uint64_t coming              # clients on their way to it from other workers; raised by those, lowered by it
    uint32_t is_accepting        # 1 = it takes new clients; by the worker
    uint32_t drains              # times that who filled the place left in order; by the supervisor

cdef struct Slot:                # one cache line: one backend
    uint64_t word                # phase, owner, pool, grants, generation: see leases.pxd; moved by leases.pyx
    uint64_t leased_at_us        # by the owner at each take
    uint64_t opened_at_us        # by the opener
    uint64_t released_at_us      # by the owner before each release
    uint64_t lease_count         # leases of this socket so far; by the owner
    uint32_t client              # record of the client it serves, for readers only; by the owner
    uint32_t expires_s           # CLOCK_MONOTONIC seconds after which it is retired; 0 = never; by the opener
    uint32_t last_owner          # the worker that leased it last: it reads what comes while the slot is FREE
    uint32_t pins                # bits of Pin: why its client keeps it; by the owner
    uint16_t private             # Private: opened for one client and never anybody else's; by the opener, under the mutex
    uint16_t home                # the only worker that may take it, + 1; 0 = any may: see homes.pyx; by the opener
    uint32_t cancels             # cancel requests on their way to it, for readers only; by the owner

cdef struct Identity:            # who PostgreSQL says the backend is; by the opener, before the first lease
    uint32_t backend_pid
    uint32_t key_bytes
    uint8_t key[KEY_BYTES]
    uint32_t generation          # of the slot, for which its socket is: known also when it has been fenced since
    uint16_t port                # where PostgreSQL was reached; 0 for a Unix socket
    uint16_t local_port          # and from where
    char address[ADDRESS_BYTES]
    char local_address[ADDRESS_BYTES]
    uint32_t tls                 # as in ClientRecord
    uint8_t _pad[CACHE_LINE * 6 - 372]

cdef struct Baggage:             # what sessions left on a backend; by the slot's owner, under its lease
    uint64_t settings_digest     # of `settings`; 0 = as after the log-in
    uint64_t unnamed             # token of the unnamed statement that is on it; 0 = none that we know of
    uint64_t recaller            # whose last values of sequences are on it: see relay/recalling.pxd
    uint32_t settings_bytes      # UNKNOWN_SETTINGS = they did not fit, or nobody knows
    uint32_t prepared_count
    uint32_t clock               # counts uses of prepared statements: the order of their ages
    uint32_t plans               # of Header.plans, as of which what is prepared is good
    char settings[SETTINGS_BYTES]

cdef struct Prepared:            # a cell of a slot's table of prepared statements: open addressing
    uint64_t high                # of the statement id; both halves 0 = vacant
    uint64_t low
    uint32_t used_at             # Baggage.clock at its last use
    uint32_t columns             # digest of its result's, as the backend has told; UNTOLD = it was not asked
    uint64_t defined             # what Header.definitions was when it was prepared, or earlier

cdef struct PoolRecord:
    uint64_t in_use              # 1 once all else is written; under the mutex
    char database[NAME_BYTES]    # as the client names it
    char user[NAME_BYTES]
    uint32_t pool_size           # backends this pool may have
    uint32_t database_limit      # backends all pools of this database may have; 0 = no limit of its own
    uint64_t created_at_us
    uint64_t retry_at_us         # no log-in is tried before this moment; by the worker whose log-in failed
    uint32_t welcome_bytes       # 0 = no backend of this pool was ever opened
    uint32_t database_record     # of its database, on the board; under the mutex
    char trouble[TROUBLE_BYTES]  # SQLSTATE, then the server's message; empty after a good log-in
    char welcome[WELCOME_BYTES]
    uint64_t tenancy             # grows when the record is given to another (database, user); see tenancies.pyx
    uint32_t is_homed            # 1 = its backend opened last has a home; by the opener
    uint32_t recalls             # 1 = some client has asked for lastval() or currval(); by its worker
    uint8_t _pad1[8]
    uint64_t head                # of the wait queue: the next ticket to serve; moved by compare-and-swap
    uint8_t _pad2[56]
    uint64_t tail                # of the wait queue: the next ticket to give out
    uint8_t _pad3[56]

cdef struct ClientRecord:        # five cache lines, single writer: the worker that holds the client
    uint64_t owner               # 0 = unused, AWAY, OVER, else worker + 1, and << 16 giver + 1 while it is handed over
    uint64_t since_us            # when the present phase began
    uint64_t connected_at_us
    uint64_t transactions        # served so far
    uint32_t secret_bytes        # of `secret`; 0 = it has been given none
    int32_t slot                 # the backend it has, -1 = none
    uint32_t pool
    uint16_t port
    uint8_t phase                # ClientPhase of the relay
    uint8_t listener             # which of the worker's listening sockets it came to
    uint32_t serial              # clients that had this record before and with this one
    uint32_t tls                 # version << 16 | cipher suite, by their numbers in RFC 8446; 0 = not encrypted
    uint32_t statements          # names of prepared statements that it has, between its transactions
    uint32_t process             # that connected to the Unix socket (unix(7)); 0 = it came by TCP
    char address[NAME_BYTES]     # textual; "unix" for the Unix socket
    char application_name[NAME_BYTES]
    char user[NAME_BYTES]        # who it logged in as, which may not be its pool's user
    uint8_t secret[SECRET_BYTES]  # the cancel key given to the client
    char _pad2[32]

cdef struct Board:               # what the operator has said, and the supervisor's notes; one
    uint64_t configuration       # number of the configuration in force, grows with each RELOAD and SET; by the supervisor
    uint64_t reloads             # how many of these were RELOADs; by the supervisor
    uint64_t settings_turn       # odd while `settings` is being written; by the supervisor
    uint64_t killed_at_us        # the last KILL of everything, CLOCK_MONOTONIC
    uint64_t client_mark         # client records from here on were never used, so their pages are holes
    uint64_t period              # snapshots of the counters taken so far; by the supervisor
    uint64_t periods_at_us[PERIODS]  # when snapshot n was taken, at n % PERIODS
    uint64_t heeded_at_us        # when a predecessor's workers have heeded this; 0 = none are left; by the supervisor
    uint64_t defied              # 1 = they keep to an older configuration: they cannot use this one; by the supervisor
    char settings[CHANGES_BYTES]     # what SET has changed since the last RELOAD; by the supervisor

cdef struct DatabaseRecord:      # two cache lines; by whoever has the operator's command
    uint64_t in_use              # 1 once its name is written; under the mutex
    uint64_t paused              # 1 = no new leases
    uint64_t disabled            # 1 = no new clients
    uint64_t killed_at_us        # clients admitted before this moment are sent off
    uint64_t reconnect_at_us     # backends whose connection was begun before this moment are to be closed
    uint64_t asked_at_us         # when somebody asked for the record last; under the mutex
    uint8_t _pad[16]
    char name[NAME_BYTES]

cdef struct Counters:            # one per (worker, pool), single writer: the worker
    uint64_t transactions
    uint64_t queries             # requests that end in a ReadyForQuery
    uint64_t leases
    uint64_t handovers           # leases given to another worker's client
    uint64_t waits               # clients that had to park
    uint64_t bytes_received      # from clients
    uint64_t bytes_sent          # to clients
    uint64_t transaction_us      # sums of durations
    uint64_t query_us
    uint64_t wait_us
    uint64_t logins
    uint64_t login_failures      # log-ins to PostgreSQL that failed
    uint64_t backends_opened
    uint64_t backends_closed
    uint64_t cancels
    uint64_t errors              # ErrorResponses made by pgmux
    uint64_t catch_ups           # leases that began with other settings than the client's
    uint64_t pins                # times that a client began to keep its backend
    uint64_t parses              # Parse messages of clients
    uint64_t injections          # statements that we prepared in between
    uint64_t inquiries           # transactions that ended with a question
    uint64_t cleanings           # backends that were cleaned after a client
    uint64_t audits              # releases that were looked at
    uint64_t findings            # of them, those where something was left
    uint64_t notifications       # handed to clients that LISTEN
    uint64_t notifications_dropped  # never handed over: the client did not take them, and had to go
    uint64_t ears_lost           # listening backends of this pool's user that were lost and replaced
    uint64_t server_parses       # Parse messages to PostgreSQL, ours included
    uint64_t binds               # Bind messages of clients
    uint64_t wait[BUCKETS]       # histograms
    uint64_t query[BUCKETS]
    uint64_t transaction[BUCKETS]
    uint8_t _pad[CACHE_LINE - 40]

cdef struct Ear:                 # five cache lines: the one backend of a database that listens for all
    uint64_t word                # who holds it, and since which epoch: see ears.pyx
    uint64_t in_use              # 1 once place and digest are written; under the mutex
    uint8_t digest[DIGEST_BYTES]  # of the whole place: the key
    uint64_t opened_at_us        # when its backend was opened, 0 = it has none now; by the holder
    uint64_t losses              # backends that it lost; by the holder
    uint32_t backend_pid         # PostgreSQL's; by the holder
    uint32_t channels            # it listens to; by the holder
    char place[PLACE_BYTES]      # cut where it is longer
    uint8_t _pad[8]

cdef struct AnswerRecord:        # what auth_query said of a user; under the mutex
    uint8_t key[QUESTION_BYTES]    # of the question
    uint64_t asked_at_us         # when a worker undertook to ask; 0 = none is asking
    uint64_t answered_at_us      # 0 = there is no answer; written last
    uint32_t asker               # that worker
    uint32_t answer_bytes
    char answer[ANSWER_BYTES]    # never a password as it is
    uint8_t _pad[16]
