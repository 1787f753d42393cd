"""The system calls of the data path. See recv(2), send(2), epoll(7), accept4(2)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    int accept4(int fd, void *address, void *size, int flags)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *size)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int size)
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SHUT_WR, SHUT_RDWR, SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET, SO_KEEPALIVE, SO_PEERCRED

cdef extern from "netinet/in.h" nogil:
    int IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    int TCP_NODELAY

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef extern from "fcntl.h" nogil:
    int open(const char *path, int flags)
    int O_RDONLY, O_CLOEXEC

cdef extern from "errno.h" nogil:
    int errno
    int EAGAIN, EINTR, EMFILE, ENFILE

cdef extern from "sys/epoll.h" nogil:
    cdef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    int EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET


cdef inline uint32_t big_endian(const uint8_t *bytes) noexcept nogil:
    return <uint32_t>bytes[0] << 24 | <uint32_t>bytes[1] << 16 | <uint32_t>bytes[2] << 8 | bytes[3]
