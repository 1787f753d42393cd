/* pgbench's scripts, as far as ours go: \set NAME random(LOW, HIGH), statements that end with a semicolon at the
 * end of a line, :NAME in them. What else there is ends the program with a word.
 *
 * Source: PostgreSQL manual, "pgbench", "Custom Scripts"; "Message Formats".
 */
#include "crowd.h"
#include <ctype.h>

static void refuse(const char *path, const char *line, const char *why)
{
    fprintf(stderr, "crowd: %s: %s: %s\n", path, why, line);
    exit(2);
}

static int find_variable(const struct script *script, const char *name, size_t len)
{
    for (int i = 0; i < script->variable_count; i++)
        if (strlen(script->variables[i].name) == len && !memcmp(script->variables[i].name, name, len))
            return i;
    return -1;
}

/* The next :NAME of a known variable; NULL when there is none. `index` is its variable, `len` its length. */
static const char *next_use(const struct script *script, const char *text, int *index, size_t *len)
{
    for (const char *p = text; (p = strchr(p, ':')); p += *len) {
        *len = 1;
        while (isalnum((unsigned char)p[*len]) || p[*len] == '_')
            ++*len;
        if ((*index = find_variable(script, p + 1, *len - 1)) >= 0)
            return p;
    }
    return NULL;
}

static void number_parameters(const struct script *script, struct statement *statement)
{
    char *to = statement->numbered = calloc(1, strlen(statement->text) + 4 * MAX_VARIABLES);
    const char *from = statement->text, *use;
    size_t len;
    int index;
    while ((use = next_use(script, from, &index, &len)) && statement->parameters < MAX_VARIABLES) {
        statement->uses[statement->parameters++] = index;
        to += sprintf(to, "%.*s$%d", (int)(use - from), from, statement->parameters);
        from = use + len;
    }
    strcpy(to, from);
}

void read_script(struct script *script, const char *path)
{
    char line[4096], text[MAX_MESSAGE_BYTES / 2] = "";
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        size_t len = strlen(line);
        struct variable *variable = &script->variables[script->variable_count];
        if (!len || !strncmp(line, "--", 2))
            continue;
        if (line[0] == '\\') {
            if (script->variable_count == MAX_VARIABLES
                || sscanf(line, "\\set %31s random(%ld, %ld)", variable->name, &variable->low, &variable->high) != 3)
                refuse(path, line, "only \\set NAME random(LOW, HIGH) is known, at most 8 times");
            script->variable_count++;
            continue;
        }
        if (strlen(text) + len + 2 > sizeof text || script->statement_count == MAX_STATEMENTS)
            refuse(path, line, "too long");
        strcat(strcat(text, *text ? "\n" : ""), line);
        if (line[len - 1] != ';')
            continue;
        struct statement *statement = &script->statements[script->statement_count++];
        statement->text = strdup(text);
        number_parameters(script, statement);
        *text = 0;
    }
    fclose(file);
    if (*text || !script->statement_count)
        refuse(path, text, "a statement ends with a semicolon at the end of a line");
}

/* ---- messages ---- */

static char *put_int16(char *to, int value)
{
    uint16_t n = htons(value);
    memcpy(to, &n, 2);
    return to + 2;
}

static char *begin(char *to, char type)
{
    *to = type;
    return to + 5;
}

static char *end(char *message, char *stop)
{
    uint32_t n = htonl(stop - message - 1);
    memcpy(message + 1, &n, 4);
    return stop;
}

static char *put_text(char *to, const char *text) { return stpcpy(to, text) + 1; }

/* A whole message of texts, each with its zero. */
static char *put_texts(char *to, char type, const char *prefix, const char *first, const char *second)
{
    char *p = put_text(stpcpy(begin(to, type), prefix), first);
    return end(to, second ? put_text(p, second) : p);
}

size_t put_query(char *to, const char *text) { return put_texts(to, 'Q', "", text, NULL) - to; }

static size_t put_simple(char *to, const struct script *script, const struct statement *statement, const int64_t *values)
{
    char *p = begin(to, 'Q');
    const char *from = statement->text, *use;
    size_t len;
    int index;
    while ((use = next_use(script, from, &index, &len))) {
        p += sprintf(p, "%.*s%ld", (int)(use - from), from, values[index]);
        from = use + len;
    }
    return end(to, put_text(p, from)) - to;
}

static char *put_parse(char *to, const char *name, const char *text)
{
    char *p = put_text(put_text(begin(to, 'P'), name), text);
    return end(to, put_int16(p, 0));
}

static char *put_bind(char *to, const char *name, const struct statement *statement, const int64_t *values)
{
    char *p = put_text(put_text(begin(to, 'B'), ""), name);
    p = put_int16(put_int16(p, 0), statement->parameters);
    for (int i = 0; i < statement->parameters; i++) {
        int len = sprintf(p + 4, "%ld", values[statement->uses[i]]);
        uint32_t n = htonl(len);
        memcpy(p, &n, 4);
        p += 4 + len;
    }
    return end(to, put_int16(p, 0));
}

static char *put_execute(char *to)
{
    char *p = begin(to, 'E');
    memset(p, 0, 5);                    /* the unnamed portal, all rows */
    return end(to, p + 5);
}

size_t put_statement(char *to, const struct script *script, int index, enum protocol protocol, bool parse,
                     const int64_t *values)
{
    const struct statement *statement = &script->statements[index];
    char name[16] = "", *p = to;
    if (protocol == SIMPLE)
        return put_simple(to, script, statement, values);
    if (protocol == PREPARED)
        sprintf(name, "P0_%d", index + 1);      /* pgbench's */
    if (protocol == EXTENDED || parse)
        p = put_parse(p, name, statement->numbered);
    p = put_bind(p, name, statement, values);
    p = put_texts(p, 'D', "P", "", NULL);
    p = put_execute(p);
    return end(p, begin(p, 'S')) - to;
}
