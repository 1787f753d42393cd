"""The system calls of the data path. See recv(2), send(2), epoll(7), accept4(2)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, strcpy

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    int accept4(int fd, sockaddr *address, unsigned int *size, int flags)
    int getpeername(int fd, sockaddr *address, unsigned int *size)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *size)
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SHUT_WR, SHUT_RDWR, SOCK_NONBLOCK, SOCK_CLOEXEC
    int AF_INET, AF_INET6, AF_UNIX, SOL_SOCKET, SO_PEERCRED

cdef extern from "sys/random.h" nogil:
    ssize_t getrandom(void *buffer, size_t size, unsigned int flags)

cdef extern from "netinet/in.h" nogil:
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in:
        uint16_t sin_port
        uint32_t sin_addr
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t number)

cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int family, const void *address, char *text, unsigned int size)

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
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    int EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET


cdef inline uint32_t big_endian(const uint8_t *bytes) noexcept nogil:
    return <uint32_t>bytes[0] << 24 | <uint32_t>bytes[1] << 16 | <uint32_t>bytes[2] << 8 | bytes[3]


cdef inline void write_quad(const uint8_t *address, char *name) noexcept nogil:
    """An IPv4 address as text, at most 16 bytes with its end: inet_ntop(3) takes as long as a log-in's half."""
    cdef int at
    for at in range(4):
        if address[at] >= 100:
            name[0] = c"0" + address[at] // 100
            name += 1
        if address[at] >= 10:
            name[0] = c"0" + address[at] // 10 % 10
            name += 1
        name[0] = c"0" + address[at] % 10
        name[1] = c"." if at < 3 else 0
        name += 2


cdef inline uint16_t name_peer(const sockaddr_storage *peer, char *name, unsigned int size) noexcept nogil:
    """Write a peer's address as text ("unix" for a Unix socket); gives its port.

    On a socket that listens for both families an IPv4 address comes as ::ffff:a.b.c.d: it is named a.b.c.d.
    """
    cdef const sockaddr_in6 *six = <const sockaddr_in6 *>peer
    if peer.ss_family == AF_INET:
        write_quad(<const uint8_t *>&(<const sockaddr_in *>peer).sin_addr, name)
        return ntohs((<const sockaddr_in *>peer).sin_port)
    if peer.ss_family == AF_INET6:
        if memcmp(six.sin6_addr.s6_addr, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
            write_quad(six.sin6_addr.s6_addr + 12, name)
        else:
            inet_ntop(AF_INET6, six.sin6_addr.s6_addr, name, size)
        return ntohs(six.sin6_port)
    strcpy(name, b"unix")
    return 0
