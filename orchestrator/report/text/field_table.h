/* SPDX-License-Identifier: MIT
 * Tables of documents: a table has a line for each row (a JSON object); each field describes a column, which names a
 * member of the rows and the form in which it is printed. */
#ifndef ORGAN_FIELD_TABLE_H
#define ORGAN_FIELD_TABLE_H

#include "orchestrator/report/text/text_table.h"
#include "orchestrator/report/text/words.h"

/* Flags of a field. A number that is null, or missing in a MAYBE field, is printed as "-"; a missing text of a MAYBE
 * field as "". Any other missing member is printed as ORGAN_FIELD_MISSING. */
enum {
    ORGAN_FIELD_SHORTENS = 1, /* as organ_column.shortens */
    ORGAN_FIELD_CODE = 2,     /* as organ_column.code */
    ORGAN_FIELD_MAYBE = 4,    /* rows may lack the member */
    ORGAN_FIELD_PARTS = 16,   /* begin a part of a wide table with this column (organ_table_part_at) */
    ORGAN_FIELD_LEFT = 8      /* align a WORDS or BY field to the left */
};

/* A column. Its cells come from `put`, else from `words`, else from the member at `path`. */
typedef struct organ_field {
    const char *title;
    const char *path; /* path of the member in a row: "target.killed" */
    /* form of a number (words.h); NULL: the member is text. ORGAN_FIELD_NUMBER: the number of the row, from 1 */
    const char *form;
    const char *words;                                  /* words (a template of words.h) over the row; NULL: none */
    void (*put)(organ_table *table, const json_t *row); /* adds one cell for the row to the table; NULL: none */
    /* condition on the report, with which the column exists; NULL: always. Only views test it (blocks/block.h) */
    const char *when;
    unsigned flags;
} organ_field;

/* The form that prints the number of the row. Only the first field may have it. */
#define ORGAN_FIELD_NUMBER "#"

/* Initializers of a field: `heading` is its title, `member` its path, `as` its form, `what` its flags, `template` its
 * words, `function` its `put`; `digits` are decimals, or of FIELD_GENERAL significant digits. */
/* clang-format off */
#define ORGAN_FIELD_OF(heading, ...) {.title = (heading), __VA_ARGS__}
/* clang-format on */
#define FIELD_TEXT(heading, member, what)            ORGAN_FIELD_OF(heading, .path = (member), .flags = (what))
#define FIELD_FORM(head, member, as, what)           ORGAN_FIELD_OF(head, .path = member, .form = as, .flags = what)
#define FIELD_COUNT(heading, member)                 FIELD_FORM(heading, member, "count", 0)
#define FIELD_BYTES(heading, member)                 FIELD_FORM(heading, member, "bytes", 0)
#define FIELD_PERCENT(heading, member)               FIELD_FORM(heading, member, "percent", 0)
#define FIELD_SHARE(heading, member)                 FIELD_FORM(heading, member, "share", 0)
#define FIELD_MAYBE_SHARE(heading, member)           FIELD_FORM(heading, member, "share", ORGAN_FIELD_MAYBE)
#define FIELD_FIXED(heading, member, digits)         FIELD_FORM(heading, member, "." #digits "f", 0)
#define FIELD_MAYBE_FIXED(heading, member, digits)   FIELD_FORM(heading, member, "." #digits "f", ORGAN_FIELD_MAYBE)
#define FIELD_ROUNDED(heading, member, digits)       FIELD_FORM(heading, member, "~" #digits, 0)
#define FIELD_MAYBE_ROUNDED(heading, member, digits) FIELD_FORM(heading, member, "~" #digits, ORGAN_FIELD_MAYBE)
#define FIELD_GENERAL(heading, member, digits)       FIELD_FORM(heading, member, "." #digits "g", 0)
#define FIELD_MAYBE_GENERAL(heading, member, digits) FIELD_FORM(heading, member, "." #digits "g", ORGAN_FIELD_MAYBE)
#define FIELD_NUMBER(heading)                        FIELD_FORM(heading, NULL, ORGAN_FIELD_NUMBER, 0)
#define FIELD_WORDS(heading, template, what)         ORGAN_FIELD_OF(heading, .words = (template), .flags = (what))
#define FIELD_BY(heading, function, what)            ORGAN_FIELD_OF(heading, .put = (function), .flags = (what))
/* Columns that exist only if the condition is true for the report: FIELD_IF("!dry_run", "killed", "killed_percent",
 * "percent", 0). */
#define FIELD_IF(condition, heading, member, as, what)                                                                 \
    ORGAN_FIELD_OF(heading, .path = (member), .form = (as), .flags = (what), .when = (condition))
#define FIELD_WORDS_IF(condition, heading, template, what)                                                             \
    ORGAN_FIELD_OF(heading, .words = (template), .flags = (what), .when = (condition))
#define ORGAN_FIELDS_MAX 16 /* columns of a table */

/* An array of fields and its length, as arguments. */
#define FIELD_LIST(fields) (fields), sizeof(fields) / sizeof *(fields)

/* Returns a table with a row for each of the first `max` elements of `rows`, an array. The titles of `fields` must
 * outlive the table, which has at most ORGAN_FIELDS_MAX columns. Returns NULL if out of memory. */
organ_table *organ_field_table(const organ_field *fields, size_t count, const json_t *rows, size_t max);

/* Adds the cells of `row` to the table; `name`, if it is not NULL, replaces the first cell. */
void organ_field_row(organ_table *table, const organ_field *fields, size_t count, const char *name, const json_t *row);
/* Adds the cells of each of `rows`; the first cell of a row is its member `key`. */
void organ_field_rows(organ_table *table, const organ_field *fields, size_t count, const char *key, const json_t *rows);
#endif
