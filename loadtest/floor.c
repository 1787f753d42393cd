/* floor: what the four socket calls of a transaction cost, and nothing else.
 *
 * A pooler in transaction mode cannot do with less than this: read the request, send it on, read the
 * answer, send it on. floor does that between its clients and a fixed set of backends, and leaves out all
 * that makes a pooler: it frames no messages, checks no reply, counts nothing, keeps nothing that a socket
 * does not take, knows no errors. A transaction is over when a read ends in ReadyForQuery with status I. So it
 * serves small answers to well-behaved clients, ends loudly where that is not enough, and is
 * of no use but as a yardstick: what another pooler costs above it is that pooler's own.
 *
 * Every client is greeted with what the first backend said at its log-in.
 *
 *     cc -O2 -o floor floor.c && ./floor -p 6432 -h 127.0.0.1 -b 5432 -n 20
 *
 * Source: epoll(7); PostgreSQL manual, "Message Flow".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024, MAX_EVENTS = 128 };

struct end {
    int fd;
    bool is_backend, logged_in, waits;
    struct end *peer;           /* the other end of the transaction under way */
    struct end *next;           /* in the line of free backends, or of waiting clients */
};

struct line { struct end *first, **last; };

static int epoll;
static char chunk[CHUNK_BYTES], greeting[CHUNK_BYTES];
static size_t greeting_bytes;
static struct line free_backends = {.last = &free_backends.first}, waiting = {.last = &waiting.first};

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void join(struct line *line, struct end *end)
{
    end->next = NULL;
    *line->last = end;
    line->last = &end->next;
}

static struct end *leave(struct line *line)
{
    struct end *first = line->first;
    if (first && !(line->first = first->next))
        line->last = &line->first;
    return first;
}

static struct end *watch(int fd, bool is_backend)
{
    struct end *end = calloc(1, sizeof *end);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = end};
    int on = 1;
    end->fd = fd;
    end->is_backend = is_backend;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);     /* as pgmux does on loopback */
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    return end;
}

static void send_all(struct end *end, const char *data, size_t size)
{
    if (send(end->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size && errno != EPIPE && errno != ECONNRESET)
        fail("an answer or a request was too long for a socket");
}

/* Bytes read into the chunk; 0 = none yet, -1 = it is gone. */
static ssize_t read_chunk(struct end *end)
{
    ssize_t size = recv(end->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return size <= 0 ? -1 : size;
}

static bool ends_ready(const char *data, ssize_t size, bool when_idle)
{
    return size >= 6 && memcmp(data + size - 6, "Z\0\0\0\5", 5) == 0 && (!when_idle || data[size - 1] == 'I');
}

/* Trust, and no encryption: 'N' to SSLRequest and GSSENCRequest, the greeting to all else. */
static void log_in(struct end *client, ssize_t size)
{
    if (size == 8) {
        send_all(client, "N", 1);
        return;
    }
    client->logged_in = true;
    send_all(client, greeting, greeting_bytes);
}

static void close_client(struct end *client)
{
    if (client->peer || client->waits)
        fail("a client left in the middle of a transaction");
    close(client->fd);
    client->fd = -1;            /* not freed: an event of it may be in the same batch */
}

static void serve_client(struct end *client)
{
    ssize_t size;
    if (!client->peer && client->logged_in && !client->waits) {
        client->peer = leave(&free_backends);
        if (!client->peer) {
            client->waits = true;
            join(&waiting, client);
        }
    }
    if (client->waits)
        return;                 /* it is read when there is somewhere to send it */
    size = read_chunk(client);
    if (size > 0 && !client->logged_in) {
        log_in(client, size);
    } else if (size > 0 && chunk[0] != 'X') {
        client->peer->peer = client;
        send_all(client->peer, chunk, size);
    } else {
        if (client->peer && !client->peer->peer) {
            join(&free_backends, client->peer);
            client->peer = NULL;
        }
        if (size)
            close_client(client);
    }
}

static void serve_backend(struct end *backend)
{
    struct end *client = backend->peer;
    ssize_t size = read_chunk(backend);
    if (size < 0)
        fail("a backend is gone");
    if (!size || !client)
        return;
    send_all(client, chunk, size);
    if (!ends_ready(chunk, size, true))
        return;
    client->peer = backend->peer = NULL;
    join(&free_backends, backend);
    while (free_backends.first && (client = leave(&waiting))) {
        client->waits = false;
        serve_client(client);
    }
}

static int connect_to(const char *host, int port)
{
    struct sockaddr_un at_path = {.sun_family = AF_UNIX};
    struct sockaddr_in at_port = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_unix = host[0] == '/';
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at_path.sun_path, sizeof at_path.sun_path, "%s/.s.PGSQL.%d", host, port);
    inet_pton(AF_INET, host, &at_port.sin_addr);
    if (is_unix ? connect(fd, (struct sockaddr *)&at_path, sizeof at_path)
                : connect(fd, (struct sockaddr *)&at_port, sizeof at_port))
        fail(host);
    return fd;
}

/* A backend that has logged in, with trust; the first one's words are what clients are greeted with. */
static void open_backend(const char *host, int port)
{
    static const char startup[] = "\0\0\0\x23\0\3\0\0user\0bench\0database\0bench\0";
    int fd = connect_to(host, port);
    size_t size = 0;
    ssize_t more;
    if (send(fd, startup, sizeof startup, MSG_NOSIGNAL) != sizeof startup)
        fail("log-in");
    while (!ends_ready(chunk, size, true)) {
        if ((more = recv(fd, chunk + size, sizeof chunk - size, 0)) <= 0)
            fail("log-in");
        size += more;
    }
    if (!greeting_bytes)
        memcpy(greeting, chunk, greeting_bytes = size);
    join(&free_backends, watch(fd, true));
}

static int listen_at(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0)
        fail("listen");
    return fd;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        watch(fd, false);
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1";
    int option, port = 0, backend_port = 5432, backends = 20, listener;
    struct epoll_event event = {.events = EPOLLIN}, events[MAX_EVENTS];
    while ((option = getopt(argc, argv, "p:h:b:n:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'h': host = optarg; break;
        case 'b': backend_port = atoi(optarg); break;
        case 'n': backends = atoi(optarg); break;
        default:
            fprintf(stderr, "usage: floor -p PORT [-h BACKEND_ADDRESS_OR_DIRECTORY] [-b BACKEND_PORT] [-n BACKENDS]\n");
            return 2;
        }
    }
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    while (backends-- > 0)
        open_backend(host, backend_port);
    listener = listen_at(port);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll_ctl");
    for (;;) {
        int count = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int at = 0; at < count; at++) {
            struct end *end = events[at].data.ptr;
            if (!end)
                accept_all(listener);
            else if (end->is_backend)
                serve_backend(end);
            else
                serve_client(end);
        }
    }
}
