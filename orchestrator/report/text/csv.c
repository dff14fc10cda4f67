/* SPDX-License-Identifier: MIT
 * Rows of a document as CSV (RFC 4180). */
#include "orchestrator/report/text/report_text.h"

#include "formats/base/results.h"

#include <string.h>

/* MAX_COLUMNS: a report of another program may give each row names of its own, which would make the output as large as
 * the square of the rows. Objects that are nested more deeply are not divided. */
enum { MAX_COLUMNS = 1000, MAX_DEPTH = 4, NAME_ROOM = 512 };

/* ---- fields ---- */

static bool is_plain(const json_t *value) { return !json_is_object(value) && !json_is_array(value); }

/* Arrays of objects are tables of their own. */
static bool is_cell(const json_t *value)
{
    for (size_t k = 0; k < json_array_size(value); k++)
        if (!is_plain(organ_json_row_at(value, k)))
            return false;
    return !json_is_object(value);
}

/* Characters that could harm a terminal, C0 and C1 without tab and line breaks, are written as \xNN. */
static void put_quoted(FILE *out, const char *text)
{
    const bool quoted = !*text || strpbrk(text, ",\"\r\n"); /* an empty text is "", null is nothing */
    fputs(quoted ? "\"" : "", out);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        if (*s == '"')
            fputs("\"\"", out);
        else if (*s == 0x7f || (*s < ' ' && !strchr("\t\r\n", *s)))
            fprintf(out, "\\x%02x", *s);
        else if (*s == 0xc2 && s[1] < 0xa0)
            fprintf(out, "\\x%02x", *++s);
        else
            fputc(*s, out);
    fputs(quoted ? "\"" : "", out);
}

/* Numbers have the digits of the JSON document, an array is JSON. Returns false if memory ran out. */
static bool put_cell(FILE *out, const json_t *value)
{
    organ_text text;
    organ_error ignored = {0};
    ORGAN_OWNED char *line = NULL;
    if (!value || json_is_null(value))
        return true;
    if (json_is_string(value)) {
        put_quoted(out, json_string_value(value));
        return true;
    }
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return false;
    organ_document_line(value, text.out, &ignored);
    if (organ_text_finish(&text, &line, &ignored) != ORGAN_OK)
        return false;
    line[strcspn(line, "\n")] = '\0';
    put_quoted(out, line);
    return true;
}

/* ---- columns ---- */

/* The names of the columns, in the order in which the rows have them first: an object whose values are null. */
typedef struct csv_columns {
    json_t *names;
    const char *outer; /* the first column: the name of the outer row; NULL: none */
    organ_error *error;
} csv_columns;

static void find_columns(csv_columns *c, const json_t *row, const char *before, size_t depth)
{
    const char *key;
    json_t *value;
    if (is_cell(row)) { /* an array of texts or numbers has one column */
        json_object_set_new(c->names, "value", json_null());
        return;
    }
    json_object_foreach((json_t *)row, key, value)
    {
        char name[NAME_ROOM];
        const int length = snprintf(name, sizeof name, "%s%s%s", before, *before ? "." : "", key);
        if (length >= NAME_ROOM || c->error->status)
            continue;
        if (json_is_object(value) && depth < MAX_DEPTH)
            find_columns(c, value, name, depth + 1);
        else if (is_cell(value) && json_object_set_new(c->names, name, json_null()))
            organ_fail(c->error, ORGAN_IO, "no memory for a table");
        if (json_object_size(c->names) > MAX_COLUMNS)
            organ_fail(c->error, ORGAN_BAD_INPUT, "the rows have more than %d different members", MAX_COLUMNS);
    }
}

/* Drops the column of a member that is an object in some rows: its members have columns of their own, and in the other
 * rows it is null. An iteration must not remove members other than its own, so the names are collected first. */
static void drop_outer_names(const csv_columns *c)
{
    ORGAN_OWNED_JSON json_t *const outers = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(c->names, key, value)
    {
        char outer[NAME_ROOM];
        snprintf(outer, sizeof outer, "%s", key);
        for (char *dot; (dot = strrchr(outer, '.'));) {
            *dot = '\0';
            if (json_object_set_new(outers, outer, json_null()) && !c->error->status)
                organ_fail(c->error, ORGAN_IO, "no memory for a table");
        }
    }
    json_object_foreach(outers, key, value) json_object_del(c->names, key);
}

/* Returns the member that find_columns named. Keys may contain dots, so the longest key that fits is tried first. */
static const json_t *member_named(const json_t *row, const char *name)
{
    const json_t *const whole = json_object_get(row, name);
    if (whole)
        return whole;
    for (const char *dot = name + strlen(name); dot > name; dot--) {
        char key[NAME_ROOM];
        if (*dot != '.')
            continue;
        snprintf(key, sizeof key, "%.*s", (int)(dot - name), name);
        const json_t *const inner = json_object_get(row, key);
        const json_t *const found = inner ? member_named(inner, dot + 1) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

static void put_header(FILE *out, const csv_columns *c)
{
    const char *key, *between = "";
    json_t *value;
    if (c->outer) {
        put_quoted(out, c->outer);
        between = ",";
    }
    json_object_foreach(c->names, key, value)
    {
        fputs(between, out);
        put_quoted(out, key);
        between = ",";
    }
    fputs("\r\n", out);
}

/* `outer`: the cell of the first column. */
static void put_row(FILE *out, const csv_columns *c, const json_t *outer, const json_t *row)
{
    const char *key, *between = "";
    json_t *value;
    bool complete = !c->outer || put_cell(out, outer);
    between = c->outer ? "," : "";
    json_object_foreach(c->names, key, value)
    {
        const json_t *const member = json_is_object(row) ? member_named(row, key) : row;
        fputs(between, out);
        complete = complete && put_cell(out, member && is_cell(member) ? member : NULL);
        between = ",";
    }
    fputs("\r\n", out);
    if (!complete && !c->error->status)
        organ_fail(c->error, ORGAN_IO, "no memory for a table");
}

/* ---- rows ---- */

/* Prints each row of `rows` or, if `inner` is a member, each row of this member of each of them. Without `out` it finds
 * the columns of these rows. */
static void each_row(csv_columns *c, const json_t *rows, const char *inner, FILE *out)
{
    for (size_t k = 0; k < json_array_size(rows) && !c->error->status; k++) {
        const json_t *const row = organ_json_row_at(rows, k), *const list = inner ? organ_json_at(row, inner) : NULL;
        const json_t *const named = c->outer ? organ_json_at(row, c->outer) : NULL;
        const size_t count = inner ? json_array_size(list) : 1;
        for (size_t i = 0; i < count && !c->error->status; i++) {
            const json_t *const one = inner ? organ_json_row_at(list, i) : row;
            if (out)
                put_row(out, c, named, one);
            else
                find_columns(c, one, /*before=*/"", /*depth=*/0);
        }
    }
}

organ_status organ_csv_print(const json_t *rows, const char *inner, const char *outer, FILE *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    ORGAN_OWNED_JSON json_t *const names = json_object();
    csv_columns columns = {.names = names, .outer = inner ? outer : NULL, .error = error};
    if (!names)
        return organ_fail(error, ORGAN_IO, "no memory for a table");
    each_row(&columns, rows, inner, /*out=*/NULL);
    drop_outer_names(&columns);
    if (error->status || json_object_size(names) == 0)
        return error->status;
    put_header(out, &columns);
    each_row(&columns, rows, inner, out);
    return error->status;
}
