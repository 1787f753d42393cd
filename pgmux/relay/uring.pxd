"""What of io_uring a volley needs. See io_uring_setup(2), io_uring_enter(2)."""
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef extern from "linux/io_uring.h" nogil:
    cdef struct io_uring_sqe:
        uint8_t opcode
        int32_t fd
        uint64_t addr
        uint32_t len
        uint32_t msg_flags
        uint64_t user_data
    cdef struct io_uring_cqe:
        uint64_t user_data
        int32_t res
    cdef struct io_sqring_offsets:
        uint32_t head, tail, ring_mask, array
    cdef struct io_cqring_offsets:
        uint32_t head, tail, ring_mask, cqes
    cdef struct io_uring_params:
        uint32_t sq_entries, cq_entries, flags, features
        io_sqring_offsets sq_off
        io_cqring_offsets cq_off
    int IORING_OP_SEND
    unsigned int IORING_ENTER_GETEVENTS, IORING_FEAT_SINGLE_MMAP, IORING_FEAT_FAST_POLL
    uint64_t IORING_OFF_SQ_RING, IORING_OFF_SQES

cdef extern from "sys/syscall.h" nogil:
    long SYS_io_uring_setup, SYS_io_uring_enter

cdef extern from "unistd.h" nogil:
    long syscall(long number, ...)

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *address, size_t size, int protection, int flags, int fd, uint64_t offset)
    int munmap(void *address, size_t size)
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_POPULATE
