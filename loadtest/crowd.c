/* crowd: one to tens of thousands of PostgreSQL clients in one thread, cheap enough to leave the machine to
 * what it measures.
 *
 * Every client repeats a pgbench script; its next transaction begins when the last is answered, or after a time
 * of thought (-i). All log in first, at most 64 on their way at once; then crowd prints "ready" and waits for a line
 * on its standard input, so that whoever started it can read clocks without the log-ins in them. After the given time
 * no new transaction begins, and a line of JSON tells transactions, latencies, the fewest and the most of a client,
 * and errors. The connections end when standard input does. With -C every transaction has a connection of its own.
 *
 * Rows are not looked at: message headers are followed, and bodies skipped. Trust log-in only, no TLS: for
 * these there is pgbench. COPY FROM STDIN is fed from one block of zeros and newlines (-b bytes).
 *
 *     cc -O2 -o crowd crowd*.c && ./crowd -p 6432 -c 10000 -t 10 -s scripts/select.sql </dev/tty
 *
 * Source: epoll(7); PostgreSQL manual, "Message Flow".
 */
#define _GNU_SOURCE
#include "crowd.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 * 1024, MAX_EVENTS = 512, LOGGING_IN = 64, WHEEL_MS = 8192, COPY_BYTES = 64 * 1024 };

struct client {
    int fd;                     /* -1 = none */
    bool logged_in, parsed, failed, copying;
    char status;                /* of the last ReadyForQuery */
    uint8_t head_bytes;
    char head[5];               /* of the message that is being received */
    char error[120];
    int step;                   /* the statement that is under way; -1 = idle */
    int64_t left;               /* of that message's body; of what COPY is fed, while copying */
    int64_t values[MAX_VARIABLES];
    uint64_t began_ns, connected_ns, transactions;
    struct client *next;        /* who thinks until the same millisecond */
};

static struct options { const char *host; int port, clients; double seconds; enum protocol protocol; bool connects;
                        double think_ms; int64_t copy_bytes; const char *user, *database; } options
    = {.host = "127.0.0.1", .port = 6432, .clients = 1, .seconds = 5, .user = "bench", .database = "bench"};
static struct script script;
static struct histogram latencies, connects;
static struct client *clients, *thinking[WHEEL_MS];
static int epoll, logged_in, logging_in, alive, busy;
static uint64_t transactions, errors, wheel_ms, random_state = 88172645463325252u;
static char first_error[160], chunk[CHUNK_BYTES];
static bool running;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t draw(void)      /* xorshift64: the same numbers in every run */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void fail(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void note_error(const char *what)
{
    errors++;
    if (!*first_error)
        snprintf(first_error, sizeof first_error, "%s", what);
}

static void send_all(struct client *c, const char *data, size_t size)
{
    while (size) {
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {         /* only what COPY feeds is ever this much */
            poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, -1);
        } else if (n < 0) {
            return;                             /* the end of it is read soon */
        } else {
            data += n;
            size -= n;
        }
    }
}

/* ---- a connection ---- */

static void open_connection(struct client *c)
{
    bool is_unix = options.host[0] == '/';
    struct sockaddr_un at_path = {.sun_family = AF_UNIX};
    struct sockaddr_in at_port = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    char startup[256] = {0, 0, 0, 0, 0, 3, 0, 0};
    int on = 1, rc;
    c->fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (is_unix ? 0 : SOCK_NONBLOCK), 0);
    if (c->fd < 0)
        fail("socket");
    if (is_unix) {
        snprintf(at_path.sun_path, sizeof at_path.sun_path, "%s/.s.PGSQL.%d", options.host, options.port);
        rc = connect(c->fd, (struct sockaddr *)&at_path, sizeof at_path);
    } else {
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        inet_pton(AF_INET, options.host, &at_port.sin_addr);
        rc = connect(c->fd, (struct sockaddr *)&at_port, sizeof at_port);
        if (rc < 0 && errno == EINPROGRESS) {   /* over loopback this takes no time */
            poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, 10000);
            rc = connect(c->fd, (struct sockaddr *)&at_port, sizeof at_port);
            rc = rc < 0 && errno == EISCONN ? 0 : rc;
        }
    }
    if (rc < 0)
        fail("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl");
    size_t size = 8 + sprintf(startup + 8, "user%c%s%cdatabase%c%s%c", 0, options.user, 0, 0, options.database, 0) + 1;
    uint32_t n = htonl(size);
    memcpy(startup, &n, 4);
    c->logged_in = c->parsed = c->copying = false;
    c->head_bytes = c->left = 0;
    c->step = -1;
    send_all(c, startup, size);
    logging_in++;
}

static void close_connection(struct client *c)
{
    if (!c->logged_in)
        logging_in--;
    close(c->fd);
    c->fd = -1;
}

/* ---- a transaction ---- */

static void send_step(struct client *c)
{
    char message[MAX_MESSAGE_BYTES];
    send_all(c, message, put_statement(message, &script, c->step, options.protocol, !c->parsed, c->values));
}

static void begin_transaction(struct client *c, uint64_t now)
{
    c->began_ns = now;
    c->failed = false;
    busy++;
    if (options.connects) {
        open_connection(c);
        return;
    }
    c->step = 0;
    for (int i = 0; i < script.variable_count; i++)
        c->values[i] = script.variables[i].low
                       + draw() % (script.variables[i].high - script.variables[i].low + 1);
    send_step(c);
}

static void think(struct client *c, uint64_t now)
{
    uint64_t wait_ms = options.think_ms * (0.5 + draw() % 1024 / 1024.0);
    wait_ms = wait_ms < 1 ? 1 : wait_ms < WHEEL_MS ? wait_ms : WHEEL_MS - 1;
    struct client **place = &thinking[(now / 1000000 + wait_ms) % WHEEL_MS];
    c->next = *place;
    *place = c;
}

static void wake_thinkers(uint64_t now)
{
    for (; wheel_ms <= now / 1000000; wheel_ms++) {
        struct client *c = thinking[wheel_ms % WHEEL_MS], *next;
        thinking[wheel_ms % WHEEL_MS] = NULL;
        for (; c; c = next) {
            next = c->next;
            if (running)
                begin_transaction(c, now);
        }
    }
}

static void end_transaction(struct client *c)
{
    uint64_t now = now_ns();
    c->step = -1;
    c->parsed = true;
    busy--;
    if (options.connects) {
        send_all(c, "X\0\0\0\4", 5);
        close_connection(c);
    }
    if (!c->failed) {
        c->transactions++;
        transactions++;
        add(&latencies, now - c->began_ns);
    }
    if (!running)
        return;
    if (options.think_ms)
        think(c, now);
    else
        begin_transaction(c, now);
}

/* ---- what is received ---- */

static void take_ready(struct client *c)
{
    if (!c->logged_in) {
        c->logged_in = true;
        logging_in--;
        if (!options.connects) {
            logged_in++;
            return;
        }
        add(&connects, now_ns() - c->began_ns);
        for (int i = 0; i < script.variable_count; i++)
            c->values[i] = script.variables[i].low;
    }
    if (c->failed) {                            /* the rest of the script is left out */
        char message[64];
        c->step = script.statement_count;
        if (c->status != 'I') {
            send_all(c, message, put_query(message, "ROLLBACK"));
            return;
        }
    }
    if (++c->step < script.statement_count)
        send_step(c);
    else
        end_transaction(c);
}

/* An ErrorResponse, as much of it as has been received. */
static void take_error(struct client *c, const char *body, size_t size)
{
    for (size_t at = 0; at < size && body[at]; at += strnlen(body + at, size - at) + 1)
        if (body[at] == 'M')
            snprintf(c->error, sizeof c->error, "%.*s", (int)(size - at - 1), body + at + 1);
    c->failed = true;
    note_error(c->error);
}

static void feed_copy(struct client *c)
{
    static char block[5 + COPY_BYTES];
    uint32_t n = htonl(4 + COPY_BYTES);
    block[0] = 'd';
    memcpy(block + 1, &n, 4);
    memset(block + 5, '0', COPY_BYTES);
    for (int at = 99; at < COPY_BYTES; at += 100)
        block[5 + at] = '\n';
    block[4 + COPY_BYTES] = '\n';
    for (int64_t fed = 0; fed < options.copy_bytes; fed += COPY_BYTES)
        send_all(c, block, sizeof block);
    send_all(c, "c\0\0\0\4", 5);
}

/* The part of a message's body that has come; headers are whole. */
static void take_body(struct client *c, const char *body, size_t size)
{
    if (c->head[0] == 'E')
        take_error(c, body, size);
    else if (c->head[0] == 'Z' && size)
        c->status = *body;
    else if (c->head[0] == 'R' && size >= 4 && memcmp(body, "\0\0\0\0", 4)) {
        fprintf(stderr, "crowd: the server wants a password, and crowd has none: use trust\n");
        exit(1);
    }
}

static void take_message_end(struct client *c)
{
    char type = c->head[0];
    c->head_bytes = 0;
    if (type == 'G')
        feed_copy(c);
    else if (type == 'Z')
        take_ready(c);
}

static void take(struct client *c, const char *data, size_t size)
{
    while (size && c->fd >= 0) {
        if (c->head_bytes < 5) {
            size_t n = 5 - c->head_bytes < size ? 5 - c->head_bytes : size;
            memcpy(c->head + c->head_bytes, data, n);
            c->head_bytes += n;
            data += n;
            size -= n;
            if (c->head_bytes < 5)
                return;
            uint32_t length;
            memcpy(&length, c->head + 1, 4);
            c->left = (int64_t)ntohl(length) - 4;
        }
        size_t n = c->left < (int64_t)size ? c->left : size;
        take_body(c, data, n);
        c->left -= n;
        data += n;
        size -= n;
        if (!c->left)
            take_message_end(c);
    }
}

static void lose(struct client *c, const char *how)
{
    bool was_busy = c->step >= 0 || options.connects;
    note_error(c->failed && *c->error ? c->error : how);
    close_connection(c);
    busy -= was_busy;
    if (options.connects && running)
        begin_transaction(c, now_ns());
    else
        alive--;
}

static void serve(struct client *c)
{
    ssize_t n = recv(c->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n > 0)
        take(c, chunk, n);
    else if (n == 0)
        lose(c, "the server closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        lose(c, strerror(errno));
}

static void wait_for_events(int timeout_ms)
{
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(epoll, events, MAX_EVENTS, timeout_ms);
    for (int at = 0; at < count; at++)
        if (((struct client *)events[at].data.ptr)->fd >= 0)
            serve(events[at].data.ptr);
}

/* ---- the whole ---- */

static void log_in_all(void)
{
    int opened = 0;
    while (logged_in < options.clients) {
        while (opened < options.clients && logging_in < LOGGING_IN)
            open_connection(&clients[opened++]);
        wait_for_events(1000);
        if (errors) {
            fprintf(stderr, "crowd: about the %dth of %d clients: %s\n", logged_in + 1, options.clients, first_error);
            exit(1);
        }
    }
}

static double run(void)
{
    uint64_t began = now_ns(), ends = began + options.seconds * 1e9, now = began;
    running = true;
    wheel_ms = now / 1000000;
    for (int i = 0; i < options.clients; i++) {
        if (options.think_ms)
            think(&clients[i], now - options.think_ms * 5e5);
        else
            begin_transaction(&clients[i], now_ns());
    }
    while ((now = now_ns()) < ends && alive) {
        wait_for_events(options.think_ms ? 1 : 100);
        if (options.think_ms)
            wake_thinkers(now_ns());
    }
    running = false;
    while (busy > 0 && alive && now_ns() < ends + 60000000000ull)
        wait_for_events(100);
    return (now_ns() - began) / 1e9;
}

static void tell(double seconds)
{
    uint64_t fewest = UINT64_MAX, most = 0;
    for (int i = 0; i < options.clients; i++) {
        fewest = clients[i].transactions < fewest ? clients[i].transactions : fewest;
        most = clients[i].transactions > most ? clients[i].transactions : most;
    }
    for (char *p = first_error; *p; p++)
        *p = *p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? ' ' : *p;
    printf("{\"transactions\": %lu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"highest_us\": %.1f, \"connect_p50_us\": %.1f, \"connect_p99_us\": %.1f, \"fewest\": %lu, \"most\": %lu, "
           "\"errors\": %lu, \"unfinished\": %d, \"first_error\": \"%s\"}\n",
           transactions, seconds, percentile(&latencies, 50) / 1e3, percentile(&latencies, 99) / 1e3,
           percentile(&latencies, 99.9) / 1e3, latencies.highest / 1e3, percentile(&connects, 50) / 1e3,
           percentile(&connects, 99) / 1e3, fewest, most, errors, busy, first_error);
    fflush(stdout);
}

static int usage(void)
{
    fprintf(stderr, "usage: crowd -s SCRIPT [-h ADDRESS_OR_DIRECTORY] [-p PORT] [-c CLIENTS] [-t SECONDS] [-m simple|extended|"
                    "prepared]\n             [-C: a connection for each transaction] [-i MS: mean time of thought] "
                    "[-b BYTES fed to COPY] [-U USER] [-d DATABASE]\n");
    return 2;
}

static bool read_options(int argc, char **argv)
{
    const char *path = NULL;
    int option;
    while ((option = getopt(argc, argv, "h:p:c:t:m:Ci:b:s:U:d:")) != -1) {
        switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.clients = atoi(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'm': options.protocol = *optarg == 'e' ? EXTENDED : *optarg == 'p' ? PREPARED : SIMPLE; break;
        case 'C': options.connects = true; break;
        case 'i': options.think_ms = atof(optarg); break;
        case 'b': options.copy_bytes = atoll(optarg); break;
        case 's': path = optarg; break;
        case 'U': options.user = optarg; break;
        case 'd': options.database = optarg; break;
        default: return false;
        }
    }
    if (!path || options.clients < 1 || strlen(options.user) + strlen(options.database) > 200)
        return false;
    read_script(&script, path);
    return true;
}

int main(int argc, char **argv)
{
    char line[8];
    if (!read_options(argc, argv))
        return usage();
    if (!(clients = calloc(options.clients, sizeof *clients)) || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("start");
    for (int i = 0; i < options.clients; i++)
        clients[i].fd = clients[i].step = -1;
    alive = options.clients;
    if (!options.connects)
        log_in_all();
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 0;
    tell(run());
    while (fgets(line, sizeof line, stdin))
        continue;
    return 0;
}
