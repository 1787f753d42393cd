/* nullpg: a PostgreSQL that stores nothing and answers at once.
 *
 * Put behind a pooler, it makes the pooler the thing that is measured. It speaks protocol 3.0 well
 * enough for pgbench, psql, psycopg and asyncpg: trust log-in, simple and extended queries, named
 * statements, transaction status, ParameterStatus for SET. It is as strict as PostgreSQL where a
 * pooler could go wrong: an unknown statement name is an ERROR (26000), a taken one too (42P05).
 * Every SELECT answers one row, the int4 1; one with the comment bytes=N answers a text of N
 * bytes, and with bytes=N rows=M that M times, as COPY … TO STDOUT does; COPY … FROM STDIN swallows
 * what comes. SHOW peak_backends tells the most sessions at once since it was last asked.
 *
 * One thread, one epoll. All messages of one read are answered by one send, so that it costs little
 * itself; a row too large to buffer is sent from a block of filler, and stops the reading of its
 * session meanwhile. Here are the sockets, in nullpg_answer.c the protocol, in nullpg_statement.c
 * what a statement's text means.
 *
 *     cc -O2 -o nullpg nullpg*.c && ./nullpg -p 5432 -k /tmp
 *
 * Source: epoll(7).
 */
#define _GNU_SOURCE
#include "nullpg.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    KEEP_BYTES = 64 * 1024,     /* a buffer that grew beyond this is given back when it is empty */
};

static int epoll;

static void release_if_large(struct buffer *b)
{
    if (b->cap > KEEP_BYTES) {
        free(b->data);
        *b = (struct buffer){0};
    }
}

static void watch(struct session *s, int how, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (epoll_ctl(epoll, how, s->fd, &e) < 0)
        s->over = true;
}

static void close_session(struct session *s)
{
    backends -= s->logged_in;
    close(s->fd);
    free(s->in.data);
    free(s->out.data);
    free(s->pattern.data);
    free(s->statements.names);
    free(s->statements.plans);
    free(s->portals.names);
    free(s->portals.plans);
    free(s);
}

/* The next piece of the answer: what is built, up to the place of the filler; then that; then the rest. */
static ssize_t send_piece(struct session *s)
{
    static char filler[READ_BYTES];
    size_t stop = s->filler ? s->filler_at : s->out.len;
    int more = MSG_NOSIGNAL | (s->filler ? MSG_MORE : 0);
    ssize_t n;
    if (s->sent < stop) {
        n = send(s->fd, s->out.data + s->sent, stop - s->sent, more);
        s->sent += n > 0 ? n : 0;
        return n;
    }
    if (!*filler)
        memset(filler, 'x', sizeof filler);
    const char *from = s->pattern.len ? s->pattern.data + s->pattern_at : filler;
    size_t size = s->pattern.len ? s->pattern.len - s->pattern_at : sizeof filler;
    n = send(s->fd, from, s->filler < size ? s->filler : size, more);
    s->filler -= n > 0 ? n : 0;
    if (s->pattern.len)
        s->pattern_at = (s->pattern_at + (n > 0 ? n : 0)) % s->pattern.len;
    return n;
}

/* Sends what is answered. False when it cannot be sent now, or never. */
static bool flush(struct session *s)
{
    while (s->sent < s->out.len || s->filler) {
        if (send_piece(s) >= 0 || errno == EINTR)
            continue;
        if (errno != EAGAIN)
            s->over = true;
        else if (!s->blocked)
            watch(s, EPOLL_CTL_MOD, EPOLLOUT);
        s->blocked = true;
        return false;
    }
    if (s->blocked)
        watch(s, EPOLL_CTL_MOD, EPOLLIN);
    s->blocked = false;
    s->sent = s->out.len = s->pattern.len = s->pattern_at = 0;
    release_if_large(&s->out);
    release_if_large(&s->pattern);
    return true;
}

/* Keeps what was not used: `data` is the session's own buffer, or the one that all share. */
static void keep_rest(struct session *s, const char *data, size_t len, size_t used)
{
    if (data == s->in.data) {
        memmove(s->in.data, data + used, len - used);
        s->in.len = len - used;
    } else if (len > used) {
        put(&s->in, data + used, len - used);
    }
    if (!s->in.len)
        release_if_large(&s->in);
}

/* Answers the messages in data; a large row ends a turn, what follows it is answered when it is sent. */
static void converse(struct session *s, char *data, size_t len)
{
    size_t used;
    bool flushed;
    do {
        used = answer(s, data, len);
        flushed = flush(s);
        keep_rest(s, data, len, used);
        data = s->in.data;
        len = s->in.len;
    } while (flushed && used && len && !s->over);
}

/* One event of a session's socket: room to write when it was full, else bytes to read. */
static void serve(struct session *s)
{
    static char shared[READ_BYTES];
    if (s->blocked) {
        if (flush(s) && s->in.len)
            converse(s, s->in.data, s->in.len);
    } else {
        ssize_t n = recv(s->fd, shared, sizeof shared, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            s->over = true;
        } else if (n > 0 && s->in.len) {
            put(&s->in, shared, n);
            converse(s, s->in.data, s->in.len);
        } else if (n > 0) {
            converse(s, shared, n);
        }
    }
    if (s->over)
        close_session(s);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct session *s = calloc(1, sizeof *s);
        if (!s)
            abort();
        s->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);   /* means nothing on a Unix socket */
        watch(s, EPOLL_CTL_ADD, EPOLLIN);
        if (s->over)
            close_session(s);
    }
}

static int must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static int listen_tcp(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int on = 1, fd = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "nullpg: socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(fd, (struct sockaddr *)&a, len), "nullpg: bind");
    must(listen(fd, 4096), "nullpg: listen");
    must(getsockname(fd, (struct sockaddr *)&a, &len), "nullpg: getsockname");
    *port = ntohs(a.sin_port);
    return fd;
}

static int listen_unix(struct sockaddr_un *a, const char *folder, int port)
{
    int fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "nullpg: socket");
    a->sun_family = AF_UNIX;
    snprintf(a->sun_path, sizeof a->sun_path, "%s/.s.PGSQL.%d", folder, port);
    unlink(a->sun_path);
    must(bind(fd, (struct sockaddr *)a, sizeof *a), "nullpg: bind the Unix socket");
    must(chmod(a->sun_path, 0777), "nullpg: chmod");    /* as PostgreSQL's, whatever the umask */
    must(listen(fd, 4096), "nullpg: listen");
    return fd;
}

static volatile sig_atomic_t stopped;
static void stop(int signal) { stopped = signal; }

static void run(int *listeners, int count)
{
    epoll = must(epoll_create1(EPOLL_CLOEXEC), "nullpg: epoll_create1");
    for (int i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listeners[i]};
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &e), "nullpg: epoll_ctl");
    }
    while (!stopped) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int *listener = events[i].data.ptr;     /* or it is a session */
            if (listener == &listeners[0] || listener == &listeners[1])
                accept_all(*listener);
            else
                serve(events[i].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un unix_address = {0};
    const char *folder = NULL;
    int option, port = 0, listeners[2];
    while ((option = getopt(argc, argv, "p:k:")) != -1) {
        if (option == '?') {
            fprintf(stderr, "usage: nullpg [-p PORT] [-k UNIX_SOCKET_DIRECTORY]   (it prints the port it listens on)\n");
            return 2;
        }
        if (option == 'k')
            folder = optarg;
        else
            port = atoi(optarg);
    }
    sigaction(SIGINT, &(struct sigaction){.sa_handler = stop}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
    listeners[0] = listen_tcp(&port);
    if (folder)
        listeners[1] = listen_unix(&unix_address, folder, port);
    printf("%d\n", port);
    fflush(stdout);
    run(listeners, folder ? 2 : 1);
    if (folder)
        unlink(unix_address.sun_path);
    return 0;
}
