from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

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
    cdef bint is_short                   # of the last volley fired: some shot was not taken whole
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

    cdef inline bint holds(self, Endpoint endpoint) noexcept:
        """Whether bytes for the endpoint are still to be sent."""
        return endpoint.volley == self.number

    cdef inline bint take(self, Endpoint endpoint, const char *data, size_t size) noexcept:
        """Whether the bytes are in the volley now; if not, it must be fired first."""
        cdef Shot *shot
        cdef io_uring_sqe *request
        if self.used + size > VOLLEY_BYTES or self.count == SHOTS or endpoint.volley == self.number:
            return self.extend(endpoint, data, size)
        shot = &self.shots[self.count]
        request = &self.requests[(self.request_tail[0] + self.count) & self.request_mask]
        shot.endpoint = <void *>endpoint
        shot.fd = endpoint.fd
        shot.start = self.used
        shot.size = size
        request.fd = shot.fd
        request.addr = <uint64_t>(self.data + shot.start)
        request.len = size
        request.user_data = self.count
        endpoint.volley = self.number
        self.count += 1
        memcpy(self.data + self.used, data, size)
        self.used += size
        return True

    cdef bint extend(self, Endpoint endpoint, const char *data, size_t size) noexcept
    cdef uint32_t fire(self) noexcept
    cdef uint32_t submit(self) noexcept
    cdef void open(self) noexcept
    cdef void shut(self) noexcept
