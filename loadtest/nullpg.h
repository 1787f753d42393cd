/* What the three files of nullpg share: bytes, a statement's plan, a session. nullpg.c says what it is. */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes: a buffer that grows, and PostgreSQL's integers ---- */

struct buffer { char *data; size_t len, cap; };

static inline char *reserve(struct buffer *b, size_t more)
{
    if (b->len + more > b->cap) {
        while (b->cap < b->len + more)
            b->cap = b->cap ? b->cap * 2 : 512;
        if (!(b->data = realloc(b->data, b->cap)))
            abort();
    }
    return b->data + b->len;
}

static inline void put(struct buffer *b, const void *data, size_t len)
{
    memcpy(reserve(b, len), data, len);
    b->len += len;
}

static inline void put_byte(struct buffer *b, char c) { put(b, &c, 1); }
static inline void put_int16(struct buffer *b, int v) { uint16_t n = htons(v); put(b, &n, 2); }
static inline void put_int32(struct buffer *b, int64_t v) { uint32_t n = htonl(v); put(b, &n, 4); }
static inline void put_text(struct buffer *b, const char *s) { put(b, s, strlen(s) + 1); }

static inline int32_t int32_at(const char *p) { uint32_t n; memcpy(&n, p, 4); return ntohl(n); }
static inline int16_t int16_at(const char *p) { uint16_t n; memcpy(&n, p, 2); return ntohs(n); }

/* begin gives where the length belongs; end writes it. `more`: bytes of the message that come from elsewhere. */
static inline size_t begin(struct buffer *b, char type)
{
    put_byte(b, type);
    put_int32(b, 0);
    return b->len - 4;
}

static inline void end(struct buffer *b, size_t at, size_t more)
{
    uint32_t n = htonl(b->len - at + more);
    memcpy(b->data + at, &n, 4);
}

/* ---- nullpg_statement.c: what a statement's text asks for ---- */

enum kind { NOTHING, ROW, PEAK, BEGIN, COMMIT, ROLLBACK, SET, OTHER, COPY_IN, COPY_OUT, REFUSED };

struct plan {
    uint8_t kind;
    bool binary;            /* of a portal: how the client wants its row */
    int16_t parameters;     /* $1 .. $n */
    uint32_t bytes;         /* of the row; 0 = it is the value below */
    uint32_t rows;
    const char *setting;    /* SET: the reported name, or NULL */
    char tag[32];           /* CommandComplete */
    char value[64];         /* of the row, or of the setting */
};

enum { REPORTED_COUNT = 14 };
extern const char *const REPORTED[REPORTED_COUNT][2];   /* ParameterStatus: name, value at log-in */

char *statement_end(char *p);               /* the ';' that ends the statement at p, or the end of the text */
struct plan read_statement(char *text);
int count_parameters(const char *text);

struct plans { uint64_t *names; struct plan *plans; int count, cap; };     /* by the hash of their names */

int find_plan(const struct plans *known, const char *name);     /* its index, or -1 */
void keep_plan(struct plans *known, const char *name, const struct plan *plan);
void forget_plan(struct plans *known, const char *name);

/* ---- a session ---- */

struct session {
    int fd;
    bool logged_in;
    bool skipping;          /* after an error, to the next Sync */
    bool blocked;           /* the socket is full: nothing is read until it has room */
    bool over;              /* to be closed */
    bool copying;           /* between CopyInResponse and CopyDone or CopyFail */
    char status;            /* ReadyForQuery: I, T, E */
    struct buffer in, out;
    size_t sent;            /* of out */
    size_t filler_at;       /* where in out `filler` bytes of a large row, or of many rows, go */
    size_t filler;
    struct buffer pattern;  /* what the filler repeats: whole rows; empty = one large row's letters */
    size_t pattern_at;
    struct plans statements, portals;
};

/* ---- nullpg_answer.c ---- */

extern int backends, peak;                  /* sessions logged in now, and the most at once */

/* Answers the whole messages in data into s->out; gives the bytes it used. Stops at a row too large to buffer. */
size_t answer(struct session *s, char *data, size_t len);
