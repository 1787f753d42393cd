from libc.stdint cimport int32_t, uint32_t, uint64_t

from pgmux.relay.endpoint cimport Endpoint
from pgmux.relay.uring cimport io_uring_cqe, io_uring_sqe


cdef enum:
    SHOTS = 128                  # of one volley at most; a power of two
    SHOT_BYTES = 4096            # a longer one is sent by itself
    VOLLEY_BYTES = 65536

cdef struct Shot:                # bytes for one socket
    void *endpoint               # borrowed: a volley is fired before the endpoint's socket is closed
    int fd
    uint32_t start               # in the volley's bytes
    uint32_t size
    int32_t outcome              # bytes that the socket took, or -errno

cdef class Volley:
    cdef readonly bint is_possible       # the kernel lets us; else nothing is collected
    cdef uint64_t number                 # of the present one; an endpoint knows the last one it had a shot in
    cdef uint32_t count                  # shots in it
    cdef Shot shots[SHOTS]
    cdef char *data                      # VOLLEY_BYTES
    cdef uint32_t used                   # of data
    cdef int ring                        # the io_uring's descriptor; -1 = none
    cdef io_uring_sqe *requests          # mapped, as all below
    cdef uint32_t *request_head          # by the kernel
    cdef uint32_t *request_tail          # by us
    cdef uint32_t *answer_head           # by us
    cdef uint32_t *answer_tail           # by the kernel
    cdef io_uring_cqe *answers
    cdef uint32_t request_mask, answer_mask
    cdef void *rings                     # the mapping of both queues, and its bytes
    cdef size_t rings_bytes, requests_bytes

    cdef bint holds(self, Endpoint endpoint) noexcept
    cdef bint take(self, Endpoint endpoint, const char *data, size_t size) noexcept
    cdef uint32_t fire(self) noexcept
    cdef uint32_t submit(self) noexcept
    cdef void open(self) noexcept
    cdef void shut(self) noexcept
