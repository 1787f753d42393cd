/* Every message a client may send, and its answer. No socket is touched here: s->out is sent by nullpg.c.
 *
 * Sources: PostgreSQL manual, chapter Frontend/Backend Protocol, sections Message Flow and Message Formats.
 */
#include "nullpg.h"
#include <stdio.h>
#include <unistd.h>

enum {
    BUFFERED_ROW_BYTES = 32 * 1024,     /* a larger row is sent as filler, without being built */
    BLOCK_BYTES = 128 * 1024,           /* of many rows, about what is built of them */
    MAX_MESSAGE_BYTES = 1 << 30,
    MAX_STARTUP_BYTES = 10000,
    INT4 = 23, TEXT = 25,               /* pg_type.oid */
    CANCEL_REQUEST = 80877102, SSL_REQUEST = 80877103, GSSENC_REQUEST = 80877104,
};

int backends, peak;

/* ---- replies ---- */

static void put_empty(struct session *s, char type) { end(&s->out, begin(&s->out, type), 0); }

static void put_error(struct session *s, const char *severity, const char *sqlstate, const char *message)
{
    struct buffer *b = &s->out;
    size_t at = begin(b, 'E');
    const char *const fields[][2] = {{"S", severity}, {"V", severity}, {"C", sqlstate}, {"M", message}};
    for (int i = 0; i < 4; i++) {
        put_byte(b, *fields[i][0]);
        put_text(b, fields[i][1]);
    }
    put_byte(b, 0);
    end(b, at, 0);
    s->skipping = true;
    s->over = !strcmp(severity, "FATAL");
    s->status = s->status == 'T' ? 'E' : s->status;
}

static void put_parameter_status(struct buffer *b, const char *name, const char *value)
{
    size_t at = begin(b, 'S');
    put_text(b, name);
    put_text(b, value);
    end(b, at, 0);
}

static void put_ready_for_query(struct session *s)
{
    size_t at = begin(&s->out, 'Z');
    put_byte(&s->out, s->status);
    end(&s->out, at, 0);
    s->skipping = false;
}

static bool has_row(const struct plan *plan) { return plan->kind == ROW || plan->kind == PEAK; }
static bool is_int4(const struct plan *plan) { return plan->kind == ROW && !plan->bytes && !strcmp(plan->value, "1"); }

static void put_row_description(struct session *s, const struct plan *plan)
{
    struct buffer *b = &s->out;
    if (!has_row(plan)) {
        put_empty(s, 'n');              /* NoData */
        return;
    }
    size_t at = begin(b, 'T');
    put_int16(b, 1);
    put_text(b, "?column?");
    put_int32(b, 0);                    /* of no table */
    put_int16(b, 0);
    put_int32(b, is_int4(plan) ? INT4 : TEXT);
    put_int16(b, is_int4(plan) ? 4 : -1);
    put_int32(b, -1);
    put_int16(b, plan->binary);
    end(b, at, 0);
}

static void put_data_row(struct session *s, const struct plan *plan)
{
    struct buffer *b = &s->out;
    size_t at = begin(b, 'D');
    put_int16(b, 1);
    if (plan->bytes > BUFFERED_ROW_BYTES && !s->filler) {
        put_int32(b, plan->bytes);
        end(b, at, plan->bytes);
        s->filler_at = b->len;
        s->filler = plan->bytes;
        return;
    }
    if (plan->bytes) {
        put_int32(b, plan->bytes);
        memset(reserve(b, plan->bytes), 'x', plan->bytes);
        b->len += plan->bytes;
    } else if (plan->binary && is_int4(plan)) {
        put_int32(b, 4);
        put_int32(b, 1);
    } else {
        put_int32(b, strlen(plan->value));
        put(b, plan->value, strlen(plan->value));
    }
    end(b, at, 0);
}

/* Many rows: as many as go into a block, which is then sent again and again; each as a DataRow or as CopyData. */
static void put_rows(struct session *s, const struct plan *plan)
{
    struct buffer *b = &s->pattern;
    uint32_t rows = BLOCK_BYTES / plan->bytes + 1;
    if (s->filler)
        put_error(s, "ERROR", "0A000", "nullpg sends one large result at a time");
    rows = rows < plan->rows ? rows : plan->rows;
    while (plan->rows % rows)
        rows--;                         /* so that the block is sent a whole number of times */
    for (uint32_t row = 0; row < rows && !s->skipping; row++) {
        size_t at = begin(b, plan->kind == COPY_OUT ? 'd' : 'D');
        if (plan->kind != COPY_OUT) {
            put_int16(b, 1);
            put_int32(b, plan->bytes);
        }
        memset(reserve(b, plan->bytes), 'x', plan->bytes);
        b->len += plan->bytes;
        if (plan->kind == COPY_OUT)
            b->data[b->len - 1] = '\n';
        end(b, at, 0);
    }
    s->filler_at = s->out.len;
    s->filler = b->len * (plan->rows / rows);
}

/* CopyInResponse or CopyOutResponse: one column of text. */
static void put_copy_response(struct session *s, char type)
{
    size_t at = begin(&s->out, type);
    put_byte(&s->out, 0);
    put_int16(&s->out, 1);
    put_int16(&s->out, 0);
    end(&s->out, at, 0);
}

static void put_command_complete(struct session *s, const char *tag)
{
    size_t at = begin(&s->out, 'C');
    put_text(&s->out, tag);
    end(&s->out, at, 0);
}

/* Answers a plan up to its CommandComplete, or with an error. */
static void execute(struct session *s, struct plan *plan)
{
    const char *tag = plan->tag;
    switch ((enum kind)plan->kind) {
    case NOTHING:
        put_empty(s, 'I');              /* EmptyQueryResponse: there is no CommandComplete */
        return;
    case REFUSED:
        put_error(s, "ERROR", "0A000", "nullpg does not know this statement");
        return;
    case PEAK:
        snprintf(plan->value, sizeof plan->value, "%d", peak);
        peak = backends;
        /* fall through */
    case ROW:
        if (plan->rows > 1)
            put_rows(s, plan);
        else
            put_data_row(s, plan);
        break;
    case COPY_OUT:
        put_copy_response(s, 'H');
        if (plan->bytes)
            put_rows(s, plan);
        put_empty(s, 'c');
        break;
    case COPY_IN:
        put_copy_response(s, 'G');
        s->copying = true;
        return;                         /* the rest when CopyDone has come */
    case BEGIN:
        s->status = s->status == 'I' ? 'T' : s->status;
        break;
    case COMMIT: case ROLLBACK:
        tag = s->status == 'E' ? "ROLLBACK" : tag;
        s->status = 'I';
        break;
    case SET:
        if (plan->setting)
            put_parameter_status(&s->out, plan->setting, plan->value);
        break;
    case OTHER:
        break;
    }
    if (!s->skipping)
        put_command_complete(s, tag);
}

/* ---- messages ---- */

static void answer_query(struct session *s, char *text)
{
    bool more = true, answered = false;
    while (more && !s->skipping && !s->copying) {
        char *stop = statement_end(text);
        more = *stop != 0;
        *stop = 0;
        struct plan plan = read_statement(text);
        text = stop + 1;
        if (plan.kind == NOTHING && (more || answered))
            continue;
        if (has_row(&plan))
            put_row_description(s, &plan);
        execute(s, &plan);
        answered = true;
    }
    if (!s->copying)
        put_ready_for_query(s);
}

/* What comes between CopyInResponse and its end; only a simple query may begin it. */
static void answer_copying(struct session *s, char type)
{
    if (type == 'd' || type == 'H' || type == 'S')
        return;
    s->copying = false;
    if (type == 'c')
        put_command_complete(s, "COPY 0");
    else
        put_error(s, "ERROR", "57014", "COPY from stdin failed");
    put_ready_for_query(s);
}

static void answer_parse(struct session *s, const char *name, char *text)
{
    if (*name && find_plan(&s->statements, name) >= 0) {
        put_error(s, "ERROR", "42P05", "prepared statement already exists");
        return;
    }
    struct plan plan = read_statement(text);
    plan.parameters = count_parameters(text);
    keep_plan(&s->statements, name, &plan);
    put_empty(s, '1');
}

/* Bind after its two names: formats, values, result formats. False when they do not fit the message. */
static bool read_result_format(const char *p, const char *stop, bool *binary)
{
    if (stop - p < 2 || int16_at(p) < 0 || stop - p < 4 + 2 * int16_at(p))
        return false;
    p += 2 + 2 * int16_at(p);
    int values = int16_at(p);
    p += 2;
    while (values-- > 0) {
        if (stop - p < 4)
            return false;
        int32_t len = int32_at(p);      /* -1: NULL */
        p += 4;
        if (len > 0 && stop - p < len)
            return false;
        p += len > 0 ? len : 0;
    }
    if (stop - p < 2)
        return false;
    *binary = int16_at(p) > 0 && stop - p >= 4 && int16_at(p + 2) == 1;
    return true;
}

static void answer_bind(struct session *s, const char *portal, const char *name, const char *rest, const char *stop)
{
    int i = find_plan(&s->statements, name);
    if (i < 0) {
        put_error(s, "ERROR", "26000", "prepared statement does not exist");
        return;
    }
    struct plan plan = s->statements.plans[i];
    if (!read_result_format(rest, stop, &plan.binary)) {
        put_error(s, "FATAL", "08P01", "invalid Bind message");
        return;
    }
    keep_plan(&s->portals, portal, &plan);
    put_empty(s, '2');
}

static void answer_describe(struct session *s, bool is_statement, const char *name)
{
    struct plans *known = is_statement ? &s->statements : &s->portals;
    int i = find_plan(known, name);
    if (i < 0) {
        put_error(s, "ERROR", is_statement ? "26000" : "34000", "no prepared statement or portal of this name");
        return;
    }
    if (is_statement) {
        size_t at = begin(&s->out, 't');
        put_int16(&s->out, known->plans[i].parameters);
        for (int n = 0; n < known->plans[i].parameters; n++)
            put_int32(&s->out, TEXT);
        end(&s->out, at, 0);
    }
    put_row_description(s, &known->plans[i]);
}

static void answer_execute(struct session *s, const char *portal)
{
    int i = find_plan(&s->portals, portal);
    if (i < 0)
        put_error(s, "ERROR", "34000", "portal does not exist");
    else if (s->portals.plans[i].kind == COPY_IN)
        put_error(s, "ERROR", "0A000", "nullpg takes COPY FROM STDIN by simple query alone");
    else
        execute(s, &s->portals.plans[i]);
}

static void answer_sync(struct session *s)
{
    if (s->status == 'I')
        s->portals.count = 0;           /* they live as long as their transaction */
    put_ready_for_query(s);
}

/* One message. Texts are used only when their closing zero is inside it. */
static void answer_message(struct session *s, char type, char *body, char *stop)
{
    char *first = memchr(body, 0, stop - body);
    char *second = first ? memchr(first + 1, 0, stop - first - 1) : NULL;
    if (type == 'X') {
        s->over = true;
    } else if (s->copying) {
        answer_copying(s, type);
    } else if (type == 'S') {
        answer_sync(s);
    } else if (s->skipping || type == 'H' || type == 'd' || type == 'c' || type == 'f') {
        return;                         /* Flush: whatever is answered is sent soon; COPY that has failed */
    } else if (type == 'Q' && first) {
        answer_query(s, body);
    } else if (type == 'P' && second) {
        answer_parse(s, body, first + 1);
    } else if (type == 'B' && second) {
        answer_bind(s, body, first + 1, second + 1, stop);
    } else if (type == 'D' && first > body) {
        answer_describe(s, *body == 'S', body + 1);
    } else if (type == 'E' && first) {
        answer_execute(s, body);
    } else if (type == 'C' && first > body) {
        forget_plan(*body == 'S' ? &s->statements : &s->portals, body + 1);
        put_empty(s, '3');
    } else {
        put_error(s, "FATAL", "08P01", "invalid message");
    }
}

/* ---- log-in ---- */

/* The value of a name in the StartupMessage's list, which is known to end with a zero before stop. */
static const char *startup_value(const char *p, const char *stop, const char *name)
{
    while (p < stop && *p) {
        const char *value = p + strlen(p) + 1;
        if (value >= stop)
            return NULL;
        if (!strcmp(p, name))
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

static void welcome(struct session *s, const char *list, const char *stop)
{
    struct buffer *b = &s->out;
    const char *user = startup_value(list, stop, "user");
    if (!user) {
        put_error(s, "FATAL", "28000", "the startup packet names no user");
        return;
    }
    size_t at = begin(b, 'R');
    put_int32(b, 0);                    /* AuthenticationOk */
    end(b, at, 0);
    for (int i = 0; i < REPORTED_COUNT; i++) {
        const char *name = REPORTED[i][0], *asked = startup_value(list, stop, name);
        bool is_user = !strcmp(name, "session_authorization");
        put_parameter_status(b, name, is_user ? user : asked ? asked : REPORTED[i][1]);
    }
    at = begin(b, 'K');                 /* nothing here runs long enough to be cancelled: any key will do */
    put_int32(b, getpid() + s->fd);
    put_int32(b, s->fd);
    end(b, at, 0);
    s->status = 'I';
    s->logged_in = true;
    peak = ++backends > peak ? backends : peak;
    put_ready_for_query(s);
}

static void answer_startup(struct session *s, const char *body, const char *stop)
{
    int32_t code = int32_at(body);
    if (code == SSL_REQUEST || code == GSSENC_REQUEST) {
        put_byte(&s->out, 'N');
    } else if (code == CANCEL_REQUEST) {
        s->over = true;
    } else if (code >> 16 != 3 || stop[-1]) {
        put_error(s, "FATAL", "08P01", "invalid startup packet");
    } else {
        if (code & 0xffff) {            /* NegotiateProtocolVersion: 3.0, and no option is refused */
            size_t at = begin(&s->out, 'v');
            put_int32(&s->out, 0);
            put_int32(&s->out, 0);
            end(&s->out, at, 0);
        }
        welcome(s, body + 4, stop);
    }
}

size_t answer(struct session *s, char *data, size_t len)
{
    size_t used = 0;
    while (!s->over && !s->filler) {
        size_t head = s->logged_in ? 5 : 4;             /* a startup packet has no type byte */
        if (len - used < head)
            break;
        char *message = data + used;
        int32_t size = int32_at(message + head - 4);    /* counts itself */
        if (size < (s->logged_in ? 4 : 8) || size > (s->logged_in ? MAX_MESSAGE_BYTES : MAX_STARTUP_BYTES)) {
            put_error(s, "FATAL", "08P01", "invalid message length");
            break;
        }
        size_t whole = head - 4 + size;
        if (len - used < whole)
            break;
        if (s->logged_in)
            answer_message(s, *message, message + head, message + whole);
        else
            answer_startup(s, message + head, message + whole);
        used += whole;
    }
    return used;
}
