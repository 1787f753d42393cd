/* What the three files of crowd share: a script's statements, a histogram. crowd.c says what it is. */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- crowd_script.c: pgbench's scripts, read once, and the messages that a statement is sent as ---- */

enum { MAX_STATEMENTS = 32, MAX_VARIABLES = 8, MAX_MESSAGE_BYTES = 64 * 1024 };
enum protocol { SIMPLE, EXTENDED, PREPARED };

struct variable { char name[32]; int64_t low, high; };      /* \set NAME random(LOW, HIGH) */

struct statement {
    char *text;                 /* with :NAME */
    char *numbered;             /* with $1, $2 … */
    int uses[MAX_VARIABLES];    /* which variable $n is */
    int parameters;
};

struct script {
    struct statement statements[MAX_STATEMENTS];
    struct variable variables[MAX_VARIABLES];
    int statement_count, variable_count;
};

void read_script(struct script *script, const char *path);

/* A message of a text: the type, the length, the text and its zero. Gives its size. */
size_t put_query(char *to, const char *text);

/* The messages that ask a statement, with the values of the script's variables. Gives their size. */
size_t put_statement(char *to, const struct script *script, int index, enum protocol protocol, bool parse,
                     const int64_t *values);

/* ---- crowd_latency.c: a histogram whose buckets are a thirty-second of their value wide ---- */

struct histogram { uint64_t counts[64 * 32], total; uint64_t highest; };

void add(struct histogram *histogram, uint64_t value);
double percentile(const struct histogram *histogram, double percent);
