# cython: boundscheck=False, wraparound=False
"""A volley: the short sends of one batch of events, made by one system call.

A send wakes its receiver, and a kernel that returns from a system call looks whether somebody
it has just woken should run instead of us. With more clients than backends, each batch of
events holds sends both ways, and a relay that makes them one by one is put aside every third
transaction, in the middle of its batch. Handed over together they are made in order, and only
then does the kernel look up: the receivers find several messages, and so do we when we are back.

The means is an io_uring of which only that is used: requests that never wait (MSG_DONTWAIT),
made while io_uring_enter runs, in this thread, with their answers there when it returns. So no
memory barrier is needed either. Where io_uring does not exist or is forbidden (a container's
seccomp filter, kernel.io_uring_disabled), `is_possible` is False, and every send is made at once.

One endpoint has one shot in a volley: were a first shot not taken, a second one might be.
"""
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pgmux.relay.sockets cimport MSG_DONTWAIT, MSG_NOSIGNAL, close, errno, send
from pgmux.relay.uring cimport (
    IORING_ENTER_GETEVENTS, IORING_FEAT_FAST_POLL, IORING_FEAT_SINGLE_MMAP, IORING_OFF_SQES, IORING_OFF_SQ_RING,
    IORING_OP_SEND, MAP_FAILED, MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE, SYS_io_uring_enter,
    SYS_io_uring_setup, io_uring_cqe, io_uring_params, io_uring_sqe, mmap, munmap, syscall,
)


cdef class Volley:
    """The shots of the present batch."""

    def __cinit__(self):
        self.ring = -1
        self.number = 1                      # endpoints begin with 0: in none
        self.data = <char *>malloc(VOLLEY_BYTES)
        if self.data == NULL:
            raise MemoryError()
        self.open()

    def __dealloc__(self):
        free(self.data)
        self.shut()

    cdef bint extend(self, Endpoint endpoint, const char *data, size_t size) noexcept:
        """Whether the bytes are in the endpoint's own shot now: it has one, which is the last, and there is room."""
        cdef Shot *shot = &self.shots[self.count - 1]
        if endpoint.volley != self.number or shot.endpoint != <void *>endpoint or self.used + size > VOLLEY_BYTES:
            return False
        shot.size += size
        self.requests[(self.request_tail[0] + self.count - 1) & self.request_mask].len = shot.size
        memcpy(self.data + self.used, data, size)
        self.used += size
        return True

    cdef uint32_t fire(self) noexcept:
        """Send all; gives how many shots there were, each with its `outcome`. The next volley is empty,
        and these shots and bytes stay until something is put into it."""
        cdef uint32_t at, count = self.count
        cdef Shot *shot
        self.is_short = False
        for at in range(self.submit() if count > 1 else 0, count):
            shot = &self.shots[at]
            shot.outcome = send(shot.fd, self.data + shot.start, shot.size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if shot.outcome < 0:
                shot.outcome = -errno
            self.is_short |= shot.outcome != <int32_t>shot.size
        self.count = self.used = 0
        self.number += 1
        return count

    cdef uint32_t submit(self) noexcept:
        """Have the kernel make all sends; gives how many it has made, the first ones."""
        cdef uint32_t head = self.request_head[0], made, answered = 0, at = self.answer_head[0]
        cdef io_uring_cqe *answer
        cdef Shot *shot
        cdef bint is_short = False
        self.request_tail[0] += self.count
        syscall(SYS_io_uring_enter, self.ring, self.count, 0, 0, NULL, 0)
        made = self.request_head[0] - head
        self.request_tail[0] = head + made       # what it would not take (out of memory, say) is sent without it
        while True:
            while at != self.answer_tail[0]:
                answer = &self.answers[at & self.answer_mask]
                shot = &self.shots[answer.user_data]
                shot.outcome = answer.res
                is_short |= shot.outcome != <int32_t>shot.size
                at += 1
                answered += 1
            self.answer_head[0] = at
            if answered == made:
                self.is_short = is_short
                return made
            syscall(SYS_io_uring_enter, self.ring, 0, made - answered, IORING_ENTER_GETEVENTS, NULL, 0)

    cdef void open(self) noexcept:
        """Get an io_uring, if the kernel gives us one."""
        cdef io_uring_params params
        cdef char *rings
        cdef uint32_t at, *order
        cdef uint32_t needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_FAST_POLL   # Linux 5.7, which has OP_SEND
        memset(&params, 0, sizeof(params))
        self.ring = syscall(SYS_io_uring_setup, SHOTS, &params)
        if self.ring < 0 or params.features & needed != needed:
            return
        self.rings_bytes = max(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                               params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe))
        self.requests_bytes = params.sq_entries * sizeof(io_uring_sqe)
        self.rings = mmap(NULL, self.rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, self.ring,
                          IORING_OFF_SQ_RING)
        self.requests = <io_uring_sqe *>mmap(NULL, self.requests_bytes, PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_POPULATE, self.ring, IORING_OFF_SQES)
        if self.rings == MAP_FAILED or <void *>self.requests == MAP_FAILED:
            return
        rings = <char *>self.rings
        self.request_head = <uint32_t *>(rings + params.sq_off.head)
        self.request_tail = <uint32_t *>(rings + params.sq_off.tail)
        order = <uint32_t *>(rings + params.sq_off.array)
        self.request_mask = (<uint32_t *>(rings + params.sq_off.ring_mask))[0]
        self.answer_head = <uint32_t *>(rings + params.cq_off.head)
        self.answer_tail = <uint32_t *>(rings + params.cq_off.tail)
        self.answers = <io_uring_cqe *>(rings + params.cq_off.cqes)
        self.answer_mask = (<uint32_t *>(rings + params.cq_off.ring_mask))[0]
        for at in range(params.sq_entries):  # what is the same in every request; the kernel does not write here
            memset(&self.requests[at], 0, sizeof(io_uring_sqe))
            self.requests[at].opcode = IORING_OP_SEND
            self.requests[at].msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL
            order[at] = at
        self.is_possible = True

    cdef void shut(self) noexcept:
        if self.rings != NULL and self.rings != MAP_FAILED:
            munmap(self.rings, self.rings_bytes)
        if self.requests != NULL and <void *>self.requests != MAP_FAILED:
            munmap(self.requests, self.requests_bytes)
        if self.ring >= 0:
            close(self.ring)
        self.ring = -1
