/* From a statement's text to its plan, where the first word decides; and the plans a session has named. */
#define _GNU_SOURCE
#include "nullpg.h"
#include <ctype.h>
#include <stdio.h>

enum { MAX_ROW_BYTES = 1 << 30 };

const char *const REPORTED[REPORTED_COUNT][2] = {      /* as PostgreSQL 16 reports them */
    {"application_name", ""},
    {"client_encoding", "UTF8"},
    {"DateStyle", "ISO, MDY"},
    {"default_transaction_read_only", "off"},
    {"in_hot_standby", "off"},
    {"integer_datetimes", "on"},
    {"IntervalStyle", "postgres"},
    {"is_superuser", "off"},
    {"scram_iterations", "4096"},
    {"server_encoding", "UTF8"},
    {"server_version", "16.0"},
    {"session_authorization", ""},
    {"standard_conforming_strings", "on"},
    {"TimeZone", "UTC"},
};

static const struct { const char *word; enum kind kind; const char *tag; } FIRST_WORDS[] = {
    {"SELECT", ROW, "SELECT 1"},
    {"VALUES", ROW, "SELECT 1"},
    {"WITH", ROW, "SELECT 1"},
    {"TABLE", ROW, "SELECT 1"},
    {"SHOW", ROW, "SHOW"},
    {"FETCH", ROW, "FETCH 1"},
    {"EXPLAIN", ROW, "EXPLAIN"},
    {"BEGIN", BEGIN, "BEGIN"},
    {"START", BEGIN, "START TRANSACTION"},
    {"COMMIT", COMMIT, "COMMIT"},
    {"END", COMMIT, "COMMIT"},
    {"ROLLBACK", ROLLBACK, "ROLLBACK"},
    {"ABORT", ROLLBACK, "ROLLBACK"},
    {"SET", SET, "SET"},
    {"UPDATE", OTHER, "UPDATE 1"},
    {"INSERT", OTHER, "INSERT 0 1"},
    {"DELETE", OTHER, "DELETE 1"},
    {"DISCARD", OTHER, "DISCARD ALL"},
    {"COPY", COPY_OUT, "COPY"},
    {"DO", REFUSED, "DO"},
};

static int reported(const char *name, size_t len)
{
    for (int i = 0; i < REPORTED_COUNT; i++)
        if (strlen(REPORTED[i][0]) == len && !strncasecmp(REPORTED[i][0], name, len))
            return i;
    return -1;
}

/* Past white space and comments. */
static char *skip_blanks(char *p)
{
    for (;;) {
        char *comment_end = p[0] == '/' && p[1] == '*' ? strstr(p + 2, "*/") : NULL;
        if (isspace((unsigned char)*p))
            p++;
        else if (p[0] == '-' && p[1] == '-')
            p += strcspn(p, "\n");
        else if (comment_end)
            p = comment_end + 2;
        else
            return p;
    }
}

char *statement_end(char *p)
{
    while (*(p += strcspn(p, ";'\"-/")) && *p != ';') {
        if (*p == '\'' || *p == '"') {
            char *closing = strchr(p + 1, *p);
            p = closing ? closing + 1 : p + strlen(p);
        } else {
            char *after = skip_blanks(p);
            p = after > p ? after : p + 1;
        }
    }
    return p;
}

/* SET [SESSION] name {TO | =} value: fills in the setting if PostgreSQL would report it. */
static void read_setting(struct plan *plan, const char *p)
{
    p += strspn(p, " ");
    if (!strncasecmp(p, "SESSION ", 8))
        p += 8 + strspn(p + 8, " ");
    size_t len = strcspn(p, " =");
    int i = reported(p, len);
    p += len;
    p += strspn(p, " =");
    if (!strncasecmp(p, "TO ", 3))
        p += 3 + strspn(p + 3, " ");
    if (i < 0)
        return;
    plan->setting = REPORTED[i][0];
    len = *p == '\'' ? strcspn(++p, "'") : strcspn(p, " ");
    if (!strncasecmp(p, "DEFAULT", 7))
        snprintf(plan->value, sizeof plan->value, "%s", REPORTED[i][1]);
    else
        snprintf(plan->value, sizeof plan->value, "%.*s", (int)len, p);
}

static void read_show(struct plan *plan, const char *name)
{
    name += strspn(name, " ");
    size_t len = strcspn(name, " ");
    int i = reported(name, len);
    if (i >= 0)
        strcpy(plan->value, REPORTED[i][1]);
    else if (!strncasecmp(name, "peak_backends", len))
        plan->kind = PEAK;
}

/* The comment bytes=N, or bytes=N rows=M. */
static void read_size(struct plan *plan, const char *comment)
{
    long bytes = 0, rows = 1;
    sscanf(comment, "/* bytes=%ld rows=%ld", &bytes, &rows);
    plan->bytes = bytes < 0 ? 0 : bytes > MAX_ROW_BYTES ? MAX_ROW_BYTES : bytes;
    plan->rows = rows < 1 || plan->bytes < 1 ? 1 : rows > INT32_MAX ? INT32_MAX : rows;
    if (plan->rows > 1)
        snprintf(plan->tag, sizeof plan->tag, "%s %u", plan->kind == COPY_OUT ? "COPY" : "SELECT", plan->rows);
}

struct plan read_statement(char *text)
{
    struct plan plan = {.kind = OTHER, .value = "1", .rows = 1};
    char *word = skip_blanks(text), *size = strstr(text, "/* bytes=");
    size_t len = 0;
    for (; isalpha((unsigned char)word[len]) && len < sizeof plan.tag - 1; len++)
        plan.tag[len] = toupper((unsigned char)word[len]);
    for (size_t i = 0; i < sizeof FIRST_WORDS / sizeof *FIRST_WORDS; i++)
        if (!strcmp(plan.tag, FIRST_WORDS[i].word)) {
            plan.kind = FIRST_WORDS[i].kind;
            strcpy(plan.tag, FIRST_WORDS[i].tag);
            break;
        }
    if (!*word)
        plan.kind = NOTHING;
    else if (plan.kind == SET)
        read_setting(&plan, word + len);
    else if (!strcmp(plan.tag, "SHOW"))
        read_show(&plan, word + len);
    else if (plan.kind == ROLLBACK && strcasestr(word, " to "))
        plan.kind = OTHER;              /* to a savepoint: the transaction goes on */
    else if (plan.kind == ROW && strstr(word, "pg_partitioned_table"))
        plan.kind = REFUSED;            /* pgbench -S asks, and takes an error for "there are no partitions" */
    else if (plan.kind == ROW && strstr(word, "pg_catalog.")) {
        plan.kind = OTHER;              /* what a pooler asks about the session: there is nothing to tell */
        strcpy(plan.tag, "SELECT 0");
    } else if (plan.kind == COPY_OUT && strcasestr(word, "from stdin")) {
        plan.kind = COPY_IN;
    } else if (size) {
        read_size(&plan, size);
    }
    return plan;
}

int count_parameters(const char *text)
{
    int highest = 0;
    while ((text = strchr(text, '$'))) {
        int n = atoi(++text);
        highest = n > highest && n <= INT16_MAX ? n : highest;
    }
    return highest;
}

/* ---- plans by name ---- */

static uint64_t hash(const char *name)  /* FNV-1a, 64 bits: two names in one session will not meet */
{
    uint64_t h = 14695981039346656037u;
    while (*name)
        h = (h ^ (unsigned char)*name++) * 1099511628211u;
    return h;
}

int find_plan(const struct plans *known, const char *name)
{
    uint64_t h = hash(name);
    for (int i = 0; i < known->count; i++)
        if (known->names[i] == h)
            return i;
    return -1;
}

void keep_plan(struct plans *known, const char *name, const struct plan *plan)
{
    int i = find_plan(known, name);
    if (i < 0 && (i = known->count++) == known->cap) {
        known->cap = known->cap ? known->cap * 2 : 4;
        known->names = realloc(known->names, known->cap * sizeof *known->names);
        known->plans = realloc(known->plans, known->cap * sizeof *known->plans);
        if (!known->names || !known->plans)
            abort();
    }
    known->names[i] = hash(name);
    known->plans[i] = *plan;
}

void forget_plan(struct plans *known, const char *name)
{
    int i = find_plan(known, name);
    if (i >= 0) {                       /* to close what is not there is no error */
        known->names[i] = known->names[--known->count];
        known->plans[i] = known->plans[known->count];
    }
}
